"""Maps whose pixels are laid out anew before they are pooled, `x.view(N, C, -1)`: descriptors of another rank than the
map's."""

import numpy as np
import pytest

import tse_onnx
from tests.by_definition import tiled_by_definition
from tests.graphs import text_model
from tests.running import run
from tse_onnx.passes.blocks.block import KINDS
from tse_onnx.passes.lowering import SPREADS

_RANDOM = np.random.default_rng(0)
_SHAPES = {"w1": (4, 8, 1), "w2": (8, 4, 1), "v1": (4, 8, 1, 1), "v2": (8, 4, 1, 1), "m1": (8, 4), "m2": (4, 8)}
CONSTANTS = {name: _RANDOM.standard_normal(shape).astype(np.float32) for name, shape in _SHAPES.items()} | {
    "flat": np.array([0, 8, -1]), "numbers": np.array([2, 8, -1]), "last": np.array([0, -1, 8]),
    "map": np.array([0, 8, 1, 1]), "map_last": np.array([0, 1, 1, 8]), "cube": np.array([0, 8, 1, 1, 1]),
    "one": np.array([3]), "two": np.array([2]), "area": np.array(192, np.float32), "back": np.array([0, 8, 16, 12]),
    "back_last": np.array([0, 16, 12, 8]), "back_cube": np.array([0, 8, 16, 3, 4]), "three": np.array([3]),
    "mixed": np.array([4, 4, -1]), "moved": np.array([0, 8, 1, 1]), "placed": np.array([2, 8, 1, 1]),
}  # fmt: skip
CONV = "r = Conv(d, w1); a = Relu(r); e = Conv(a, w2); g = Sigmoid(e)"
CONV_2D = "r = Conv(d4, v1); a = Relu(r); e = Conv(a, v2); u = Sigmoid(e)"
GEMM = "r = MatMul(d, m1); a = Relu(r); e = MatMul(a, m2); g = Sigmoid(e)"
FLAT = "f = Reshape(h, flat)"
KEPT = f"{FLAT}; d = ReduceMean<axes = [2], keepdims = 1>(f)"
DROPPED = f"{FLAT}; d = ReduceMean<axes = [2], keepdims = 0>(f)"
PLACED, SCALED = "u = Reshape(g, map)", "y = Mul(h, u)"
FOUR, LAST, LINE = (2, 8, 16, 12), (2, 16, 12, 8), (2, 8, 16)

