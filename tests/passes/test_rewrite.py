"""The rewritten graph: right numbers for any size, valid types, unique names, and nothing else touched."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import tse_onnx
from tests.graphs import NEWEST_OPSET, network, se_model, some_input
from tests.running import run, session
from tests.se_by_numpy import whole_model
from tse_onnx.passes.edit.memory import forget

TOLERANCES = {np.float32: 2e-5, np.float16: 2e-2, np.float64: 1e-9}
OPSETS = range(10, NEWEST_OPSET + 1)


def _weights(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _squeeze(opset):
    return "ReduceMean [2,3]" if opset < 18 else "ReduceMean input [2,3]"


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 20),
    rows=st.integers(1, 45),
    channels=st.integers(1, 5),
    opset=st.sampled_from(OPSETS),
    old_ir=st.booleans(),
    stated=st.booleans(),
)
def test_any_size_and_opset_gives_the_blocks_own_tiles(height, width, rows, channels, opset, old_ir, stated):
    ir = 3 if old_ir and opset < 18 else 8
    model = se_model(height, width, channels, reduced=2, opset=opset, ir=ir, stated=stated, squeeze=_squeeze(opset))
    converted = tse_onnx.convert(model, rows=rows, verify=False)
    (decision,) = converted.blocks
    assert decision.status == ("converted" if rows < height else "unchanged")
    onnx.checker.check_model(converted.model, full_check=True)
    assert [(entry.domain, entry.version) for entry in converted.model.opset_import] == [("", opset)]
    assert converted.model.ir_version == ir
    x = some_input(model)
    np.testing.assert_allclose(run(converted.model, x), whole_model(x, _weights(model), rows), atol=2e-5)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])
@pytest.mark.parametrize(("height", "rows"), [(16, 7), (14, 7), (9, 4), (5, 1)])
def test_every_opset_and_type_that_onnxruntime_runs(opset, dtype, height, rows):
    model = se_model(height, opset=opset, ir=8, dtype=dtype)
    result = tse_onnx.convert(model, rows=rows)
    assert result.verification.passed
    x = some_input(model)
    np.testing.assert_allclose(
        run(result.model, x).astype(np.float64), whole_model(x, _weights(model), rows), atol=TOLERANCES[dtype] * 8
    )


@pytest.mark.parametrize("rows", [1, 4, 7, 15])
def test_doubles_are_exact(rows):
    """onnxruntime has no AveragePool of doubles, so onnx's own evaluator runs these."""
    model = se_model(16, 6, dtype=np.float64, squeeze="ReduceMean [2,3]")
    converted = tse_onnx.convert(model, rows=rows, verify=False).model
    x = some_input(model)
    (found,) = ReferenceEvaluator(converted).run(None, {"x": x})
    np.testing.assert_allclose(found, whole_model(x, _weights(model), rows), atol=1e-9)


@pytest.mark.parametrize("opset", [10, 11, 12, 13, 17, 18, NEWEST_OPSET])
@pytest.mark.parametrize("rows", [1, 3, 4, 7])
def test_the_original_block_run_on_each_strip_says_the_same(opset, rows):
    """The definition itself, with onnxruntime instead of numpy: the whole model is pointwise around its block."""
    model = se_model(13, batch=1, opset=opset, squeeze=_squeeze(opset))
    x = some_input(model)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[2].ClearField("dim_value")
    original = session(model)
    strips = [original.run(None, {"x": x[:, :, top : top + rows]})[0] for top in range(0, 13, rows)]
    converted = tse_onnx.convert(model, rows=rows, input_shapes={"x": (1, 8, 13, 12)}).model
    np.testing.assert_allclose(run(converted, x), np.concatenate(strips, axis=2), atol=2e-5)


def test_a_block_no_taller_than_the_tile_stays_and_the_others_do_not():
    result = tse_onnx.convert(network(28, 14, 7), rows=7)
    statuses = [decision.status for decision in result.blocks]
    assert statuses == ["converted", "converted", "unchanged", "refused"]
    assert "7" in result.blocks[2].reason


