"""A calibrated running squeeze: against its definition, in plans, and fitted to data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tse_onnx
from tests.graphs import network
from tests.passes.test_spellings import run, sensible, spellings
from tests.spellings import model_of, noise_for
from tse_onnx import Calibration, Plan, Tiling, UsageError
from tse_onnx.passes.blocks.tiling import RUNNING
from tse_onnx.tuning.statistics import Means


def _calibration(count, channels, seed=0):
    random = np.random.default_rng(seed)
    # Nothing negative: the models of spellings.py begin with a Relu, which a mean has to pass unchanged.
    slopes = (*random.uniform(0, 1.5, count - 1).tolist(), 1.0)
    return Calibration(slopes, tuple(map(tuple, random.uniform(0, 1, size=(count, channels)).round(3).tolist())))


def _by_definition(model, gate, spelling, x, tiling):
    """y, written out: for each row the gate of slope times the mean of the rows seen so far, plus offset."""
    height, last = spelling.extents[0], spelling.layout in ("last", "pooled-last")
    rows_axis, channel_axis = (1, x.ndim - 1) if last else (2, 1)
    spatial = tuple(range(rows_axis, rows_axis + len(spelling.extents)))
    relu = np.maximum(x, 0)
    scaled = np.moveaxis(relu, 1, -1) if spelling.layout == "pooled-first" else relu
    target = 1 if last or spelling.layout == "pooled-first" else 2
    result = np.zeros_like(scaled)
    k, s = min(tiling.rows, height), min(tiling.step, tiling.rows)
    for row in range(height):
        seen = min(row // s * s + k, height)
        number = min(row // s, -(-(height - k) // s))
        mean = relu.take(range(seen), axis=rows_axis).astype(np.float64).mean(axis=spatial, keepdims=True)
        shape = [-1 if axis == channel_axis else 1 for axis in range(x.ndim)]
        mean = tiling.calibration.slopes[number] * mean + np.reshape(tiling.calibration.offsets[number], shape)
        (value,) = run(model, np.ascontiguousarray(np.broadcast_to(mean.astype(x.dtype), x.shape)), gate)
        where = [slice(None)] * x.ndim
        where[target] = slice(row, row + 1)
        result[tuple(where)] = (scaled * np.broadcast_to(value, scaled.shape))[tuple(where)]
    return result


@given(spelling=spellings, rows=st.integers(1, 9), step=st.integers(1, 9), means=st.sampled_from(["matmul", "cumsum"]))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.slow
def test_any_spelling(spelling, rows, step, means):
    spelling = sensible(spelling)
    if means == "cumsum" and spelling.opset < 11:
        means = "matmul"
    model, gate = model_of(spelling)
    plain = Tiling(rows, squeeze=RUNNING, step=min(step, rows))
    cover = plain.cover(spelling.extents)
    if cover.covers_map:
        return
    tiling = Tiling(rows, squeeze=RUNNING, step=plain.step, calibration=_calibration(cover.count, 6))
    result = tse_onnx.convert(model, tiling=tiling, means=means)
    assert result.verification.passed
    assert result.verification.blocks
    x = noise_for(spelling)
    expected = _by_definition(model, gate, spelling, x, tiling)
    (got,) = run(result.model, x, "y")
    largest = float(np.abs(expected.astype(np.float64)).max()) or 1.0
    bound = {"float32": 2e-5 + 1e-7 * np.prod(spelling.extents), "float16": 2e-2}[spelling.dtype] * largest
    assert float(np.abs(got.astype(np.float64) - expected.astype(np.float64)).max()) <= bound
    back = tse_onnx.restore(result.model)
    assert back.model.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
    (block,) = tse_onnx.find_blocks(result.model)
    assert block.tiled == tiling  # numbers and all, so that the conversion can be made again


def test_the_buffer_is_that_of_the_running_squeeze_without():
    model = network(16, 8)
    plain = Tiling(3, squeeze=RUNNING)
    calibrated = Plan(plain, {"block0_squeeze": Tiling(3, squeeze=RUNNING, calibration=_calibration(14, 8))})
    assert tse_onnx.buffering(model, plan=calibrated).totals == tse_onnx.buffering(model, tiling=plain).totals
    result = tse_onnx.convert(model, plan=calibrated, certify=True)
    assert result.report.certificate.passed


def test_a_plan_file_holds_the_numbers():
    tiling = Tiling(3, squeeze=RUNNING, calibration=_calibration(14, 8))
    plan = Plan(None, {"block0_squeeze": tiling, "block1_squeeze": Tiling(2)})
    assert Plan.loads(plan.dumps()) == plan


HEAD = 'schema = "tse-onnx/plan/1"\n'
BLOCK = '[blocks]\nb = { rows = 3, squeeze = "running", calibrated = true }\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (BLOCK, "block 'b' needs numbers, but [calibrations] has none for it"),
        (BLOCK + "[calibrations]\nb = 3", "the calibration of block 'b' is 3, not a table"),
        (BLOCK + "[calibrations.b]\nslopes = [1.0]\noffsets = 3", "offsets is 3, not a list of lists"),
        (BLOCK + "[calibrations.b]\nslopes = [1.0]\noffsets = [3]", "an entry of offsets is 3, not a list of numbers"),
        (BLOCK + "[calibrations.b]\nslopes = [1.0]\noffsets = [[1.0], [2.0]]", "a slope for each descriptor"),
        (BLOCK + "[calibrations.b]\nslopes = [1.0, 1.0]\noffsets = [[1.0], [2.0, 3.0]]", "an offset for each"),
        (BLOCK + "[calibrations.b]\nslopes = [inf]\noffsets = [[1.0]]", "not finite"),
        (BLOCK + "[calibrations.b]\nslope = [1.0]", "did you mean slopes?"),
        (
            "default = { rows = 3, calibrated = true }",
            "only a running squeeze takes a calibration|needs [calibrations]",
        ),
        ("[blocks]\nb = { rows = 3, calibrated = 1 }", "calibrated is 1, not true or false"),
        (BLOCK.replace("running", "upper") + "[calibrations.b]\nslopes = [1.0]\noffsets = [[1.0]]", "only a running"),
    ],
)
def test_bad_numbers_in_plans(text, complaint):
    with pytest.raises(UsageError) as raised:
        Plan.loads(HEAD + text)
    assert any(part in str(raised.value) for part in complaint.split("|"))


@pytest.mark.parametrize(
    ("calibration", "complaint"),
    [(_calibration(5, 8), "is for 5 descriptors; on a map of 16 rows it has 14"),
     (_calibration(14, 4), "for 4 channels; its map has 8")],
)  # fmt: skip
def test_numbers_for_another_map_are_refused(calibration, complaint):
    plan = Plan(None, {"block0_squeeze": Tiling(3, squeeze=RUNNING, calibration=calibration)})
    with pytest.raises(UsageError) as raised:
        tse_onnx.convert(network(16, 8), plan=plan)
    assert complaint in str(raised.value)


@pytest.mark.parametrize("step", [1, 2])
def test_the_fit_is_the_least_squares(step):
    """Against numpy's own solver, which knows nothing of sums that are added up batch by batch."""
    random = np.random.default_rng(0)
    base = random.normal(size=(40, 5, 1)) * 2 + random.normal(size=(5, 1))
    rows = base + random.normal(size=(40, 5, 9)) + np.linspace(-1, 1, 9)
    means = Means(9, 5)
    for start in range(0, 40, 7):
        means.add(rows[start : start + 7])
    cover = Tiling(3, squeeze=RUNNING, step=step).cover((9, 4))
    found = means.calibration(cover)
    whole = rows.mean(axis=2)
    for seen, slope, offsets in zip(cover.seen, found.slopes, found.offsets, strict=True):
        own = rows[:, :, :seen].mean(axis=2)
        # One slope for all channels, an offset for each.
        columns = np.zeros((40, 5, 6))
        columns[:, :, 0] = own
        for channel in range(5):
            columns[:, channel, 1 + channel] = 1
        solved, *_ = np.linalg.lstsq(columns.reshape(-1, 6), whole.reshape(-1), rcond=None)
        np.testing.assert_allclose([slope, *offsets], solved, rtol=1e-3, atol=1e-4)
    assert (found.slopes[-1], set(found.offsets[-1])) == (1.0, {0.0})


def test_no_fit_to_what_is_no_number():
    means = Means(4, 2)
    means.add(np.full((1, 2, 4), np.nan))
    assert means.calibration(Tiling(2, squeeze=RUNNING).cover((4, 4))) is None
