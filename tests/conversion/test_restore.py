"""Tiled blocks say that they are, are left alone, tiled anew, or given back byte for byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import network, se_model, text_model
from tests.passes.test_spellings import sensible, spellings
from tests.running import newest_opset
from tests.spellings import Spelling, model_of
from tse_onnx import Plan, Selection, Tiling
from tse_onnx.conversion import restore as restoration
from tse_onnx.errors import ModelError

TILINGS = {
    "rows": Tiling(3),
    "columns": Tiling(None, 3),
    "patches": Tiling(3, 2),
    "balanced": Tiling(4, balanced=True),
    "divisors": Tiling(3, divisors=True),
    "running": Tiling(4, squeeze="running", step=2),
    "upper": Tiling(2, squeeze="upper"),
    "middle": Tiling(2, squeeze="middle"),
}


def _bytes(model):
    return model.SerializeToString(deterministic=True)


def _check_way_back(model, tiling, **options):
    """Converted and restored, the model is what it was; and a second conversion finds nothing to do."""
    result = tse_onnx.convert(model, tiling=tiling, verify=False, **options)
    converted = [decision.block.name for decision in result.blocks if decision.status == "converted"]
    back = tse_onnx.restore(result.model)
    assert sorted(back.blocks) == sorted(converted)
    assert _bytes(back.model) == _bytes(model)
    again = tse_onnx.convert(result.model, tiling=tiling, verify=False)
    assert again.serialized() == result.model.SerializeToString()
    tiled = [decision for decision in again.blocks if decision.block.tiled]
    assert [decision.block.name for decision in tiled] == converted
    for decision in tiled:
        assert (decision.status, decision.tiling) == ("unchanged", tiling)
        assert "tiled already" in decision.reason
    return result


@pytest.mark.parametrize("entry", models.catalogue(), ids=lambda entry: entry.name)
@pytest.mark.slow
def test_every_bundled_model_comes_back(entry):
    _check_way_back(models.load(entry.name), Tiling(3))
    bare = onnx.load_model(entry.path)  # the weights only described: quicker
    for tiling in TILINGS.values():
        _check_way_back(bare, tiling)


@given(
    spelling=spellings,
    tiling=st.sampled_from(sorted(TILINGS)),
    upsample=st.sampled_from(["resize", "gather", "expand"]),
    means=st.sampled_from(["matmul", "cumsum"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.slow
def test_every_spelling_comes_back(spelling, tiling, upsample, means):
    chosen = TILINGS[tiling]
    if len(spelling.extents) < 2 and chosen.cols:
        chosen = Tiling(3)
    if spelling.opset < 13:
        upsample, means = "resize", "matmul"
    model, _ = model_of(sensible(spelling))
    _check_way_back(model, chosen, upsample=upsample, means=means)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16])
@pytest.mark.parametrize("raw", [True, False])
def test_transposed_weights_go_back_to_the_field_that_they_were_in(dtype, raw):
    model, _ = model_of(replace(Spelling(), excite="gemm", squeeze="mean"))
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(dtype))
            data = values.tobytes() if raw else values.astype(np.float32).flatten().tolist()
            tensor.CopyFrom(helper.make_tensor(tensor.name, dtype, tensor.dims, data, raw=raw))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = dtype
    result = _check_way_back(model, Tiling(3))
    dims = [list(tensor.dims) for tensor in model.graph.initializer]
    assert dims != [list(tensor.dims) for tensor in result.model.graph.initializer]


@pytest.mark.parametrize(("ir", "opset"), [(3, 9), (4, 10), (6, 11), (7, 13), (8, 17), (9, 19), (10, 22)])
def test_old_versions_take_the_metadata(ir, opset):
    if opset > newest_opset():
        pytest.skip("this onnxruntime does not know the opset")
    model = se_model(opset=opset, ir=ir, stated=True)
    result = tse_onnx.convert(model, rows=3)
    assert result.verification.passed
    assert result.model.ir_version == ir
    assert _bytes(tse_onnx.restore(result.model).model) == _bytes(model)


def test_the_new_nodes_bear_the_name_of_their_block_and_the_old_ones_do_not():
    model = network(28, 14)
    result = tse_onnx.convert(model, rows=7, verify=False)
    old = {node.name for node in model.graph.node} - {"block0_squeeze", "block1_squeeze"}
    for node in result.model.graph.node:
        marks = {entry.key: entry.value for entry in node.metadata_props}
        if node.name in old:
            assert not marks
        else:
            assert node.name.startswith(marks["tse_onnx.block"])
    squeezes = [node for node in result.model.graph.node if node.name.endswith("/tiled_squeeze")]
    tilings = [entry.value for node in squeezes for entry in node.metadata_props if entry.key == "tse_onnx.tiling"]
    assert tilings == ['{"rows": 7}'] * 2


def _nested(kind):
    block = text_model("", inputs="float[N, 8, 16, 12] x", outputs="float[N, 8, 16, 12] y")
    model = se_model(stated=True)
    inner = [node for node in model.graph.node if node.output[0] in "draegs"]
    block.graph.initializer.extend(model.graph.initializer)
    if kind == "function":
        del block.graph.initializer[:]
        constants = [helper.make_node("Constant", [], [one.name], value=one) for one in model.graph.initializer]
        opsets = [helper.make_opsetid("", 17)]
        block.functions.append(helper.make_function("local", "SE", ["h"], ["s"], [*constants, *inner], opsets))
        block.opset_import.add(domain="local", version=1)
        block.graph.node.add(op_type="SE", domain="local", input=["x"], output=["y"], name="call")
        return block
    graphs = []
    for _ in range(1 if kind == "body" else 2):
        made = [helper.make_node("Identity", ["x"], ["h"]), *inner]
        body = helper.make_graph(made, "b", [], [helper.make_tensor_value_info("s", 1, None)])
        body.value_info.extend(model.graph.value_info)
        graphs.append(body)
    if kind == "body":
        graphs.append(helper.make_graph([helper.make_node("Identity", ["x"], ["o"])], "e", [],
                                        [helper.make_tensor_value_info("o", 1, None)]))  # fmt: skip
    block.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    block.graph.node.append(
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=graphs[0], else_branch=graphs[1])
    )
    return block


@pytest.mark.parametrize("kind", ["body", "both", "function"])
def test_blocks_in_bodies_and_functions_come_back(kind):
    result = _check_way_back(_nested(kind), Tiling(5))
    assert result.report.buffering.totals.converted == {"body": 1, "both": 2, "function": 1}[kind]


def test_conversions_that_follow_each_other_are_all_undone():
    model = network(28, 14, 14)
    once = tse_onnx.convert(model, rows=3, selection=Selection(first=1)).model
    twice = tse_onnx.convert(once, rows=5, selection=Selection(exclude=("block2*",))).model
    thrice = tse_onnx.convert(twice, rows=2)
    assert [decision.status for decision in thrice.blocks][:3] == ["unchanged", "unchanged", "converted"]
    assert [decision.tiling.rows for decision in thrice.blocks[:3]] == [3, 5, 2]
    assert thrice.verification.passed
    back = tse_onnx.restore(thrice.model)
    assert back.blocks == ("block2_squeeze", "block1_squeeze", "block0_squeeze")
    assert _bytes(back.model) == _bytes(model)


def test_inputs_that_were_bound_are_open_again():
    model = se_model()
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[2].dim_param = "H"
    for options in ({"dynamic": False}, {"dynamic": True}):
        result = tse_onnx.convert(model, rows=3, input_shapes={"x": (1, 8, 16, 12)}, verify=False, **options)
        assert result.report.buffering.totals.converted == 1
        assert _bytes(tse_onnx.restore(result.model).model) == _bytes(model)
    again = tse_onnx.convert(result.model, rows=3, verify=False)  # dynamic, and of no known size
    assert again.blocks[0].status == "unchanged"
    assert again.serialized() == result.model.SerializeToString()


def test_retiling_is_converting_the_original():
    model = network(28, 14)
    tiled = tse_onnx.convert(model, rows=7).model
    for options in ({"rows": 3}, {"tiling": Tiling(3, squeeze="running")}, {"plan": Plan(None)}):
        anew = tse_onnx.convert(tiled, retile=True, **options)
        assert anew.serialized() == tse_onnx.convert(model, **options).serialized()
    assert anew.serialized() == model.SerializeToString()  # the plan keeps every global mean


def test_a_tiled_block_buffers_its_tile_today():
    tiled = tse_onnx.convert(network(28), rows=7).model
    figures = tse_onnx.buffering(tiled, 3)
    assert figures.blocks[0].before == figures.blocks[0].after == 8 * 7 * 12
    assert figures.totals.macs_added == 0
    (block, _) = tse_onnx.find_blocks(tiled)
    assert (block.status, block.tiled) == ("tiled", Tiling(7))


# What was edited since


def _inserted(graph):
    graph.node.insert(0, helper.make_node("Identity", ["x"], ["extra"]))


def _renamed(graph):
    graph.node[-1].name = "other"


def _untied(graph):
    del graph.node[next(n for n, node in enumerate(graph.node) if "gate_upsample" in node.name)]


def _typed(graph):
    graph.value_info.add(name="extra")


def _weighted(graph):
    graph.initializer.add(name="extra", data_type=1, dims=[1])


def _damaged(graph):
    entry = next(e for node in graph.node for e in node.metadata_props if e.key == "tse_onnx.undo")
    entry.value = "A" + entry.value[1:]


def _future(graph):
    import base64
    import zlib

    entry = next(e for node in graph.node for e in node.metadata_props if e.key == "tse_onnx.undo")
    data = zlib.decompress(base64.b64decode(entry.value)).replace(b'"format":1', b'"format":9')
    entry.value = base64.b64encode(zlib.compress(data)).decode()


def _renamed_value(graph, old):
    for each in graph.node:
        for names in (each.input, each.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = "other"


def _unpooled(graph):
    _renamed_value(graph, next(node for node in graph.node if node.name.endswith("tiled_squeeze")).output[0])


def _forgotten(graph):
    """As many tools leave it; of what other programs say in the metadata of nodes nothing is lost."""
    for node in graph.node:
        kept = [entry for entry in node.metadata_props if not entry.key.startswith("tse_onnx.")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)


@pytest.mark.parametrize("edit", [_unpooled, _damaged, _future])
@pytest.mark.parametrize("forgets", [False, True], ids=["nodes", "model"])
def test_what_cannot_be_undone_is_refused_in_one_line(tmp_path, edit, forgets):
    tiled = tse_onnx.convert(network(28), rows=7).model
    edit(tiled.graph)
    if forgets:
        if edit in (_damaged, _future):
            pytest.skip("what is forgotten is not damaged")
        _forgotten(tiled.graph)
    with pytest.raises(ModelError, match="block0_squeeze"):
        tse_onnx.restore(tiled)
    (tmp_path / "in.onnx").write_bytes(tiled.SerializeToString())
    refused(command("restore", tmp_path / "in.onnx", tmp_path / "out.onnx"))
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("edit", [_inserted, _renamed, _typed, _weighted])
@pytest.mark.parametrize("forgets", [False, True], ids=["nodes", "model"])
def test_what_was_edited_elsewhere_keeps_that(tmp_path, edit, forgets):
    model = network(28, 14)
    tiled = tse_onnx.convert(model, rows=7).model
    edit(tiled.graph)
    edit(model.graph)
    if forgets:
        _forgotten(tiled.graph)
    back = tse_onnx.restore(tiled)
    assert not back.exact
    assert sorted(back.blocks) == ["block0_squeeze", "block1_squeeze"]
    assert _bytes(back.model) == _bytes(model)
    (tmp_path / "in.onnx").write_bytes(tiled.SerializeToString())
    said = command("restore", tmp_path / "in.onnx", tmp_path / "out.onnx").stdout
    assert b"Restored 2 blocks" in said
    assert b"Another tool has changed the model" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits_se", "efficientnet_b0_dynamo_18", "seresnet50_torchscript_17"])
@pytest.mark.parametrize("tiling", ["rows", "patches", "running"])
def test_a_model_whose_nodes_forget_is_the_original_again(name, tiling):
    model = onnx.load_model(next(entry for entry in models.catalogue() if entry.name == name).path)
    tiled = tse_onnx.convert(model, tiling=TILINGS[tiling], verify=False).model
    blocks = [block.name for block in tse_onnx.find_blocks(tiled) if block.tiled]
    _forgotten(tiled.graph)
    assert [block.name for block in tse_onnx.find_blocks(tiled) if block.tiled] == blocks
    again = tse_onnx.convert(tiled, rows=2, verify=False)
    assert again.serialized() == tiled.SerializeToString()
    back = tse_onnx.restore(tiled)
    assert sorted(back.blocks) == sorted(blocks)
    assert back.exact
    assert _bytes(back.model) == _bytes(model)


def test_a_step_after_the_nodes_have_forgotten_is_undone_too():
    model = network(28, 14)
    tiled = tse_onnx.convert(model, rows=3, selection=Selection(first=1)).model
    _forgotten(tiled.graph)
    twice = tse_onnx.convert(tiled, rows=5)
    assert [decision.status for decision in twice.blocks[:2]] == ["unchanged", "converted"]
    for forgets in (False, True):
        if forgets:
            _forgotten(twice.model.graph)
        assert _bytes(tse_onnx.restore(twice.model).model) == _bytes(model)


def test_models_that_were_converted_before_come_back():
    """A file of a release whose nodes alone remember."""
    path = Path(__file__).with_name("remembered_by_nodes.onnx")
    assert _bytes(tse_onnx.restore(path).model) == _bytes(network(12, 8))
    model = onnx.load_model(path)
    _typed(model.graph)
    assert not tse_onnx.restore(model).exact
    _forgotten(model.graph)
    with pytest.raises(ModelError, match="nothing in the model remembers"):
        tse_onnx.restore(model)


@pytest.mark.parametrize("value", ["", "A", "AAAA", "eJwDAAAAAAE="])
def test_a_damaged_memory_is_refused_and_ignored_by_the_search(tmp_path, value):
    tiled = tse_onnx.convert(network(28), rows=7).model
    next(entry for entry in tiled.metadata_props if entry.key == "tse_onnx.undo").value = value
    _forgotten(tiled.graph)
    (tmp_path / "in.onnx").write_bytes(tiled.SerializeToString())
    refused(command("restore", tmp_path / "in.onnx", tmp_path / "out.onnx"))
    assert command("inspect", tmp_path / "in.onnx").returncode == 0


def test_what_was_put_back_is_checked(monkeypatch):
    """A record that puts back something else than what was tiled."""
    tiled = tse_onnx.convert(network(28), rows=7).model
    _forgotten(tiled.graph)
    _renamed(tiled.graph)
    right = restoration.remembered

    def forged(model):
        memory = right(model)
        for (record,) in memory.values():
            next(node for node in record.replaced.node if node.op_type == "Mul").op_type = "Add"
        return memory

    monkeypatch.setattr(restoration, "remembered", forged)
    with pytest.raises(ModelError, match="not the block that was tiled"):
        tse_onnx.restore(tiled)


def test_other_weights_and_metadata_are_no_hindrance():
    model = se_model()
    tiled = tse_onnx.convert(model, rows=7).model
    for one in (model, tiled):
        one.doc_string = "fine-tuned"
        one.metadata_props.add(key="run", value="7")
        for tensor in one.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) / 2, tensor.name))
    assert _bytes(tse_onnx.restore(tiled).model) == _bytes(model)


# The command


def test_the_command_gives_back_the_file(tmp_path):
    model, tiled, back = (tmp_path / name for name in ("model.onnx", "tiled.onnx", "back.onnx"))
    model.write_bytes(network(28, 14).SerializeToString())
    assert command("convert", model, tiled, "--rows", 7).returncode == 0
    again = command("convert", tiled, tmp_path / "again.onnx", "--format", "json")
    report = validated(again.stdout, "report")
    assert [block["status"] for block in report["blocks"]] == ["unchanged", "unchanged", "refused"]
    assert "tiled already" in report["blocks"][0]["reason"]
    assert (tmp_path / "again.onnx").read_bytes() == tiled.read_bytes()
    shown = validated(command("inspect", tiled, "--format", "json").stdout, "inspect")
    assert [block["status"] for block in shown["blocks"]] == ["tiled", "tiled", "refused"]
    assert b"tiled already" in command("explain", tiled, "block0_squeeze").stdout
    assert b"2 blocks" in command("restore", tiled, back).stdout
    assert back.read_bytes() == model.read_bytes()
    assert command("restore", "-", "-", stdin=tiled.read_bytes()).stdout == model.read_bytes()
    assert command("restore", tiled, tiled).returncode == 0
    assert tiled.read_bytes() == model.read_bytes()
    assert b"unchanged" in command("restore", tiled, tiled).stdout


def test_the_command_tiles_anew(tmp_path):
    model, tiled = tmp_path / "model.onnx", tmp_path / "tiled.onnx"
    model.write_bytes(network(28, 14).SerializeToString())
    command("convert", model, tiled, "--rows", 7)
    assert command("convert", tiled, tiled, "--rows", 3, "--retile", "--expect", 2).returncode == 0
    command("convert", model, tmp_path / "three.onnx", "--rows", 3)
    assert tiled.read_bytes() == (tmp_path / "three.onnx").read_bytes()


def test_weights_in_other_files_are_carried(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    path = tmp_path / "a" / "model.onnx"
    onnx.save_model(network(28), path, save_as_external_data=True, size_threshold=0, location="model.weights")
    before = onnx.load(path, load_external_data=False)
    assert any(tensor.data_location == TensorProto.EXTERNAL for tensor in before.graph.initializer)
    assert command("convert", path, tmp_path / "b" / "tiled.onnx").returncode == 0
    assert command("restore", tmp_path / "b" / "tiled.onnx", tmp_path / "b" / "back.onnx").returncode == 0
    assert (tmp_path / "b" / "back.onnx").read_bytes() == before.SerializeToString()
    assert (tmp_path / "b" / "model.weights").read_bytes() == (tmp_path / "a" / "model.weights").read_bytes()
    assert isinstance(onnx.load(tmp_path / "b" / "back.onnx"), ModelProto)


def test_a_map_that_nobody_could_hold_is_not_made_up_to_compare_blocks_on():
    done = tse_onnx.convert(se_model(), rows=7, verify=False).model
    for value in (*done.graph.input, *done.graph.output):
        value.type.tensor_type.shape.dim[2].dim_value = 2**60
    with pytest.raises(tse_onnx.ModelError, match="as far as can be told"):
        tse_onnx.restore(done)
