"""Blocks wherever they stand: bodies of If and Loop, local functions, graphs that are not sorted, shared weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper, parser

import tse_onnx
from tests.spellings import Spelling, model_of

WEIGHTS = "<float[2,4,1,1] w1 = {1,-2,3,1,2,1,-1,1}, float[4,2,1,1] w2 = {1,2,-1,1,2,-1,1,3}>"
BLOCK = "d = GlobalAveragePool({x}) e = Conv(d, {w}) r = Relu(e) f = Conv(r, {v}) g = Sigmoid(f) {y} = Mul({x}, g)"


def _model(body, functions="", imports='"" : 17, "loc" : 1'):
    text = f"""<ir_version: 8, opset_import: [{imports}]>
    agraph (float[1,4,16,8] x, bool c) => (float[1,4,16,8] y) {WEIGHTS} {{ {body} }} {functions}"""
    model = parser.parse_model(text)
    onnx.checker.check_model(model)
    return model


def _run(model, x, condition=True):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x, "c": np.array(condition)})[0]


def _tiled(model, x, rows):
    """The model on each strip. These models act on rows alone but for their blocks."""
    loose = onnx.ModelProto()
    loose.CopyFrom(model)
    for value in (*loose.graph.input[:1], *loose.graph.output):
        value.type.tensor_type.shape.dim[2].Clear()
    for node in loose.graph.node:
        for attribute in node.attribute:
            for value in attribute.g.output:
                if value.type.tensor_type.shape.dim:
                    value.type.tensor_type.shape.dim[2].Clear()
    return np.concatenate([_run(loose, x[:, :, top : top + rows]) for top in range(0, x.shape[2], rows)], axis=2)


IN_BODY = _model(
    "z = If (c) <then_branch = t () => (float[1,4,16,8] o) {" + BLOCK.format(x="x", w="w1", v="w2", y="o")
    + "}, else_branch = e () => (float[1,4,16,8] p) { p = Identity(x) }> y = Relu(z)"
)  # fmt: skip
IN_FUNCTION = _model(
    "h = Relu(x) y = loc.SE(h, w1, w2)",
    '<domain: "loc", opset_import: ["" : 17]> SE (a, w, v) => (b) {' + BLOCK.format(x="a", w="w", v="v", y="b") + "}",
)
TWICE = _model(BLOCK.format(x="x", w="w1", v="w2", y="m").replace("m =", "m =") + " "
               + BLOCK.format(x="m", w="w1", v="w2", y="y").replace("d ", "d2 ").replace("(d,", "(d2,").replace("e ", "e2 ")
               .replace("(e)", "(e2)").replace("r ", "r2 ").replace("(r,", "(r2,").replace("f ", "f2 ").replace("(f)", "(f2)")
               .replace("g ", "g2 ").replace(" g)", " g2)"))  # fmt: skip


@pytest.mark.parametrize(("model", "count"), [(IN_BODY, 1), (IN_FUNCTION, 1)], ids=["If", "function"])
def test_a_block_inside_a_scope_is_converted_and_exact(model, count):
    result = tse_onnx.convert(model, rows=7, expect=count)
    assert len(result.verification.blocks) == count
    assert result.blocks[0].block.scope
    x = np.random.default_rng(0).standard_normal((1, 4, 16, 8)).astype(np.float32)
    np.testing.assert_allclose(_run(result.model, x), _tiled(model, x, 7), atol=1e-5)
    again = tse_onnx.convert(result.model, rows=7)
    assert again.model.SerializeToString() == result.model.SerializeToString()


def test_only_the_scope_with_the_block_changes():
    result = tse_onnx.convert(IN_BODY, rows=7)
    assert result.model.graph.node[1] == IN_BODY.graph.node[1]
    before, after = ({a.name: a.g for a in model.graph.node[0].attribute} for model in (IN_BODY, result.model))
    assert after["else_branch"] == before["else_branch"]
    assert after["then_branch"] != before["then_branch"]


@pytest.mark.parametrize("upsample", ["resize", "gather", "expand"])
@pytest.mark.parametrize("opset", [17, 18, 19])
def test_a_function_of_another_opset_gets_operators_that_both_opsets_have(upsample, opset):
    text = '<domain: "loc", opset_import: ["" : 17]> SE (a, w, v) => (b) {'
    text += BLOCK.format(x="a", w="w", v="v", y="b") + "}"
    model = _model("h = Relu(x) y = loc.SE(h, w1, w2)", text, f'"" : {opset}, "loc" : 1')
    changed = {
        18: {"resize": "Resize.*another upsample"},
        19: dict.fromkeys(("resize", "gather", "expand"), "Average"),
    }
    if said := changed.get(opset, {}).get(upsample):
        with pytest.raises(tse_onnx.UsageError, match=f"function 'SE' uses opset 17, the model opset {opset}.*{said}"):
            tse_onnx.convert(model, rows=7, upsample=upsample, verify=False)
    else:
        assert tse_onnx.convert(model, rows=7, upsample=upsample, verify=False, expect=1)
        onnx.checker.check_model(tse_onnx.convert(model, rows=7, upsample=upsample).model, full_check=True)


def test_a_function_of_an_opset_beyond_all_is_converted_as_of_the_newest():
    text = '<domain: "loc", opset_import: ["" : 17]> SE (a, w, v) => (b) {'
    text += BLOCK.format(x="a", w="w", v="v", y="b") + "}"
    model = _model("h = Relu(x) y = loc.SE(h, w1, w2)", text, '"" : 18, "loc" : 1')
    model.functions[0].opset_import[0].version = 2**40
    tse_onnx.convert(model, rows=7, verify=False, expect=1)


def test_a_function_called_with_two_sizes_is_refused():
    body = "h = Relu(x) p = loc.SE(h, w1, w2) q = MaxPool<kernel_shape = [2, 1], strides = [2, 1]>(p) s = loc.SE(q, w1, w2) "
    body += 'one = Constant<value = float[4] {1, 1, 2, 1}>() y = Resize<mode = "nearest">(s, , one)'
    function = (
        '<domain: "loc", opset_import: ["" : 17]> SE (a, w, v) => (b) {'
        + BLOCK.format(x="a", w="w", v="v", y="b")
        + "}"
    )
    result = tse_onnx.convert(_model(body, function), rows=7, verify=False)
    (decision,) = result.blocks
    assert (decision.status, decision.refusal.code) == ("refused", "shape")


def test_two_blocks_back_to_back_with_shared_weights():
    result = tse_onnx.convert(TWICE, rows=7, expect=2)
    assert [tensor.name for tensor in result.model.graph.initializer] == ["w1", "w2"]
    assert result.verification.passed


def test_gemm_weights_shared_by_two_blocks_are_not_copied():
    spelling = Spelling(excite="gemm-transposed")
    model, _ = model_of(spelling)
    second, _ = model_of(spelling)
    names = {name: f"second_{name}" for node in second.graph.node for name in node.output}
    for node in second.graph.node:
        node.name = f"second_{node.name}"
        node.input[:] = [names.get(name, "y" if name == "input" else name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    model.graph.node.extend(second.graph.node)
    model.graph.output[0].name = "second_y"
    onnx.checker.check_model(model)
    result = tse_onnx.convert(model, rows=4, expect=2)
    assert sum(numpy_helper.to_array(t).nbytes for t in result.model.graph.initializer) <= sum(
        numpy_helper.to_array(t).nbytes for t in model.graph.initializer
    )


def test_a_graph_that_is_not_sorted_keeps_its_order():
    model, _ = model_of(Spelling(squeeze="mean", excite="conv"))
    nodes = list(model.graph.node)
    shuffled = [nodes[-1], *nodes[1:-1], nodes[0]]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in shuffled]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)
    result = tse_onnx.convert(model, rows=4, expect=1)
    assert result.verification.passed
    kept = [node for node in result.model.graph.node if node in copies]
    assert kept == [node for node in copies if node in kept]
    assert len(kept) >= len(copies) - 2


def test_a_cycle_is_one_clear_error():
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,4,16,8] x) => (float[1,4,16,8] y) '
        "{ a = Add(x, b) b = Relu(a) y = Relu(b) }"
    )
    with pytest.raises(tse_onnx.ModelError, match="cycle"):
        tse_onnx.convert(model)


def test_initializers_that_are_inputs_as_well_are_weights():
    model, _ = model_of(Spelling(opset=10))
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model.ir_version = 3
    result = tse_onnx.convert(model, rows=4, expect=1)
    assert result.verification.passed
    assert result.model.graph.input == model.graph.input


@pytest.mark.parametrize("excite", ["gemm", "gemm-transposed", "matmul-add"])
def test_a_linear_layer_becomes_a_convolution_with_the_same_weights(excite):
    model, _ = model_of(Spelling(excite=excite))
    result = tse_onnx.convert(model, rows=4, means="pads", upsample="resize", expect=1)
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for tensor in result.model.graph.initializer:
        array = numpy_helper.to_array(tensor).squeeze()
        same = [
            array.shape == kept.squeeze().shape and np.array_equal(array, kept.squeeze()) for kept in before.values()
        ]
        turned = [array.shape == kept.T.shape and np.array_equal(array, kept.T) for kept in before.values()]
        assert any(same) or any(turned)
    assert not {"Gemm", "MatMul"} & {node.op_type for node in result.model.graph.node}
