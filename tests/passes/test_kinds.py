"""The relatives of squeeze-and-excite: found, refused by default, and tiled by the same rule on request."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import parser

import tse_onnx
from tse_onnx.passes.blocks.choices import choice_of
from tse_onnx.passes.lowering.squeeze import MEANS

GRAPHS = {
    "ese": "d = GlobalAveragePool(x) e = Conv(d, w) g = HardSigmoid(e) y = Mul(x, g)",
    "eca": "d = ReduceMean<axes = [2, 3], keepdims = 0>(x) n = Constant<value = int64[1] {1}>() u = Unsqueeze(d, n) "
    "e = Conv<kernel_shape = [3], pads = [1, 1]>(u, k) n2 = Constant<value = int64[4] {0, 4, 1, 1}>() s = Sigmoid(e) "
    "n3 = Constant<value = int64[4] {-1, 4, 1, 1}>() g = Reshape(s, n3) y = Mul(x, g)",
    "eca-transposed": "d = GlobalAveragePool(x) n = Constant<value = int64[1] {3}>() q = Squeeze(d, n) "
    "t = Transpose<perm = [0, 2, 1]>(q) e = Conv<kernel_shape = [3], pads = [1, 1]>(t, k) "
    "u = Transpose<perm = [0, 2, 1]>(e) v = Unsqueeze(u, n) g = Sigmoid(v) y = Mul(x, g)",
    "cbam": "d = GlobalAveragePool(x) e = Conv(d, w) a = Relu(e) f = Conv(a, w) t = GlobalMaxPool(x) u = Conv(t, w) "
    "v = Relu(u) z = Conv(v, w) s = Add(f, z) g = Sigmoid(s) y = Mul(x, g)",
    "cbam-reduced": "d = ReduceMean<axes = [2, 3], keepdims = 0>(x) t = ReduceMax<axes = [2, 3], keepdims = 0>(x) "
    "s = Add(d, t) n = Constant<value = int64[4] {-1, 4, 1, 1}>() u = Reshape(s, n) e = Conv(u, w) g = Sigmoid(e) "
    "y = Mul(x, g)",
    "ge": "d = GlobalAveragePool(x) g = Sigmoid(d) y = Mul(x, g)",
}


def _model(kind):
    weights = "<float[4,4,1,1] w = {1,-1,2,1,0,1,-2,1,1,1,-1,2,1,1,0,-1}, float[1,1,3] k = {1,2,-1}>"
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


@pytest.mark.parametrize("means", [way.name for way in MEANS])
@pytest.mark.parametrize("asked", [{"rows": 5}, {"rows": 4}, {"cols": 2}, {"squeeze": "running", "rows": 2}])
def test_maxima_stand_beside_means_however_these_are_written(means, asked):
    shapes = {"x": (2, 4, 16, 5)}
    result = tse_onnx.convert(
        _model("cbam"), tiling=choice_of(asked), kinds={"cbam"}, input_shapes=shapes, means=means, expect=1
    )
    assert result.verification.passed
    again = tse_onnx.convert(_model("cbam"), tiling=choice_of(asked), kinds={"cbam"}, input_shapes=shapes, verify=False)
    x = np.random.default_rng(2).standard_normal((2, 4, 16, 5)).astype(np.float32)
    np.testing.assert_allclose(_run(result.model, x), _run(again.model, x), atol=1e-5)


def test_all_kinds_may_be_asked_for_by_one_word():
    assert [block.kind for block in tse_onnx.find_blocks(_model("cbam"), kinds="all")] == ["cbam"]
    assert [block.status for block in tse_onnx.find_blocks(_model("cbam"), kinds="cbam")] == ["convertible"]


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_relative_is_refused_by_default_and_says_how_to_convert_it(kind):
    model, name = _model(kind), kind.partition("-")[0]
    (block,) = tse_onnx.find_blocks(model)
    assert (block.kind, block.refusal.code) == (name, "kind")
    assert f"--kinds {name}" in block.reason
    result = tse_onnx.convert(model, rows=4, input_shapes={"x": (1, 4, 16, 5)})
    assert result.model.graph.node == model.graph.node


def test_an_unknown_kind_is_an_error():
    with pytest.raises(tse_onnx.UsageError, match="'senet'"):
        tse_onnx.find_blocks(_model("ge"), kinds={"senet"})
