"""Every tiling and every way to lower it, on every spelling, against its definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tse_onnx
from tests.passes.test_spellings import run, sensible, spellings
from tests.spellings import Spelling, model_of, noise_for
from tse_onnx import Tiling

TILINGS = st.one_of(
    st.builds(Tiling, rows=st.integers(1, 18), balanced=st.booleans()),
    st.builds(Tiling, rows=st.integers(1, 18), divisors=st.just(True)),
    st.builds(Tiling, rows=st.none(), cols=st.integers(1, 18)),
    st.builds(Tiling, rows=st.integers(1, 18), cols=st.integers(1, 18), balanced=st.booleans()),
    st.builds(Tiling, rows=st.integers(1, 18), squeeze=st.sampled_from(["upper", "middle"])),
    st.integers(1, 18).flatmap(
        lambda rows: st.builds(Tiling, rows=st.just(rows), squeeze=st.just("running"), step=st.integers(1, rows))
    ),
    st.builds(Tiling, rows=st.integers(1, 18), axis=st.integers(0, 2)),
)


def by_definition(model, gate, spelling, x, tiling):
    """y by the definition, with no use of the product's geometry: for every pixel the gate of the mean it is due."""
    height = spelling.extents[tiling.axis]
    channels_last = spelling.layout in ("last", "pooled-last")
    first = 1 if channels_last else 2
    spatial = tuple(range(first, first + len(spelling.extents)))
    relu = np.maximum(x, 0)
    scaled = np.moveaxis(relu, 1, -1) if spelling.layout == "pooled-first" else relu
    origin = 1 if channels_last or spelling.layout == "pooled-first" else 2
    result = np.zeros_like(scaled)
    for rows, target in _rows(tiling, height):
        width = spelling.extents[_across(tiling, spelling)] if len(spelling.extents) > 1 else 1
        size = min(tiling.cols or width, width)
        if tiling.balanced and tiling.cols:
            size = -(-width // -(-width // size))
        for left in range(0, width, size):
            source = relu.take(rows, axis=first + tiling.axis)
            where = [slice(None)] * x.ndim
            where[origin + tiling.axis] = list(target)
            if tiling.cols:
                across = _across(tiling, spelling)
                cols = list(range(left, min(left + size, width)))
                source = source.take(cols, axis=first + across)
                where[origin + across] = slice(left, min(left + size, width))
            mean = source.astype(np.float64).mean(axis=spatial, keepdims=True).astype(x.dtype)
            (value,) = run(model, np.ascontiguousarray(np.broadcast_to(mean, x.shape)), gate)
            result[tuple(where)] = (scaled * np.broadcast_to(value, scaled.shape))[tuple(where)]
            if not tiling.cols:
                break
    return result


def _across(tiling, spelling):
    return next(axis for axis in range(len(spelling.extents)) if axis != tiling.axis)


def _rows(tiling, height):
    """The rows that a mean is over, and the rows that its gate scales."""
    k = min(tiling.rows or height, height)
    if tiling.squeeze in ("upper", "middle"):
        start = 0 if tiling.squeeze == "upper" else (height - k) // 2
        return [(range(start, start + k), range(height))]
    if tiling.squeeze == "running":
        s = min(tiling.step, k)
        groups = {}
        for row in range(height):
            groups.setdefault(min(row // s * s + k, height), []).append(row)
        return [(range(seen), target) for seen, target in groups.items()]
    if tiling.divisors:
        k = min((d for d in range(1, height + 1) if not height % d), key=lambda d: (abs(d - k), d))
    if tiling.balanced:
        k = -(-height // -(-height // k))
    return [(range(top, min(top + k, height)),) * 2 for top in range(0, height, k)]


@pytest.mark.slow
@given(
    spelling=spellings,
    tiling=TILINGS,
    upsample=st.sampled_from(["resize", "gather", "expand"]),
    means=st.sampled_from(["matmul", "cumsum"]),
)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_any_tiling_of_any_spelling(spelling, tiling, upsample, means):
    spelling = sensible(spelling)
    if means == "cumsum" and spelling.opset < 11:
        means = "matmul"
    model, gate = model_of(spelling)
    result = tse_onnx.convert(model, tiling=tiling, upsample=upsample, means=means)
    (decision,) = result.blocks
    if tiling.axis >= len(spelling.extents) or (tiling.cols and len(spelling.extents) < 2):
        assert (decision.status, decision.refusal.code) == ("refused", "rank")
        return
    if decision.status == "unchanged":
        assert result.model.SerializeToString() == model.SerializeToString()
        return
    assert decision.status == "converted"
    assert result.verification.passed
    x = noise_for(spelling)
    expected = by_definition(model, gate, spelling, x, tiling)
    (got,) = run(result.model, x, "y")
    largest = float(np.abs(expected.astype(np.float64)).max()) or 1.0
    # The definition itself adds up a map of equal pixels one after the other.
    single = 1e-5 + 1e-7 * np.prod(spelling.extents)
    bound = {"float32": single, "float16": 2e-2}[spelling.dtype] * largest
    assert float(np.abs(got.astype(np.float64) - expected.astype(np.float64)).max()) <= bound


@pytest.mark.parametrize("means", ["matmul", "cumsum"])
def test_a_running_squeeze_in_half_precision_adds_up_safely(means):
    """Two thousand rows of about 30: their sum is beyond half precision, their mean is not."""
    spelling = Spelling(dtype="float16", extents=(2048, 1), dynamic_batch=False, batch=1, gate="clip")
    model, gate = model_of(spelling)
    tiling = Tiling(7, squeeze="running")
    x = (30 + np.random.default_rng(0).standard_normal((1, 6, 2048, 1))).astype(np.float16)
    result = tse_onnx.convert(model, tiling=tiling, means=means, verify=False)
    (got,) = run(result.model, x, "y")
    mean = x.astype(np.float64)[:, :, :1024].mean(axis=(2, 3), keepdims=True)
    (value,) = run(model, np.broadcast_to(mean, x.shape).astype(np.float16), gate)
    np.testing.assert_allclose(got[0, :, 1017, 0], (x[0, :, 1017, 0] * value[0, :, 0, 0]), rtol=5e-3, atol=5e-2)


@pytest.mark.parametrize("layout", ["first", "last", "pooled-first", "pooled-last"])
@pytest.mark.parametrize("extents", [(9,), (9, 5), (9, 5, 3)])
def test_dynamic_sizes_stay_dynamic_and_every_size_is_exact(layout, extents):
    base = Spelling(layout=layout, extents=extents, squeeze="mean", excite="gemm")
    model, _ = model_of(base)
    first = 1 if layout in ("last", "pooled-last") else 2
    for axis in range(first, first + len(extents)):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"S{axis}"
    dims = [2, 6, *extents] if first == 2 else [2, *extents, 6]
    result = tse_onnx.convert(model, rows=4, dynamic=True, input_shapes={"input": tuple(dims)})
    assert result.verification.passed
    assert [decision.status for decision in result.blocks] == ["converted"]
    assert result.model.graph.input == model.graph.input
    for height in (1, 3, 4, 5, 8, 11, 15):
        size = replace(base, extents=(height, *extents[1:]))
        fixed, gate = model_of(size)
        shape = [2, 6, *size.extents] if first == 2 else [2, *size.extents, 6]
        x = np.random.default_rng(height).standard_normal(shape).astype(np.float32)
        (got,) = run(result.model, x, "y")
        np.testing.assert_allclose(got, by_definition(fixed, gate, size, x, Tiling(4)), atol=1e-5)


def test_dynamic_conversion_wants_a_size_to_verify_at():
    model, _ = model_of(Spelling())
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    with pytest.raises(tse_onnx.ModelError, match="input_shapes"):
        tse_onnx.convert(model, rows=4, dynamic=True)
    result = tse_onnx.convert(model, rows=4, dynamic=True, verify=False)
    assert result.report.buffering.totals.converted == 1


def test_the_words_of_a_tiling_are_those_of_its_axis():
    words = {
        Tiling(7): "tiles of 7 rows",
        Tiling(1, 2): "tiles of 1 row and 2 columns",
        Tiling(7, axis=1): "tiles of 7 columns",
        Tiling(None, 1, axis=1): "tiles of all columns and 1 row",
        Tiling(3, squeeze="running", axis=1): "a running squeeze of 3 columns, step 1",
        Tiling(4, squeeze="upper", axis=1): "the upper 4 columns",
        Tiling(2, axis=2): "tiles of 2 slices",
    }
    assert {tiling: str(tiling) for tiling in words} == words