@pytest.mark.parametrize("rows", [16, 17, 10**30])
def test_with_all_rows_the_model_is_unchanged(rows):
    model = se_model(stated=True)
    assert tse_onnx.convert(model, rows=rows).model.SerializeToString() == model.SerializeToString()


def test_no_resize_to_sizes_is_ever_written():
    """It would shift the tiles wherever the tile does not divide the map."""
    for opset in OPSETS:
        for node in tse_onnx.convert(se_model(opset=opset), rows=7, verify=False).model.graph.node:
            if node.op_type == "Resize":
                assert len(node.input) <= 3 or not node.input[3]


# Types of the values in between


@pytest.mark.parametrize("opset", [10, 13, 17, 18, NEWEST_OPSET])
@pytest.mark.parametrize(("height", "rows"), [(16, 7), (14, 7), (16, 1), (8, 7)])
@pytest.mark.parametrize("batch", ["N", 1, 3])
def test_stated_types_equal_a_fresh_strict_inference(opset, height, rows, batch):
    model = se_model(height, opset=opset, batch=batch, stated=True)
    converted = tse_onnx.convert(model, rows=rows, verify=False).model
    stated = {value.name: value.type for value in converted.graph.value_info}
    bare = ModelProto()
    bare.CopyFrom(converted)
    del bare.graph.value_info[:]
    onnx.checker.check_model(bare, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    fresh = {value.name: value.type for value in inferred.graph.value_info}
    assert stated
    for name, kind in stated.items():
        assert _dims(kind)[1:] == _dims(fresh[name])[1:], name
        assert kind.tensor_type.elem_type == fresh[name].tensor_type.elem_type
    assert len(stated) == len(converted.graph.value_info), "a value is stated twice"
    made = {name for node in converted.graph.node for name in node.output}
    assert set(stated) <= made


def test_a_model_that_states_no_types_gets_none():
    assert not tse_onnx.convert(se_model(), rows=7).model.graph.value_info


def _dims(kind):
    return [dim.dim_value or None for dim in kind.tensor_type.shape.dim]


# Names


def _names(model):
    """Every name that a node or a value bears in the main graph; a name twice is in the list twice."""
    nodes = [node.name for node in model.graph.node if node.name]
    values = [name for node in model.graph.node for name in node.output if name]
    values += [value.name for value in model.graph.input] + [tensor.name for tensor in model.graph.initializer]
    return nodes, values


def test_new_names_are_unique_and_tell_where_they_belong():
    model = network(28, 14, 14)
    for node in model.graph.node:
        node.name = node.name and f"/features/{node.name.replace('_', '/')}"
    result = tse_onnx.convert(model, rows=3)
    nodes, values = _names(result.model)
    assert len(set(nodes)) == len(nodes)
    assert len(set(values)) == len(values)
    old = {node.name for node in model.graph.node}
    new = [node.name for node in result.model.graph.node if node.name not in old]
    blocks = [decision.block.name for decision in result.blocks if decision.status == "converted"]
    assert new
    assert len(set(blocks)) == 3
    for name in new:
        assert any(name.startswith(block) for block in blocks), name


def test_names_that_the_model_bears_already_are_avoided():
    """Everything that a first conversion would call its own is taken: by nodes, values, nested graphs and functions."""
    plain = tse_onnx.convert(network(16), rows=7, verify=False).model
    old_nodes, old_values = map(set, _names(network(16)))
    nodes, values = _names(plain)
    clashes = sorted({*nodes, *values} - old_nodes - old_values)
    assert len(clashes) > 4
    model = network(16)
    for number, name in enumerate(clashes):
        kind = number % 3
        if kind == 0:
            model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), name))
        elif kind == 1:
            model.graph.node.append(helper.make_node("Neg", ["x"], [f"unused_{number}"], name=name))
        else:
            model.graph.node.append(helper.make_node("Neg", ["x"], [name]))
    result = tse_onnx.convert(model, rows=7)
    assert result.verification.passed
    nodes, values = _names(result.model)
    assert len(set(nodes)) == len(nodes)
    assert len(set(values)) == len(values)


