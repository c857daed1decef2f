"""The relatives of squeeze-and-excite: found, refused by default, and tiled by the same rule on request."""

from __future__ import annotations

import ast
import re

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import parser

import tse_onnx
from tse_onnx.passes.blocks.choices import choice_of
from tse_onnx.passes.lowering.spread import SPREADS
from tse_onnx.passes.lowering.squeeze import MEANS

GRAPHS = {
    "ese": "d = GlobalAveragePool(x) e = Conv(d, w) g = HardSigmoid(e) y = Mul(x, g)",
    "eca": "d = ReduceMean<axes = [2, 3], keepdims = 0>(x) n = Constant<value = int64[1] {1}>() u = Unsqueeze(d, n) "
    "e = Conv<kernel_shape = [3], pads = [1, 1]>(u, k) n2 = Constant<value = int64[4] {0, 4, 1, 1}>() s = Sigmoid(e) "
    "n3 = Constant<value = int64[4] {-1, 4, 1, 1}>() g = Reshape(s, n3) y = Mul(x, g)",
    "eca-transposed": "d = GlobalAveragePool(x) n = Constant<value = int64[1] {3}>() q = Squeeze(d, n) "
    "t = Transpose<perm = [0, 2, 1]>(q) e = Conv<kernel_shape = [3], pads = [1, 1]>(t, k) "
    "u = Transpose<perm = [0, 2, 1]>(e) v = Unsqueeze(u, n) g = Sigmoid(v) y = Mul(x, g)",
    "eca-filters": "d = ReduceMean<axes = [2, 3], keepdims = 0>(x) n = Constant<value = int64[1] {1}>() u = Unsqueeze(d, n) "
    "e = Conv<pads = [1, 1]>(u, k2, c2) h = Sigmoid(e) i = Mul(e, h) f = Conv<pads = [1, 1]>(i, k3, c1) "
    "n3 = Constant<value = int64[4] {-1, 4, 1, 1}>() s = Sigmoid(f) g = Reshape(s, n3) y = Mul(x, g)",
    "eca-filters-transposed": "d = GlobalAveragePool(x) n = Constant<value = int64[1] {3}>() q = Squeeze(d, n) "
    "t = Transpose<perm = [0, 2, 1]>(q) e = Conv<pads = [1, 1]>(t, k2) i = LeakyRelu(e) j = Conv<pads = [2, 2], "
    "dilations = [2]>(i, k4) p = Relu(j) f = Conv<pads = [1, 1]>(p, k3) u = Transpose<perm = [0, 2, 1]>(f) "
    "v = Unsqueeze(u, n) g = Sigmoid(v) y = Mul(x, g)",
    "eca-dilated": "d = GlobalAveragePool(x) n = Constant<value = int64[1] {3}>() q = Squeeze(d, n) "
    "t = Transpose<perm = [0, 2, 1]>(q) e = Conv<pads = [2, 2], dilations = [2]>(t, k) "
    "u = Transpose<perm = [0, 2, 1]>(e) v = Unsqueeze(u, n) g = Sigmoid(v) y = Mul(x, g)",
    "cbam": "d = GlobalAveragePool(x) e = Conv(d, w) a = Relu(e) f = Conv(a, w) t = GlobalMaxPool(x) u = Conv(t, w) "
    "v = Relu(u) z = Conv(v, w) s = Add(f, z) g = Sigmoid(s) y = Mul(x, g)",
    "cbam-reduced": "d = ReduceMean<axes = [2, 3], keepdims = 0>(x) t = ReduceMax<axes = [2, 3], keepdims = 0>(x) "
    "s = Add(d, t) n = Constant<value = int64[4] {-1, 4, 1, 1}>() u = Reshape(s, n) e = Conv(u, w) g = Sigmoid(e) "
    "y = Mul(x, g)",
    "split": "n = Constant<value = int64[1] {1}>() i = Neg(x) j = Tanh(x) a = Unsqueeze(i, n) b = Unsqueeze(j, n) "
    "t = Concat<axis = 1>(a, b) u = ReduceSum<keepdims = 0>(t, n) d = GlobalAveragePool(u) e = Conv(d, wide) "
    "n2 = Constant<value = int64[4] {-1, 2, 2, 2}>() r = Reshape(e, n2) f = Transpose<perm = [0, 2, 1, 3]>(r) "
    "s = Softmax<axis = 1>(f) n3 = Constant<value = int64[5] {-1, 2, 4, 1, 1}>() g = Reshape(s, n3) m = Mul(t, g) "
    "y = ReduceSum<keepdims = 0>(m, n)",
    "split-of-channels": "n = Constant<value = int64[1] {1}>() v = Conv(x, wide) n0 = Constant<value = int64[2] {4, 4}>() "
    "i, j = Split<axis = 1>(v, n0) a = Unsqueeze(i, n) b = Unsqueeze(j, n) t = Concat<axis = 1>(a, b) "
    "u = ReduceSum<keepdims = 0>(t, n) d = ReduceMean<axes = [2, 3], keepdims = 0>(u) n1 = Constant<value = int64[4] "
    "{-1, 4, 1, 1}>() c = Reshape(d, n1) e = Conv(c, wide) n3 = Constant<value = int64[5] {0, 2, -1, 1, 1}>() "
    "f = Reshape(e, n3) g = Softmax<axis = 1>(f) m = Mul(g, t) y = ReduceSum<keepdims = 0>(m, n)",
    "grn": "d = ReduceL2<axes = [2, 3]>(x) c = ReduceMean<axes = [1]>(d) e = Add(c, eps) g = Div(d, e) y = Mul(x, g)",
    "grn-pool": "d = GlobalLpPool(x) c = ReduceMean<axes = [1]>(d) e = Add(c, eps) g = Div(d, e) y = Mul(g, x)",
    "grn-without-eps": "d = ReduceL2<axes = [2, 3]>(x) c = ReduceMean<axes = [1]>(d) g = Div(d, c) y = Mul(x, g)",
    "grn-squares": "q = Mul(x, x) n = Constant<value = int64[2] {2, 3}>() d = ReduceSum(q, n) r = Sqrt(d) "
    "c = ReduceMean<axes = [1]>(r) e = Add(c, eps) g = Div(r, e) y = Mul(x, g)",
    "grn-powers": "a = Abs(x) two = Constant<value = float {2}>() q = Pow(a, two) n = Constant<value = int64[2] {2, 3}>() "
    "d = ReduceSum<keepdims = 0>(q, n) half = Constant<value = float {0.5}>() r = Pow(d, half) "
    "n2 = Constant<value = int64[4] {-1, 4, 1, 1}>() u = Reshape(r, n2) c = ReduceMean<axes = [1]>(u) e = Add(c, eps) "
    "g = Div(u, e) y = Mul(x, g)",
    "grn-sum-square": "d = ReduceSumSquare<axes = [-1, -2]>(x) r = Sqrt(d) c = ReduceMean<axes = [1]>(r) e = Add(c, eps) "
    "i = Reciprocal(e) g = Mul(r, i) y = Mul(x, g)",
    "grn-mean-square": "q = Mul(x, x) d = GlobalAveragePool(q) r = Sqrt(d) c = ReduceMean<axes = [1]>(r) e = Add(c, eps) "
    "g = Div(r, e) y = Mul(x, g)",
    "grn-flat": "n = Constant<value = int64[3] {0, 4, -1}>() v = Reshape(x, n) d = ReduceL2<axes = [2]>(v) "
    "n3 = Constant<value = int64[1] {3}>() u = Unsqueeze(d, n3) c = ReduceMean<axes = [1]>(u) e = Add(c, eps) "
    "g = Div(u, e) y = Mul(x, g)",
    "split-apart": "i = Neg(x) j = Tanh(x) u = Add(i, j) d = GlobalAveragePool(u) e = Conv(d, wide) "
    "n2 = Constant<value = int64[4] {-1, 2, 2, 2}>() r = Reshape(e, n2) f = Transpose<perm = [0, 2, 1, 3]>(r) "
    "s = Softmax<axis = 1>(f) n3 = Constant<value = int64[4] {-1, 8, 1, 1}>() g = Reshape(s, n3) "
    "n4 = Constant<value = int64[2] {4, 4}>() g0, g1 = Split<axis = 1>(g, n4) m0 = Mul(g0, i) m1 = Mul(j, g1) "
    "y = Add(m0, m1)",
    "split-three": "zero = Constant<value = float {0}>() i = Neg(x) j = Tanh(x) o = Sin(x) u0 = Add(zero, i) "
    "u1 = Add(u0, j) u = Add(u1, o) d = ReduceMean<axes = [2, 3], keepdims = 0>(u) n = Constant<value = int64[1] {1}>() "
    "n4 = Constant<value = int64[4] {-1, 4, 1, 1}>() c = Reshape(d, n4) e0 = Conv(c, w) e1 = Conv(e0, w) e2 = Conv(e1, w) "
    "f0 = Flatten(e0) f1 = Flatten(e1) f2 = Flatten(e2) h0 = Unsqueeze(f0, n) h1 = Unsqueeze(f1, n) "
    "h2 = Unsqueeze(f2, n) h = Concat<axis = 1>(h0, h1, h2) s = Softmax<axis = 1>(h) "
    "p0 = Constant<value = int64 {0}>() p1 = Constant<value = int64[1] {1}>() q0 = Constant<value = int64[1] {-1}>() "
    "q1 = Constant<value = int64[1] {9}>() s0 = Gather<axis = 1>(s, p0) s1 = Gather<axis = 1>(s, p1) "
    "s2 = Slice(s, q0, q1, n) g0 = Reshape(s0, n4) g1 = Reshape(s1, n4) g2 = Reshape(s2, n4) m0 = Mul(i, g0) "
    "m1 = Mul(j, g1) m2 = Mul(o, g2) v = Sum(m1, m2) y = Add(m0, v)",
    "ge": "d = GlobalAveragePool(x) g = Sigmoid(d) y = Mul(x, g)",
}


