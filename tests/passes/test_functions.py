"""Blocks in local functions that get their weights as arguments."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, inliner, numpy_helper, parser

import tse_onnx

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
