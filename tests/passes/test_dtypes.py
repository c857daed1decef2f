"""Half, bfloat16 and double precision."""

from __future__ import annotations

import sys

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tse_onnx
from tests.graphs import se_model
from tests.passes.test_spellings import run
from tests.passes.test_tilings import by_definition
from tests.running import fuses_doubles_rightly, newest_opset
from tests.spellings import DTYPES, Spelling, model_of
from tse_onnx import Tiling
from tse_onnx.conversion import convert as conversion
from tse_onnx.passes.lowering import SPREADS

TILINGS = [Tiling(4), Tiling(None, 3), Tiling(4, 3), Tiling(4, squeeze="running"),
           Tiling(4, squeeze="running", step=2), Tiling(4, squeeze="middle")]  # fmt: skip


@pytest.fixture
def double(monkeypatch):
    monkeypatch.setitem(DTYPES, "float64", (TensorProto.DOUBLE, np.float64))


@pytest.mark.skipif(not fuses_doubles_rightly(), reason="this onnxruntime breaks MatMul in double precision")
@pytest.mark.parametrize("tiling", TILINGS, ids=str)
@pytest.mark.parametrize("excite", ["gemm", "gemm-transposed", "matmul-add", "matmul-last"])
def test_what_onnxruntime_runs_in_double_precision_it_runs_converted(double, tiling, excite):
    spelling = Spelling(squeeze="mean-drop", excite=excite, activation="relu", dtype="float64", extents=(15, 7))
    model, gate = model_of(spelling)
    result = tse_onnx.convert(model, tiling=tiling, expect=1)
    x = np.random.default_rng(0).standard_normal((2, 6, 15, 7))
    (got,) = run(result.model, x, "y")
    np.testing.assert_allclose(got, by_definition(model, gate, spelling, x, tiling), rtol=1e-12, atol=1e-12)


def _in_bfloat16(model):
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            narrow = numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16)
            tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))
    return model


knows_22 = pytest.mark.skipif(newest_opset() < 22, reason="this onnxruntime does not know opset 22")


@knows_22
@pytest.mark.parametrize("tiling", TILINGS, ids=str)
def test_bfloat16_is_proved_by_its_twin_in_single_precision(tiling):
    """onnxruntime's processor kernels do not run bfloat16 at all."""
    model = _in_bfloat16(model_of(Spelling(opset=22, extents=(15, 7)))[0])
    result = tse_onnx.convert(model, tiling=tiling, expect=1)
    assert result.verification.passed
    assert "single precision" in result.verification.inputs
    onnx.checker.check_model(result.model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(result.model, check_type=True, strict_mode=True)
    kinds = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    assert kinds[result.blocks[0].block.squeeze.output] == TensorProto.BFLOAT16


@knows_22
@pytest.mark.parametrize("extents", [(15, 7), (15,)], ids=["map", "line"])
@pytest.mark.parametrize("upsample", [way.name for way in SPREADS])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_spread_serves_every_type_and_rank(dtype, upsample, extents):
    for tiling in (Tiling(5), Tiling(4), Tiling(5, squeeze="running", step=5), Tiling(4, squeeze="running")):
        model = model_of(Spelling(opset=22, extents=extents))[0]
        result = tse_onnx.convert(
            _in_bfloat16(model) if dtype == "bfloat16" else model, tiling=tiling, upsample=upsample, expect=1
        )
        assert result.verification.passed


@knows_22
def test_a_wrong_tile_in_bfloat16_is_noticed(monkeypatch):
    lowering = sys.modules["tse_onnx.passes.lowering.squeeze"]
    honest = lowering._average_pool

    def shifted(draft, *given, **attributes):
        honest(draft, *given, **attributes)
        pool = draft._made[-1]
        next(a for a in pool.attribute if a.name == "pads").ints[:] = [1, 0, 0, 0]

    monkeypatch.setattr(lowering, "_average_pool", shifted)
    model = _in_bfloat16(model_of(Spelling(opset=22, extents=(15, 7), gate="tanh"))[0])
    with pytest.raises(tse_onnx.CheckFailed):
        tse_onnx.convert(model, rows=4, means="pads")


def _tall(dtype):
    """A block on a map of 224 rows, in a half precision."""
    model = se_model(height=224, dtype=np.float16 if dtype == "float16" else np.float32, opset=22)
    model.graph.node[0].op_type = "Abs"  # a map whose mean is not zero, where sums grow
    del model.graph.node[0].attribute[:]
    return model if dtype == "float16" else _in_bfloat16(model)


@pytest.mark.slow
@knows_22
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("means", ["matmul", "cumsum", "gemm"])
def test_running_sums_that_are_left_in_half_precision_are_noticed(dtype, means, monkeypatch):
    """onnxruntime computes them in single precision, whatever their type says."""
    kind = np.float16 if dtype == "float16" else ml_dtypes.bfloat16
    model, options = _tall(dtype), {"tiling": Tiling(16, squeeze="running"), "means": means}
    found = {check.name: check for check in tse_onnx.convert(model, **options).verification.checks}
    assert found["half-precision"].passed
    assert "1 of 1 blocks" in found["half-precision"].text
    honest = conversion.rewrite

    def left_in_half_precision(*given, **named):
        converted, changes = honest(*given, **named)
        for node in converted.graph.node:
            for attribute in node.attribute:
                if attribute.name == "to":
                    attribute.i = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
                elif attribute.t.data_type == TensorProto.FLOAT:
                    attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(kind)))
        return converted, changes

    monkeypatch.setattr(conversion, "rewrite", left_in_half_precision)
    with pytest.raises(tse_onnx.CheckFailed, match="the running means of block 'd' lose in half precision"):
        tse_onnx.convert(model, **options)
    monkeypatch.setattr("tse_onnx.verification.verify.check_narrow", lambda *given: None)
    if dtype == "float16":  # nothing else notices
        assert tse_onnx.convert(model, **options).verification.passed


def test_bytes_are_those_of_the_type():
    model = helper.make_model(
        _in_bfloat16(model_of(Spelling(opset=22))[0]).graph, opset_imports=[helper.make_opsetid("", 22)]
    )
    totals = tse_onnx.buffering(model, 4).totals
    assert totals.before_bytes == 2 * totals.before == 2 * 6 * 15 * 4
