"""Every spelling of a block is found, and its conversion is what the definition of a tile says."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tse_onnx
from tests.running import newest_opset
from tests.spellings import (
    ACTIVATIONS,
    BETWEEN,
    BROADCASTS,
    CHANNELS_FIRST_ONLY,
    DTYPES,
    FLAT,
    GATES,
    LAYERS,
    LAYOUTS,
    NEWEST_ONLY,
    NORMS,
    POOLED_NORMS,
    SQUEEZES,
    STACKED,
    WEIGHTS,
    Spelling,
    branch_axes,
    branch_factors,
    model_of,
    noise_for,
)

OPSETS = range(9, min(24, newest_opset()) + 1)


def sensible(spelling: Spelling) -> Spelling:
    """The nearest spelling that onnx allows."""
    if spelling.squeeze in CHANNELS_FIRST_ONLY and spelling.layout == "last":
        spelling = replace(spelling, layout="first")
    if spelling.layout == "scaled-flat":
        spelling = replace(spelling, broadcast="implicit", opset=max(spelling.opset, 12))
    if spelling.norm in POOLED_NORMS and spelling.layout == "last":
        spelling = replace(spelling, norm="l2")
    if len(spelling.extents) != 2 and spelling.excite == "gemm-layer-norm":
        spelling = replace(spelling, excite="gemm")
    oldest = max(
        NEWEST_ONLY.get(getattr(spelling, part.name), 0) for part in fields(spelling) if part.name != "extents"
    )
    spelling = replace(spelling, opset=max(spelling.opset, oldest))
    if spelling.opset < 13 and spelling.dtype == "float16":
        spelling = replace(spelling, dtype="float32")  # onnxruntime has few half-precision kernels for old opsets
    if spelling.opset < 12 and spelling.squeeze in FLAT:
        spelling = replace(spelling, squeeze="mean")
    return spelling


def run(model: onnx.ModelProto, x: np.ndarray, *outputs: str) -> list[np.ndarray]:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    known = {value.name for value in made.graph.output}
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in known)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(list(outputs), {"input": x})


def by_definition(model: onnx.ModelProto, gate: str, spelling: Spelling, x: np.ndarray, rows: int) -> np.ndarray:
    """y by the definition: the original model's gate for a map of each strip's mean, times the strip."""
    channels_last = spelling.layout in ("last", "pooled-last")
    axis = 1 if channels_last else 2
    spatial = tuple(range(axis, axis + len(spelling.extents)))
    original = run(model, x, "y")[0]
    relu = np.maximum(x, 0)
    to_last = spelling.layout == "pooled-first"
    scaled_last = spelling.layout in ("last", "pooled-first")
    result = np.empty_like(original)
    for start in range(0, spelling.extents[0], rows):
        strip = np.take(relu, range(start, min(start + rows, spelling.extents[0])), axis=axis).astype(np.float64)
        mean = np.broadcast_to(strip.mean(axis=spatial, keepdims=True), x.shape)
        if spelling.beside == "maximum":
            mean = with_maximum(mean, strip.max(axis=spatial, keepdims=True), spatial)
        if spelling.norm:
            mean = with_squares(np.square(strip), mean.shape, spatial, spelling.norm == "mean-square")
        (value,) = run(model, np.ascontiguousarray(mean.astype(x.dtype)), gate)
        scaled = np.moveaxis(relu, 1, -1) if to_last else relu
        streamed = 1 if scaled_last or channels_last else 2
        if spelling.branches:
            axes = branch_axes(spelling)
            streamed, factors = axes.index("H"), np.array(branch_factors(spelling), x.dtype)
            scaled = np.stack([scaled * factor for factor in factors], axis=axes.index("R"))
        where = [slice(None)] * scaled.ndim
        where[streamed] = slice(start, start + rows)
        made = scaled * np.broadcast_to(value, scaled.shape)
        if spelling.branches and spelling.stacked == "apart":
            made = made.sum(axis=1)
            del where[1]
            where[streamed - 1] = slice(start, start + rows)
        result[tuple(where)] = made[tuple(where)]
    return result


def with_maximum(mean: np.ndarray, top: np.ndarray, spatial: tuple[int, ...]) -> np.ndarray:
    """A map of this mean with this maximum: in one pixel, and all others are alike."""
    area = int(np.prod([mean.shape[axis] for axis in spatial]))
    made = (mean * area - top) / (area - 1)
    corner = tuple(slice(0, 1) if axis in spatial else slice(None) for axis in range(mean.ndim))
    made[corner] = top
    return made


def with_squares(squares: np.ndarray, shape: tuple[int, ...], spatial: tuple[int, ...], mean: bool) -> np.ndarray:
    """A map with this sum of squares, or with their mean: all of it in one pixel."""
    made = np.zeros(shape)
    corner = tuple(slice(0, 1) if axis in spatial else slice(None) for axis in range(len(shape)))
    area = np.prod([shape[axis] for axis in spatial])
    made[corner] = np.sqrt(
        squares.mean(axis=spatial, keepdims=True) * area if mean else squares.sum(axis=spatial, keepdims=True)
    )
    return made


def check(spelling: Spelling, rows: int) -> None:
    model, gate = model_of(spelling)
    before = model.SerializeToString()
    kinds = {
        "cbam" if spelling.beside == "maximum" else "split" if spelling.branches else "grn" if spelling.norm else "se"
    }
    result = tse_onnx.convert(model, rows=rows, kinds=kinds)
    assert model.SerializeToString() == before
    assert [block.status for block in result.blocks] == ["converted" if spelling.extents[0] > rows else "unchanged"], [
        block.reason for block in result.blocks
    ]
    if spelling.extents[0] <= rows:
        assert result.model.SerializeToString() == before
        return
    assert result.verification.passed
    x = noise_for(spelling)
    expected = by_definition(model, gate, spelling, x, rows)
    (got,) = run(result.model, x, "y")
    largest = float(np.abs(expected.astype(np.float64)).max()) or 1.0
    # The definition itself adds up a map of equal pixels one after the other.
    single = 1e-5 + 1e-7 * np.prod(spelling.extents)
    bound = {"float32": single, "float16": 2e-2}[spelling.dtype] * largest
    assert float(np.abs(got.astype(np.float64) - expected.astype(np.float64)).max()) <= bound
    again = tse_onnx.convert(result.model, rows=rows, verify=False, kinds=kinds)
    assert again.model.SerializeToString() == result.model.SerializeToString()


@pytest.mark.parametrize(
    ("part", "choice"),
    [
        (part, choice)
        for part, choices in {
            "squeeze": SQUEEZES,
            "excite": LAYERS,
            "activation": ACTIVATIONS,
            "gate": GATES,
            "broadcast": BROADCASTS,
            "between": BETWEEN,
            "layout": LAYOUTS,
            "weights": WEIGHTS,
            "opset": OPSETS,
            "extents": [(15,), (15, 4), (9, 3, 2)],
        }.items()
        for choice in choices
    ],
)
def test_each_part_alone(part, choice):
    spelling = replace(Spelling(), **{part: choice})
    if spelling.layout in ("last", "pooled-first"):
        spelling = replace(spelling, squeeze="mean")
    check(sensible(spelling), rows=4)


spellings = st.builds(
    Spelling,
    squeeze=st.sampled_from(sorted(SQUEEZES)),
    excite=st.sampled_from(sorted(LAYERS)),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    gate=st.sampled_from(sorted(GATES)),
    broadcast=st.sampled_from(BROADCASTS),
    between=st.sampled_from(sorted(BETWEEN)),
    layout=st.sampled_from(LAYOUTS),
    weights=st.sampled_from(WEIGHTS),
    dtype=st.sampled_from(sorted(DTYPES)),
    opset=st.sampled_from(OPSETS),
    extents=st.lists(st.integers(2, 17), min_size=1, max_size=3).map(tuple),
    batch=st.integers(1, 3),
    dynamic_batch=st.booleans(),
    gate_first=st.booleans(),
    seed=st.integers(0, 2**16),
)


@given(spelling=spellings, rows=st.integers(1, 18))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.slow
def test_any_combination(spelling, rows):
    check(sensible(spelling), rows)


@given(spelling=spellings, rows=st.integers(1, 18))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.slow
def test_any_combination_beside_a_maximum(spelling, rows):
    check(sensible(replace(spelling, beside="maximum")), rows)


@given(spelling=spellings, rows=st.integers(1, 18), norm=st.sampled_from(sorted(NORMS)))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.slow
def test_any_combination_of_a_norm(spelling, rows, norm):
    check(sensible(replace(spelling, norm=norm)), rows)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("layout", ["first", "last", "pooled-first", "pooled-last", "scaled-flat"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_norms_in_each_layout(norm, layout, dtype):
    check(sensible(Spelling(norm=norm, layout=layout, dtype=dtype, opset=17)), rows=4)


@given(spelling=spellings, rows=st.integers(1, 18), branches=st.integers(2, 3), stacked=st.sampled_from(STACKED))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.slow
def test_any_combination_of_branches(spelling, rows, branches, stacked):
    if spelling.layout not in ("first", "last"):
        spelling = replace(spelling, layout="first")
    check(sensible(replace(spelling, branches=branches, stacked=stacked)), rows)


@pytest.mark.parametrize("stacked", STACKED)
@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
@pytest.mark.parametrize("opset", [11, 17])
def test_branches_in_each_place(stacked, layout, gate, opset):
    check(Spelling(squeeze="mean", branches=2, stacked=stacked, layout=layout, gate=gate, opset=opset), rows=4)