def test_nodes_without_names_do_not_collide():
    model = network(28, 14, 14)
    for node in model.graph.node:
        node.name = ""
    result = tse_onnx.convert(model, rows=3)
    nodes, values = _names(result.model)
    assert len(set(nodes)) == len(nodes)
    assert len(set(values)) == len(values)
    assert len({decision.block.name for decision in result.blocks}) == len(result.blocks)


# Everything outside the edit


def _bytes_outside(model, touched):
    """The model's fields as bytes; of its nodes and stated types only those that do not make a value of `touched`."""
    graph = model.graph
    kept = {
        "nodes": [node.SerializeToString() for node in graph.node if not touched & set(node.output)],
        "types": [value.SerializeToString() for value in graph.value_info if value.name not in touched],
    }
    rest = ModelProto()
    rest.CopyFrom(model)
    forget(rest)  # the one entry of the model's metadata in which it remembers its conversions
    del rest.graph.node[:]
    del rest.graph.value_info[:]
    return kept | {"rest": rest.SerializeToString(deterministic=True)}


@pytest.mark.parametrize("stated", [False, True], ids=["no types", "types"])
@pytest.mark.parametrize("opset", [10, 12, 17, NEWEST_OPSET])
def test_only_the_squeeze_the_scale_and_new_nodes_differ(stated, opset):
    model = _decorated(se_model(opset=opset, stated=stated))
    converted = tse_onnx.convert(model, rows=7, verify=False).model
    old = {name for node in model.graph.node for name in node.output}
    added = {name for node in converted.graph.node for name in node.output} - old
    assert added
    path = {"d", "r", "a", "e", "g"}  # these hold a descriptor: their types change, their nodes do not
    before, after = _bytes_outside(model, {"d", "s"} | path), _bytes_outside(converted, {"d", "s"} | path | added)
    assert before == after
    excite = [[node.SerializeToString() for node in one.graph.node if set(node.output) & (path - {"d"})]
              for one in (model, converted)]  # fmt: skip
    assert excite[0] == excite[1]
    scale_before, scale_after = (
        next(node for node in one.graph.node if "s" in node.output) for one in (model, converted)
    )
    assert scale_after.op_type == "Mul"
    assert scale_after.name == scale_before.name
    assert list(scale_after.metadata_props) == list(scale_before.metadata_props)
    assert sum(a != b for a, b in zip(scale_before.input, scale_after.input, strict=True)) == 1


def _decorated(model):
    """Everything that careless tools lose: metadata, doc strings, annotations, unused weights."""
    model.producer_name, model.producer_version, model.domain, model.model_version = "test", "1.2", "org.example", 7
    model.doc_string = "a model"
    model.metadata_props.add(key="license", value="none")
    model.graph.doc_string = "a graph"
    model.graph.metadata_props.add(key="k", value="v")
    for node in model.graph.node:
        node.doc_string = f"makes {node.output[0]}"
        node.metadata_props.add(key="source", value="line 1")
    model.graph.quantization_annotation.add(tensor_name="h").quant_parameter_tensor_names.add(key="SCALE", value="q")
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "q"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "unused"))
    model.graph.input[0].doc_string = "images"
    model.graph.input[0].type.denotation = "IMAGE"
    for value in model.graph.value_info:
        value.doc_string = "stated"
    return model


def test_local_functions_and_other_domains_are_carried():
    model = _decorated(se_model())
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    model.functions.append(function)
    model.opset_import.add(domain="local", version=1)
    last = model.graph.node[-1]
    last.input[0] = "twice"
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Twice", ["s"], ["twice"], domain="local"))
    result = tse_onnx.convert(model, rows=7)
    assert result.verification.passed
    assert [one.SerializeToString() for one in result.model.functions] == [function.SerializeToString()]


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 8, 15])
def test_a_second_conversion_changes_nothing(rows):
    once = tse_onnx.convert(network(16, 8), rows=rows).model
    twice = tse_onnx.convert(once, rows=rows)
    assert twice.report.buffering.totals.converted == 0
    assert twice.model.SerializeToString() == once.SerializeToString()


def test_conversion_is_deterministic():
    once, again = (tse_onnx.convert(network(28, 14), rows=3, verify=False).model for _ in range(2))
    assert once.SerializeToString() == again.SerializeToString()
