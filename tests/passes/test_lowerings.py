"""What is easily lost while the excite is lowered: an order of weights, a group, an attribute, a bias of one number."""

import re

import numpy as np
import pytest

import tse_onnx
from tests.by_definition import tiled_by_definition
from tests.graphs import text_model
from tests.running import run
from tse_onnx.passes.blocks.block import KINDS

_RANDOM = np.random.default_rng(4)
CONSTANTS = {
    name: _RANDOM.standard_normal(shape).astype(np.float32)
    for name, shape in {
        "square": (8, 8), "square2": (8, 8), "in": (8, 4), "out": (4, 8), "one": (1,), "none": (), "few": (4,),
        "grouped": (8, 4, 1), "grouped2": (8, 2, 1), "window": (1, 1, 3), "pair": (1, 1, 2), "many": (8,),
        "scale": (8,), "shift": (8,), "whole": (4, 8, 1, 1), "whole2": (8, 4, 1, 1), "slopes": (8, 1, 1),
    }.items()
} | {
    "map": np.array([0, 8, 1, 1]), "line": np.array([0, 8, 1]), "turned": np.array([0, 1, 8]), "apart": np.array([0, 2, 1, 4]), "last": np.array([2]), "zero": np.array(0), "first": np.array([0]), "rest": np.array([8, 1, 1]),
    "extents": np.array([16, 12]), "spatial": np.array([2, 3]), "part": np.array(1 / 192, np.float32),
    "ones": np.ones(8, np.float32), "flat": np.array([8]), "size": np.array([2, 8, 16, 12]), "counts": np.array([1, 1, 16, 12]),
    "whole_map": np.array([1, 8, 1, 1]),
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
    "a softmax within groups of channels": f"{FLAT}; r = Gemm(f, square); p = Reshape(r, apart); a = Softmax<axis = 3>(p); e = Reshape(a, map); y = Mul(h, e)",
    "groups in one dimension": f"{LINE}; r = Conv<group = 2>(f, grouped); a = Relu(r); e = Conv<group = 4>(a, grouped2); {BACK}",
    "a window that looks back": f"{TURNED}; e = Conv<pads = [2, 0]>(f, window); {BACK}",
    "a window that looks ahead": f"{TURNED}; e = Conv<pads = [0, 2]>(f, window); {BACK}",
    "a window of two": f"{TURNED}; e = Conv<pads = [0, 1]>(f, pair, one); {BACK}",
    "a fused slope": f"{FLAT}; a = com.microsoft.FusedGemm<activation = \"LeakyRelu\", activation_alpha = 0.4>(f, in, few); e = Gemm(a, out); {BACK}",
    "fused bounds": f"{FLAT}; r = Gemm(f, in); a = Relu(r); e = com.microsoft.FusedGemm<activation = \"HardSigmoid\", activation_alpha = 0.3, activation_beta = 0.6>(a, out, one); g = Identity(e); u = Reshape(g, map); y = Mul(h, u)",
    "a vector along the channels": f"{FLAT}; r = Gemm(f, in); q = Add(r, few); a = Relu(q); e = Gemm(a, out); {BACK}",
    "slopes": f"{MEAN}; r = Conv(d, whole); a = Relu(r); c = Conv(a, whole2); e = PRelu(c, slopes); {HERE}",
    "an activation fused with nothing": f"{MEAN}; r = Conv(d, whole); a = com.microsoft.FastGelu(r); e = Conv(a, whole2); {HERE}",
    "a batch normalisation, not in training": f"{MEAN}; r = Conv(d, whole); a = Relu(r); c = Conv(a, whole2); e = BatchNormalization<training_mode = 0>(c, scale, shift, many, ones); {HERE}",
    "axes of extent one dropped": f"{MEAN}; f = Squeeze(d); r = Gemm(f, in); a = Relu(r); e = Gemm(a, out); {BACK}",
    "a target that is put together": f"{MEAN}; s = Shape(d); n = Gather(s, zero); m = Unsqueeze(n, first); t = Concat<axis = 0>(m, rest); f = Flatten(d); r = Gemm(f, in); a = Relu(r); e = Gemm(a, out); g = Sigmoid(e); u = Reshape(g, t); y = Mul(h, u)",
    "a gate spread by a short target": f"{MEAN}; r = Conv(d, whole); a = Relu(r); c = Conv(a, whole2); e = Expand(c, extents); {HERE}",
    "a gate spread by numbers": f"{MEAN}; r = Conv(d, whole); a = Relu(r); c = Conv(a, whole2); e = Expand(c, size); {HERE}",
    "a gate repeated": f"{MEAN}; r = Conv(d, whole); a = Relu(r); c = Conv(a, whole2); e = Tile(c, counts); {HERE}",
    "a sum times a number": f"p = ReduceSum<keepdims = 1>(h, spatial); d = Mul(part, p); r = Conv(d, whole); a = Relu(r); e = Conv(a, whole2); {HERE}",
    "a normalisation": f"{FLAT}; r = Gemm(f, square); a = LayerNormalization(r, scale, shift); e = Gemm(a, square2); {BACK}",
}  # fmt: skip