# What pools and gates: its nodes, and the shape of the map, of which an axis of 16 is streamed.
BLOCKS = {
    "a Conv1d, its gate under a further axis": (f"{KEPT}; {CONV}; u = Unsqueeze(g, one); {SCALED}", FOUR),
    "a Conv1d, its gate reshaped": (f"{KEPT}; {CONV}; {PLACED}; {SCALED}", FOUR),
    "a target of numbers": (f"{KEPT.replace('flat', 'numbers')}; {CONV}; {PLACED}; {SCALED}", FOUR),
    "reshaped behind the mean": (f"{KEPT}; d4 = Reshape(d, map); {CONV_2D}; {SCALED}", FOUR),
    "unsqueezed behind the mean": (f"{KEPT}; d4 = Unsqueeze(d, one); {CONV_2D}; {SCALED}", FOUR),
    "keepdims 0": (f"{DROPPED}; {GEMM}; {PLACED}; {SCALED}", FOUR),
    "keepdims 0 and a Conv1d": (f"{DROPPED.replace('d =', 'c =')}; d = Unsqueeze(c, two); {CONV}; {PLACED}; {SCALED}", FOUR),
    "a pool in place of the mean": (f"{FLAT}; d = GlobalAveragePool(f); {CONV}; {PLACED}; {SCALED}", FOUR),
    "a pool as large as the map": (f"{FLAT}; d = AveragePool<kernel_shape = [192]>(f); {CONV}; {PLACED}; {SCALED}", FOUR),
    "a sum": (f"{FLAT}; p = ReduceSum<keepdims = 1>(f, two); d = Div(p, area); {CONV}; {PLACED}; {SCALED}", FOUR),
    "two means": (f"{KEPT.replace('d =', 'p =')}; d = ReduceMean<axes = [2]>(p); {CONV}; {PLACED}; {SCALED}", FOUR),
    "turned": (f"{FLAT}; t = Transpose<perm = [0, 2, 1]>(f); d = ReduceMean<axes = [1], keepdims = 0>(t); {GEMM}; {PLACED}; {SCALED}", FOUR),
    "fused": (f"{KEPT}; a = com.microsoft.FusedConv<kernel_shape = [1], activation = \"Relu\">(d, w1); e = Conv(a, w2); g = Sigmoid(e); {PLACED}; {SCALED}", FOUR),
    "channels last": (f"f = Reshape(h, last); d = ReduceMean<axes = [1], keepdims = 0>(f); {GEMM}; u = Reshape(g, map_last); {SCALED}", LAST),
    "channels last, kept": (f"f = Reshape(h, last); d = ReduceMean<axes = [1], keepdims = 1>(f); {GEMM}; u = Unsqueeze(g, two); {SCALED}", LAST),
    "three spatial axes": (f"{KEPT}; {CONV}; u = Reshape(g, cube); {SCALED}", (2, 8, 16, 3, 4)),
    "scaled as it is pooled": (f"{KEPT}; {CONV}; s = Mul(f, g); y = Reshape(s, back)", FOUR),
    "scaled as it is pooled, by another view": (f"{KEPT}; {CONV}; k = Reshape(h, flat); s = Mul(g, k); y = Reshape(s, back)", FOUR),
    "pooled as it is, scaled flat": (f"d4 = GlobalAveragePool(h); {CONV_2D.replace('u =', 'g4 =')}; g = Squeeze(g4, three); {FLAT}; s = Mul(f, g); y = Reshape(s, back)", FOUR),
    "scaled flat, and more there": (f"{KEPT}; {CONV}; s = Mul(f, g); p = Abs(s); n = Sign(s); t = Mul(p, n); y = Reshape(t, back)", FOUR),
    "scaled flat, channels last": (f"f = Reshape(h, last); d = ReduceMean<axes = [1], keepdims = 1>(f); {GEMM}; s = Mul(f, g); y = Reshape(s, back_last)", LAST),
    "scaled flat, three spatial axes": (f"{KEPT}; {CONV}; s = Mul(f, g); y = Reshape(s, back_cube)", (2, 8, 16, 3, 4)),
    "a line under a further axis": (f"f = Unsqueeze(h, two); d4 = GlobalAveragePool(f); {CONV_2D.replace('u =', 'g =')}; u = Squeeze(g, two); {SCALED}", LINE),
    "a line": (f"d = ReduceMean<axes = [2], keepdims = 1>(h); {CONV}; y = Mul(h, g)", LINE),
    "a line, keepdims 0": (f"d = ReduceMean<axes = [2], keepdims = 0>(h); {GEMM}; u = Unsqueeze(g, two); {SCALED}", LINE),
}  # fmt: skip


def _model(nodes, shape, dims=""):
    dims = dims or ", ".join(map(str, shape))
    used = {name: array for name, array in CONSTANTS.items() if f"{name})" in nodes or f"{name}," in nodes}
    body = "\n".join(f"h = Tanh(x); {nodes}".split("; "))
    imports = ', "com.microsoft" : 1'
    return text_model(body, used, inputs=f"float[{dims}] x", outputs=f"float[{dims}] y", imports=imports)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_mean_over_another_view_of_the_map_is_tiled_and_restored(name):
    nodes, shape = BLOCKS[name]
    model = _model(nodes, shape)
    (block,) = tse_onnx.find_blocks(model)
    assert (block.status, block.reason, block.input, block.shape) == ("convertible", None, "h", shape)
    result = tse_onnx.convert(model, rows=5)
    assert result.verification.passed
    x = _RANDOM.standard_normal(shape).astype(np.float32)
    expected = tiled_by_definition(model, x, 5, streamed=shape.index(16), channel=shape.index(8))
    np.testing.assert_allclose(run(result.model, x), expected, atol=1e-5)
    assert tse_onnx.restore(result.model).model.SerializeToString() == model.SerializeToString()
    assert [found.status for found in tse_onnx.find_blocks(result.model)] == ["tiled"]


# The sizes fit by accident: 8 channels for 8 rows.
ACCIDENTS = {
    "kept": f"{KEPT}; {CONV}; y = Mul(h, g)",
    "kept, from a pool": f"{FLAT}; d = GlobalAveragePool(f); {CONV}; y = Mul(h, g)",
    "dropped": f"{DROPPED}; {GEMM}; y = Mul(h, g)",
}


