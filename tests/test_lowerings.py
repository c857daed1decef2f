"""What is easily lost while the excite is lowered: an order of weights, a group, an attribute, a bias of one number."""

import re

import numpy as np
import pytest

import tse_onnx
from tests.by_definition import tiled_by_definition
from tests.graphs import text_model
from tests.running import run
from tse_onnx.passes.block import KINDS

_RANDOM = np.random.default_rng(4)
CONSTANTS = {
    name: _RANDOM.standard_normal(shape).astype(np.float32)
    for name, shape in {
        "square": (8, 8), "square2": (8, 8), "in": (8, 4), "out": (4, 8), "one": (1,), "none": (), "few": (4,),
        "grouped": (8, 4, 1), "grouped2": (8, 2, 1), "window": (1, 1, 3), "pair": (1, 1, 2), "many": (8,),
        "scale": (8,), "shift": (8,), "whole": (4, 8, 1, 1), "whole2": (8, 4, 1, 1), "slopes": (8, 1, 1),
    }.items()
} | {
    "map": np.array([0, 8, 1, 1]), "line": np.array([0, 8, 1]), "turned": np.array([0, 1, 8]), "last": np.array([2]),
}  # fmt: skip
MEAN, FLAT = "d = GlobalAveragePool(h)", "d = GlobalAveragePool(h); f = Flatten(d)"
LINE, TURNED = f"{MEAN}; f = Reshape(d, line)", f"{MEAN}; f = Reshape(d, turned)"
BACK = "g = Sigmoid(e); u = Reshape(g, map); y = Mul(h, u)"
HERE = "g = Sigmoid(e); y = Mul(h, g)"

CASES = {
    "a square Gemm": f"{FLAT}; r = Gemm(f, square); a = Relu(r); e = Gemm(a, square2); {BACK}",
    "a square Gemm, transposed": f"{FLAT}; r = Gemm<transB = 1>(f, square); a = Relu(r); e = Gemm<transB = 1>(a, square2); {BACK}",
    "a square MatMul": f"{FLAT}; r = MatMul(f, square); a = Relu(r); e = MatMul(a, square2); {BACK}",
    "a square MatMul from the left": f"{LINE}; r = MatMul(square, f); a = Relu(r); e = MatMul(square2, a); {BACK}",
    "weights that both layers read": f"{FLAT}; r = Gemm(f, square); a = Relu(r); e = Gemm<transB = 1>(a, square); {BACK}",
    "a bias of one number": f"{FLAT}; r = Gemm(f, in, one); a = Relu(r); e = Gemm(a, out, one); {BACK}",
    "a scalar bias": f"{FLAT}; r = Gemm(f, in, none); a = Relu(r); e = Gemm(a, out); {BACK}",
    "a softmax over the last axis": f"{FLAT}; r = Gemm(f, in, few); a = Softmax(r); e = Gemm(a, out); {BACK}",
    "a softmax over axis -1": f"{FLAT}; r = Gemm(f, in, few); a = Softmax<axis = -1>(r); e = Gemm(a, out); {BACK}",
    "a softmax over axis -3": f"{MEAN}; r = Conv(d, whole); a = Softmax<axis = -3>(r); e = Conv(a, whole2); {HERE}",
    "groups in one dimension": f"{LINE}; r = Conv<group = 2>(f, grouped); a = Relu(r); e = Conv<group = 4>(a, grouped2); {BACK}",
    "a window that looks back": f"{TURNED}; e = Conv<pads = [2, 0]>(f, window); {BACK}",
    "a window that looks ahead": f"{TURNED}; e = Conv<pads = [0, 2]>(f, window); {BACK}",
    "a window of two": f"{TURNED}; e = Conv<pads = [0, 1]>(f, pair, one); {BACK}",
    "a fused slope": f"{FLAT}; a = com.microsoft.FusedGemm<activation = \"LeakyRelu\", activation_alpha = 0.4>(f, in, few); e = Gemm(a, out); {BACK}",
    "fused bounds": f"{FLAT}; r = Gemm(f, in); a = Relu(r); e = com.microsoft.FusedGemm<activation = \"HardSigmoid\", activation_alpha = 0.3, activation_beta = 0.6>(a, out, one); g = Identity(e); u = Reshape(g, map); y = Mul(h, u)",
    "a vector along the channels": f"{FLAT}; r = Gemm(f, in); q = Add(r, few); a = Relu(q); e = Gemm(a, out); {BACK}",
    "slopes": f"{MEAN}; r = Conv(d, whole); a = Relu(r); c = Conv(a, whole2); e = PRelu(c, slopes); {HERE}",
    "a normalisation": f"{FLAT}; r = Gemm(f, square); a = LayerNormalization(r, scale, shift); e = Gemm(a, square2); {BACK}",
}  # fmt: skip


def _model(nodes, kind="float[2, 8, 16, 12]"):
    read = set(re.findall(r"\w+", nodes))
    body = "\n".join(f"h = Tanh(x); {nodes}".split("; "))
    used = {name: array for name, array in CONSTANTS.items() if name in read}
    return text_model(body, used, inputs=f"{kind} x", outputs=f"{kind} y", imports=', "com.microsoft" : 1')


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_lost_on_the_way_to_the_tiles(case):
    model = _model(CASES[case])
    x = _RANDOM.standard_normal((2, 8, 16, 12)).astype(np.float32)
    result = tse_onnx.convert(model, rows=5, kinds=set(KINDS), expect=1, verify=False)
    np.testing.assert_allclose(run(result.model, x), tiled_by_definition(model, x, 5), atol=2e-5)
    assert tse_onnx.convert(model, rows=5, kinds=set(KINDS)).verification.passed


REFUSED = {
    "a factor": (f"{FLAT}; r = Gemm<alpha = 0.5>(f, square); a = Relu(r); e = Gemm(a, square2); {BACK}", "alpha = 0.5"),
    "a factor of the bias": (f"{FLAT}; r = Gemm<beta = 2.0>(f, square, many); a = Relu(r); e = Gemm(a, square2); {BACK}", "beta = 2"),
    "a gate along the rows": (f"{FLAT}; r = Gemm(f, square); a = Relu(r); e = Gemm(a, square2); g = Sigmoid(e); u = Unsqueeze(g, last); y = Mul(h, u)", "lies along"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_form_is_refused(case):
    nodes, text = REFUSED[case]
    model = _model(nodes, "float[1, 8, 8, 12]")  # as many rows as channels, so that a gate along the rows fits
    run(model, np.ones((1, 8, 8, 12), np.float32))
    (block,) = tse_onnx.find_blocks(model)
    assert block.status == "refused"
    assert text in block.reason