def _model(nodes, kind="float[2, 8, 16, 12]"):
    read = set(re.findall(r"\w+", nodes))
    body = "\n".join(f"h = Tanh(x); {nodes}".split("; "))
    used = {name: array for name, array in CONSTANTS.items() if name in read}
    if kind.startswith("double"):
        used = {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in used.items()}
    return text_model(body, used, inputs=f"{kind} x", outputs=f"{kind} y", imports=', "com.microsoft" : 1')


# On a batch of one, which may be dropped.
ALONE = {
    "axes of extent one dropped": f"{MEAN}; f = Squeeze(d); r = MatMul(f, in); a = Relu(r); e = MatMul(a, out); {BACK}",
    "a vector": f"{MEAN}; f = Reshape(d, flat); r = MatMul(f, in); a = Relu(r); e = MatMul(a, out); {BACK}",
}


@pytest.mark.parametrize("case", ALONE)
def test_a_batch_of_one_may_be_dropped_on_the_way(case):
    model = _model(ALONE[case].replace("map)", "whole_map)"), "float[1, 8, 16, 12]")
    x = _RANDOM.standard_normal((1, 8, 16, 12)).astype(np.float32)
    result = tse_onnx.convert(model, rows=5, expect=1)
    np.testing.assert_allclose(run(result.model, x), tiled_by_definition(model, x, 5), atol=2e-5)


def test_a_pool_as_large_as_the_map_may_state_that_it_has_no_gaps():
    pool = "d = AveragePool<kernel_shape = [16, 12], dilations = [1, 1]>(h)"
    model = _model(f"{pool}; r = Conv(d, whole); a = Relu(r); e = Conv(a, whole2); {HERE}")
    model.opset_import[0].version = 19
    assert tse_onnx.convert(model, rows=5, expect=1).verification.passed


def test_in_double_precision_every_tile_is_multiplied():
    model = _model(
        CASES["a square Gemm"].replace("GlobalAveragePool(h)", "ReduceMean<axes = [2, 3]>(h)"), "double[2, 8, 16, 12]"
    )
    x = _RANDOM.standard_normal((2, 8, 16, 12))
    result = tse_onnx.convert(model, rows=5, expect=1)
    expected = tiled_by_definition(model, x, 5)
    np.testing.assert_allclose(run(result.model, x), expected, atol=1e-5)


def test_a_convolution_that_fits_the_tiles_stays_byte_for_byte():
    model = _model(
        f"{MEAN}; r = Conv<kernel_shape = [1, 1], dilations = [1, 1]>(d, whole); a = Relu(r); e = Conv(a, whole2); {HERE}"
    )
    converted = tse_onnx.convert(model, rows=5, expect=1).model
    for made in ("r", "a", "e", "g"):
        (before, after) = (
            [node for node in graph.node if node.output[0] == made] for graph in (model.graph, converted.graph)
        )
        assert [node.SerializeToString() for node in before] == [node.SerializeToString() for node in after]


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
    "a shape that is read elsewhere": (f"{MEAN}; s = Shape(d); k = Cast<to = 1>(s); n = ReduceSum(k); r = Conv(d, whole); a = Relu(r); e = Conv(a, whole2); g = Sigmoid(e); z = Mul(h, g); y = Mul(z, n)", "reads the shape of a descriptor"),
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


def test_a_window_over_the_channels_of_a_map_of_unknown_height():
    model = _model(CASES["a window that looks back"], "float[2, 8, H, W]")
    shapes = {"x": (2, 8, 16, 12)}
    result = tse_onnx.convert(model, rows=5, kinds={"eca"}, dynamic=True, input_shapes=shapes, expect=1)
    x = _RANDOM.standard_normal((2, 8, 16, 12)).astype(np.float32)
    np.testing.assert_allclose(run(result.model, x), tiled_by_definition(model, x, 5), atol=2e-5)