@pytest.mark.parametrize("name", ACCIDENTS)
def test_a_gate_that_lies_along_the_rows_is_refused(name):
    model = _model(ACCIDENTS[name], (1, 8, 8, 8))
    run(model, np.ones((1, 8, 8, 8), np.float32))  # the model is one
    (block,) = tse_onnx.find_blocks(model)
    assert (block.status, block.refusal.code) == ("refused", "layout")
    assert "gets a gate that lies along [" in block.reason
    assert tse_onnx.convert(model, rows=2, verify=False).model.SerializeToString() == model.SerializeToString()


def test_a_map_of_unknown_size_is_seen_through_a_target_that_keeps_batch_and_channels():
    model = _model(f"{KEPT}; {CONV}; {PLACED}; {SCALED}", FOUR, dims="N, 8, H, W")
    (block,) = tse_onnx.find_blocks(model)
    assert (block.status, block.input, block.shape) == ("convertible", "h", (None, 8, None, None))
    assert tse_onnx.convert(model, rows=5, input_shapes={"x": FOUR}).verification.passed


@pytest.mark.parametrize(
    "nodes",
    [
        # Four pixels of two channels to an entry: no channel has a mean of its own.
        "f = Reshape(h, mixed); d = ReduceMean<axes = [2], keepdims = 0>(f); g = Sigmoid(d); u = Reshape(g, placed); y = Mul(h, u)",
        # Channels and pixels change places, without a transpose that moves the numbers.
        "f = Reshape(h, last); d = ReduceMean<axes = [1], keepdims = 0>(f); g = Sigmoid(d); u = Reshape(g, moved); y = Mul(h, u)",
    ],
)  # fmt: skip
def test_a_reshape_that_mixes_the_channels_is_no_view_of_the_map(nodes):
    model = _model(nodes, FOUR)
    run(model, np.ones(FOUR, np.float32))  # the model is one
    (block,) = tse_onnx.find_blocks(model, kinds=set(KINDS))
    assert block.status == "refused"


SCALED_FLAT = f"{KEPT}; {CONV}; s = Mul(f, g); y = Reshape(s, back)"


@pytest.mark.parametrize("upsample", [way.name for way in SPREADS])
@pytest.mark.parametrize("rows", [1, 4, 5])
def test_a_map_that_is_scaled_flat_is_scaled_in_every_way(upsample, rows):
    result = tse_onnx.convert(_model(SCALED_FLAT, FOUR), rows=rows, upsample=upsample)
    assert result.verification.passed
    x = _RANDOM.standard_normal(FOUR).astype(np.float32)
    expected = tiled_by_definition(_model(SCALED_FLAT, FOUR), x, rows)
    np.testing.assert_allclose(run(result.model, x), expected, atol=1e-5)


@pytest.mark.parametrize(
    "asked",
    [
        tse_onnx.Tiling(5, squeeze="running"),
        tse_onnx.Tiling(5, 4),
        tse_onnx.Tiling(5, squeeze="upper"),
        tse_onnx.Frozen((0.25,) * 8),
        tse_onnx.Previous(),
    ],
    ids=str,
)
def test_a_map_that_is_scaled_flat_takes_every_choice(asked):
    model = _model(SCALED_FLAT, FOUR)
    result = tse_onnx.convert(model, tiling=asked, expect=1)
    assert result.verification.passed
    assert tse_onnx.restore(result.model).model.SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize(
    ("nodes", "code"),
    [
        # Turned in between: the pixels do not lie as the map's do.
        (f"{KEPT}; {CONV}; t = Transpose<perm = [2, 1, 0]>(f); c = Transpose<perm = [2, 1, 0]>(g); s = Mul(t, c); y = Reshape(s, back)", None),
        # Another map, flat.
        (f"{KEPT}; {CONV}; n = Neg(h); k = Reshape(n, flat); s = Mul(k, g); y = Reshape(s, back)", "other-tensor"),
        # Added in place of multiplied.
        (f"{KEPT}; {CONV}; s = Add(f, g); y = Reshape(s, back)", "not-mul"),
    ],
)  # fmt: skip
def test_what_is_no_scale_of_the_flat_map_has_no_strips_of_rows(nodes, code):
    (block,) = tse_onnx.find_blocks(_model(nodes, (1, 8, 16, 12)), kinds=set(KINDS))
    assert (block.input, block.refusal and block.refusal.code) == ("h" if code == "other-tensor" else "f", code)
