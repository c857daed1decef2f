"""Blocks in local functions that get their weights as arguments."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, inliner, numpy_helper, parser

import tse_onnx
from tests.running import run

TEXT = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
g (float[1, CHANNELS, 16, 12] x) => (float[1, A, B, C] y) {
  m = own.se(x, w1, w2)
  n = Concat<axis = 1>(m, m)
  y = own.se(n, w3, w4)
}
<domain: "own", opset_import: ["" : 17]>
se (h, wa, wb) => (s) {
  d = GlobalAveragePool(h)
  r = Conv(d, wa)
  a = Relu(r)
  e = Conv(a, wb)
  g = Sigmoid(e)
  s = Mul(h, g)
}"""


def model(second: int) -> ModelProto:
    """A function called for maps of four channels, and for maps of eight with `second` of them in its weights."""
    made = parser.parse_model(TEXT.replace("CHANNELS", str(second // 2)))
    random = np.random.default_rng(1)
    for name, shape in {
        "w1": (2, second // 2, 1, 1), "w2": (second // 2, 2, 1, 1), "w3": (2, second, 1, 1), "w4": (second, 2, 1, 1),
    }.items():  # fmt: skip
        made.graph.initializer.append(numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name))
    onnx.checker.check_model(made)
    return made


def test_a_function_whose_calls_differ_names_the_inliner_and_is_converted_once_inlined():
    (block,) = tse_onnx.find_blocks(model(8))
    assert block.refusal.code == "shape"
    assert "onnx.inliner.inline_local_functions" in block.reason
    result = tse_onnx.convert(inliner.inline_local_functions(model(8)), rows=4)
    assert result.report.buffering.totals.converted == 2
    assert result.verification.passed


@pytest.mark.parametrize("code", ["head"])
def test_a_reason_that_no_call_changes_does_not_name_it(code):
    made = model(8)
    del made.functions[0].node[-1]
    made.functions[0].node[-1].output[0] = "s"
    (block,) = tse_onnx.find_blocks(made)
    assert block.refusal.code == code
    assert "inliner" not in block.reason


CALLS = """<ir_version: 8, opset_import: ["" : 18, "own" : 1]>
g (float[1, 4, 16, 12] x) => (float[1, A, B, C] y) {
  MIDDLE
}
<domain: "own", opset_import: ["" : 18]>
se (h, wa, wb, axes, flat, six) => (s) {
  d = ReduceMean<keepdims = 0>(h, axes)
  r = MatMul(d, wa)
  a = Clip(r, , six)
  e = MatMul(a, wb)
  k = Sigmoid(e)
  g = Reshape(k, flat)
  s = Mul(h, g)
}"""
SHAPES = {"w1": (4, 2), "w2": (2, 4), "w3": (4, 2), "w4": (2, 4), "w5": (4, 3), "w6": (3, 4)}
NUMBERS = {"axes": np.array([2, 3]), "again": np.array([2, 3]), "rows": np.array([2]), "flat": np.array([0, -1, 1, 1]),
           "six": np.array(6, np.float32)}  # fmt: skip
REST = "axes, flat, six)"


def called(*calls: str) -> ModelProto:
    """Calls one after the other, each with its arguments behind the map."""
    lines = [f"m{number + 1} = own.se(m{number}, {call}" for number, call in enumerate(calls)]
    made = parser.parse_model(CALLS.replace("MIDDLE", "\n".join(["m0 = Relu(x)", *lines, f"y = Neg(m{len(calls)})"])))
    random = np.random.default_rng(1)
    weights = {name: random.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    made.graph.initializer.extend(
        numpy_helper.from_array(array, name)
        for name, array in (weights | NUMBERS).items()
        if any(f"{name}," in call or f"{name})" in call for call in calls)
    )
    onnx.checker.check_model(made)
    return made


@pytest.mark.parametrize(
    "calls",
    [
        (f"w1, w2, {REST}",),
        (f"w1, w2, {REST}", f"w3, w4, {REST}"),
        (f"w1, w2, {REST}", f"w3, w4, {REST.replace('axes', 'again')}"),
    ],
    ids=["one call", "other weights", "the same numbers"],
)
def test_a_body_is_right_for_all_of_its_calls_where_these_agree(calls):
    """Weights, axes and shapes are arguments. The edited body is what its body in place of each call becomes."""
    model = called(*calls)
    result = tse_onnx.convert(model, rows=4, expect=1)
    assert result.verification.passed
    inlined = tse_onnx.convert(inliner.inline_local_functions(model), rows=4, expect=len(calls))
    x = np.random.default_rng(2).standard_normal((1, 4, 16, 12)).astype(np.float32)
    np.testing.assert_allclose(run(result.model, x), run(inlined.model, x), rtol=1e-5, atol=1e-6)
    assert result.model.graph == model.graph
    assert tse_onnx.restore(result.model).model.SerializeToString() == model.SerializeToString()


def test_calls_of_other_widths_name_the_inliner_which_helps():
    model = called(f"w1, w2, {REST}", f"w5, w6, {REST}")
    (block,) = tse_onnx.find_blocks(model)
    assert block.refusal.code == "shape"
    assert "its calls differ: inline it first (onnx.inliner.inline_local_functions)" in block.reason
    result = tse_onnx.convert(inliner.inline_local_functions(model), rows=4, expect=2)
    assert result.verification.passed


def test_a_weight_that_no_call_gives_as_a_constant_does_not_name_the_inliner():
    model = called(f"w1, w2, {REST}")
    call = next(node for node in model.graph.node if node.op_type == "se")
    model.graph.node.insert(0, onnx.helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0))
    model.graph.node.insert(1, onnx.helper.make_node("Mul", ["w1", "top"], ["moving"]))
    call.input[1] = "moving"
    (block,) = tse_onnx.find_blocks(model)
    assert block.refusal.code == "weights"
    assert "inline" not in block.reason


def test_a_map_of_another_size_in_each_call_names_the_inliner_which_helps():
    model = called(f"w1, w2, {REST}", f"w3, w4, {REST}")
    second = [node for node in model.graph.node if node.op_type == "se"][1]
    place = list(model.graph.node).index(second)
    pool = onnx.helper.make_node("MaxPool", [second.input[0]], ["small"], kernel_shape=[2, 2], strides=[2, 2])
    model.graph.node.insert(place, pool)
    model.graph.node[place + 1].input[0] = "small"
    (block,) = tse_onnx.convert(model, rows=4, verify=False).blocks
    assert block.refusal.code == "shape"
    assert "onnx.inliner.inline_local_functions" in block.refusal.text
    result = tse_onnx.convert(inliner.inline_local_functions(model), rows=4, expect=2)
    assert result.verification.passed