def _model(kind):
    weights = "<float[4,4,1,1] w = {1,-1,2,1,0,1,-2,1,1,1,-1,2,1,1,0,-1}, float[1,1,3] k = {1,2,-1}, "
    weights += "float[2,1,3] k2 = {1,2,-1,-2,1,1}, float[1,2,3] k3 = {1,-1,2,1,0,-2}, float[2] c2 = {1,-1}, "
    weights += "float[1] c1 = {0.5}, float eps = {0.01}, float[2,2,3] k4 = {1,0,2,-1,1,0,2,1,-1,0,1,1}, "
    weights += "float[8,4,1,1] wide = {1,-1,2,1,0,1,-2,1,1,1,-1,2,1,1,0,-1,2,1,1,-2,-1,1,0,2,1,0,-1,1,-2,1,2,0}>"
    return parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N,4,H,W] x) => (float[N,4,H,W] y) {weights} {{ {GRAPHS[kind]} }}'
    )


def _run(model, x):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("rows", [1, 4, 7])
def test_a_relative_is_tiled_when_asked_for(kind, rows):
    model, name = _model(kind), kind.partition("-")[0]
    shapes = {"x": (2, 4, 16, 5)}
    result = tse_onnx.convert(model, rows=rows, kinds={name}, input_shapes=shapes, expect=1)
    assert result.blocks[0].block.kind == name
    onnx.checker.check_model(result.model, full_check=True)
    x = np.random.default_rng(0).standard_normal((2, 4, 16, 5)).astype(np.float32)
    expected = np.concatenate([_run(model, x[:, :, top : top + rows]) for top in range(0, 16, rows)], axis=2)
    np.testing.assert_allclose(_run(result.model, x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize(("rows", "step"), [(1, 1), (3, 2), (5, 1)])
def test_a_relative_has_a_running_squeeze(kind, rows, step):
    """Each row is scaled as the original scales it in a map that ends with the last row of its group."""
    model, name = _model(kind), kind.partition("-")[0]
    tiling = tse_onnx.Tiling(rows=rows, squeeze="running", step=step)
    result = tse_onnx.convert(model, tiling=tiling, kinds={name}, input_shapes={"x": (2, 4, 16, 5)}, expect=1)
    x = np.random.default_rng(1).standard_normal((2, 4, 16, 5)).astype(np.float32)
    made = _run(result.model, x)
    for row in range(16):
        seen = min(rows + row // step * step, 16)
        np.testing.assert_allclose(made[:, :, row], _run(model, x[:, :, :seen])[:, :, row], atol=1e-5)


ASKED = [{"rows": 5}, {"rows": 4}, {"cols": 2}, {"rows": 4, "cols": 3}, {"squeeze": "running", "rows": 2}]


@pytest.mark.parametrize("kind", ["cbam", "split", "split-apart", "grn"])
@pytest.mark.parametrize("ways", [{"means": way.name} for way in MEANS] + [{"upsample": way.name} for way in SPREADS])
@pytest.mark.parametrize("asked", ASKED)
def test_a_relative_is_the_same_however_it_is_written(kind, ways, asked):
    given = {"tiling": choice_of(asked), "kinds": {kind.partition("-")[0]}, "input_shapes": {"x": (2, 4, 16, 5)}}
    result = tse_onnx.convert(_model(kind), **given, **ways, expect=1)
    assert result.verification.passed
    again = tse_onnx.convert(_model(kind), **given, verify=False)
    x = np.random.default_rng(2).standard_normal((2, 4, 16, 5)).astype(np.float32)
    np.testing.assert_allclose(_run(result.model, x), _run(again.model, x), atol=1e-5)


@pytest.mark.parametrize("kind", ["split", "split-of-channels", "split-apart"])
def test_branches_are_counted_in_what_is_held(kind):
    """Two maps of 4 × 16 × 5 wait for their gates, and four rows of each behind."""
    shapes = {"x": (2, 4, 16, 5)}
    result = tse_onnx.convert(_model(kind), rows=4, kinds={"split"}, input_shapes=shapes)
    (block,) = result.report.buffering.blocks
    assert (block.before, block.after) == (2 * 4 * 16 * 5, 2 * 4 * 4 * 5)
    (again,) = tse_onnx.buffering(result.model, kinds={"split"}, input_shapes=shapes).blocks
    assert again.before == 2 * 4 * 4 * 5


@pytest.mark.parametrize("kind", ["split", "split-of-channels", "split-apart"])
def test_tiled_branches_are_restored_byte_for_byte(kind):
    model = _model(kind)
    result = tse_onnx.convert(model, rows=4, kinds={"split"}, input_shapes={"x": (2, 4, 16, 5)}, dynamic=True)
    assert tse_onnx.restore(result.model).model.SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize("kind", ["split", "split-of-channels", "split-apart"])
@pytest.mark.parametrize("height", [9, 16])
def test_branches_are_tiled_at_a_height_that_is_open(kind, height):
    model = _model(kind)
    result = tse_onnx.convert(model, rows=4, kinds={"split"}, input_shapes={"x": (2, 4, 16, 5)}, dynamic=True)
    x = np.random.default_rng(3).standard_normal((1, 4, height, 5)).astype(np.float32)
    expected = np.concatenate([_run(model, x[:, :, top : top + 4]) for top in range(0, height, 4)], axis=2)
    np.testing.assert_allclose(_run(result.model, x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["split-of-channels", "split-apart"])
def test_branches_are_made_twice(kind):
    """What both branches are made from is half of what waits otherwise."""
    shapes = {"x": (1, 4, 16, 5)}
    result = tse_onnx.convert(_model(kind), tiling=tse_onnx.Recompute(), kinds={"split"}, input_shapes=shapes, expect=1)
    (block,) = result.report.buffering.blocks
    assert (block.before, block.after, block.waits) == (2 * 4 * 16 * 5, 4 * 16 * 5, "x")
    x = np.random.default_rng(5).standard_normal((1, 4, 16, 5)).astype(np.float32)
    np.testing.assert_array_equal(_run(result.model, x), _run(_model(kind), x))


def test_nothing_of_a_block_of_branches_stops_the_stream():
    (found,) = [tse_onnx.inspect(_model("split"), kinds="all", input_shapes={"x": (1, 4, 16, 5)})]
    assert [block.status for block in found.blocks] == ["convertible"]
    assert found.stops == ()


@pytest.mark.parametrize("kind", ["split", "split-apart"])
def test_branches_have_frozen_gates(kind):
    """A number for each channel of each branch, or one for all of them."""
    shapes = {"x": (1, 4, 16, 5)}
    x = np.random.default_rng(4).standard_normal((1, 4, 16, 5)).astype(np.float32)
    gates = np.linspace(0.1, 0.8, 8)
    for numbers, each in ((gates, gates.reshape(2, 1, 4, 1, 1)), ([0.3], 0.3)):
        frozen = tse_onnx.Frozen(tuple(numbers))
        result = tse_onnx.convert(_model(kind), tiling=frozen, kinds={"split"}, input_shapes=shapes, expect=1)
        assert result.verification.passed
        sums = (each * np.stack([-x, np.tanh(x)])).sum(axis=0)
        np.testing.assert_allclose(_run(result.model, x), sums, atol=1e-5)


@pytest.mark.parametrize("kind", ["split", "split-apart"])
def test_branches_take_no_gates_of_the_frame_before(kind):
    shapes = {"x": (1, 4, 16, 5)}
    found = tse_onnx.buffering(_model(kind), tiling=tse_onnx.Previous(), kinds={"split"}, input_shapes=shapes)
    (block,) = found.blocks
    assert (block.decision.status, block.decision.refusal.code) == ("refused", "previous")


NORMS = [kind for kind in GRAPHS if kind.startswith("grn")]


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize(
    "asked", [{"rows": 5}, {"rows": 4, "cols": 3}, {"squeeze": "running", "rows": 2}, {"squeeze": "previous"}]
)
def test_norms_are_restored_byte_for_byte(kind, asked):
    given = tse_onnx.convert(_model(kind), rows=99, kinds={"grn"}, input_shapes={"x": (2, 4, 16, 5)}).model
    result = tse_onnx.convert(given, tiling=choice_of(asked), kinds={"grn"}, expect=1)
    assert tse_onnx.restore(result.model).model.SerializeToString() == given.SerializeToString()


def test_norms_take_no_calibration():
    calibration = tse_onnx.Calibration((0.9, 1.0), ((0.0,) * 4,) * 2)
    tiling = tse_onnx.Tiling(rows=8, squeeze="running", step=8, calibration=calibration)
    with pytest.raises(tse_onnx.UsageError, match="takes a norm: a mean alone can be"):
        tse_onnx.convert(_model("grn"), tiling=tiling, kinds={"grn"}, input_shapes={"x": (2, 4, 16, 5)})


@pytest.mark.parametrize(("kind", "code"), [("grn", "shape"), ("grn-squares", "shape"), ("grn-mean-square", None)])
def test_the_last_strip_of_a_map_of_open_height_has_no_norm(kind, code):
    """How many pixels it has is not known; their mean square is."""
    result = tse_onnx.convert(_model(kind), rows=4, kinds={"grn"}, input_shapes={"x": (2, 4, 16, 5)}, dynamic=True)
    (block,) = result.report.buffering.blocks
    assert (block.decision.refusal and block.decision.refusal.code) == code if code else result.verification.passed


def test_all_kinds_may_be_asked_for_by_one_word():
    assert [block.kind for block in tse_onnx.find_blocks(_model("cbam"), kinds="all")] == ["cbam"]
    assert [block.status for block in tse_onnx.find_blocks(_model("cbam"), kinds="cbam")] == ["convertible"]


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_relative_is_refused_by_default_and_says_how_to_convert_it(kind):
    model, name = _model(kind), kind.partition("-")[0]
    (block,) = tse_onnx.find_blocks(model)
    assert (block.kind, block.refusal.code) == (name, "kind")
    assert f"kinds={{'{name}'}}" in block.reason
    result = tse_onnx.convert(model, rows=4, input_shapes={"x": (1, 4, 16, 5)})
    assert result.model.graph.node == model.graph.node


def test_an_unknown_kind_is_an_error():
    with pytest.raises(tse_onnx.UsageError, match="'senet'"):
        tse_onnx.find_blocks(_model("ge"), kinds={"senet"})


BETWEEN_WINDOWS = [
    ("i = Softmax<axis = 1>(e)", "a softmax over the filters"),
    ("i = Softmax<axis = 2>(e)", "a softmax over the channels of each"),
    ("z = ReduceMean<axes = [2]>(e) i = Sub(e, z)", "a mean of each filter"),
    ("i = PRelu(e, slopes)", "a slope for each filter"),
    ("i = Mul(e, each)", "a number for each channel"),
    ("z = Transpose<perm = [0, 2, 1]>(e) zz = MatMul(z, mixed) i = Transpose<perm = [0, 2, 1]>(zz)", "a product over filters"),
    ("m = Constant<value = int64[3] {-1, 2, 4}>() i = Reshape(e, m)", "a view"),
    ("i = Mul(e, u)", "another descriptor"),
    ("i = Conv<pads = [1, 1], group = 2>(e, k2)", "windows for each filter alone"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "what"), BETWEEN_WINDOWS, ids=[what for _, what in BETWEEN_WINDOWS])
def test_what_does_not_act_on_each_number_between_windows_is_refused(nodes, what):
    body = GRAPHS["eca-filters"].replace("h = Sigmoid(e) i = Mul(e, h)", nodes)
    weights = "<float[2,1,3] k2 = {1,2,-1,-2,1,1}, float[1,2,3] k3 = {1,-1,2,1,0,-2}, float[2] c2 = {1,-1}, float[1] c1 = {0.5}, "
    weights += "float[2,1] slopes = {0.1,0.2}, float[4] each = {1,2,3,4}, float[2,2] mixed = {1,-1,2,1}>"
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N,4,16,5] x) => (float[N,4,16,5] y) {weights} {{ {body} }}'
    )
    _run(model, np.ones((1, 4, 16, 5), np.float32))  # the model is one
    block, *others = tse_onnx.find_blocks(model, kinds="all")  # a mean of each filter might be a squeeze itself
    assert block.refusal.code == "operator", what
    assert all(other.refusal for other in others)


@pytest.mark.parametrize("kind", GRAPHS)
def test_what_stops_the_stream_says_how_it_is_converted_and_who_does_so_has_no_stop(kind):
    model, name, shapes = _model(kind), kind.partition("-")[0], {"x": (2, 4, 16, 5)}
    stops = tse_onnx.inspect(model, input_shapes=shapes).stops
    assert stops
    for stop in stops:
        (said,) = re.findall(r"kinds=(\{'\w+'\}) converts it$", stop.advice)
        assert ast.literal_eval(said) == {name}
    assert tse_onnx.inspect(model, input_shapes=shapes, kinds=name).stops == ()
