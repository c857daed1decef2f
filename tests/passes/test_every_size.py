"""A sample of `python -m tests.every_size`, which goes through all sizes, tilings, lowerings and opsets."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import every_size
from tests.every_size import LARGEST, MEANS, OLDEST, UPSAMPLES, Job
from tests.running import newest_opset
from tse_onnx import Tiling

SIZES = st.integers(1, LARGEST)
RUNNING = SIZES.flatmap(
    lambda k: st.builds(Tiling, rows=st.just(k), squeeze=st.just("running"), step=st.integers(1, k))
)
TILINGS = st.one_of(
    RUNNING,
    st.builds(Tiling, rows=SIZES),
    st.builds(Tiling, rows=st.none(), cols=SIZES),
    st.builds(Tiling, rows=SIZES, cols=SIZES),
    st.builds(Tiling, rows=SIZES, squeeze=st.sampled_from(["upper", "middle"])),
)
JOBS = st.builds(
    Job,
    height=SIZES,
    width=SIZES,
    tilings=st.lists(TILINGS, min_size=1, max_size=12).map(tuple),
    upsample=st.sampled_from(UPSAMPLES),
    means=st.sampled_from(MEANS),
    opset=st.integers(OLDEST + 1, newest_opset()),
)
WAYS = [(means, upsample) for means in MEANS for upsample in UPSAMPLES]


@pytest.mark.slow
@given(job=JOBS)
@settings(max_examples=240, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_any_size(job):
    assert every_size.wrong(job) == []


@pytest.mark.parametrize("upsample", UPSAMPLES)
def test_the_oldest_opset(upsample):
    tilings = every_size.tiles((1, 3, 7)) + every_size.running(9)
    assert every_size.wrong(Job(13, 11, tilings, upsample, "matmul", OLDEST)) == []


@pytest.mark.parametrize(("means", "upsample"), WAYS)
def test_every_way_on_tiles_that_divide_and_that_do_not(means, upsample):
    tilings = (*every_size.tiles((3, 5)), Tiling(4, squeeze="running", step=3), Tiling(3, squeeze="running"))
    for opset in (OLDEST + 1, 13, newest_opset()):
        assert every_size.wrong(Job(12, 10, tilings, upsample, means, opset)) == []


@pytest.mark.long
def test_every_way_on_every_number_of_rows():
    for height in range(1, LARGEST + 1):
        tilings = every_size.tiles(range(1, LARGEST + 1)) + every_size.running(height)
        for number, (means, upsample) in enumerate(WAYS):
            opset = OLDEST + 1 + (number + height) % (newest_opset() - OLDEST)
            assert (
                every_size.wrong(Job(height, 1 + (7 * height + number) % LARGEST, tilings, upsample, means, opset))
                == []
            )


def test_every_size_is_among_the_jobs():
    todo = every_size.jobs(0)
    sizes = {(job.height, job.width) for job in todo if job.tilings[0].squeeze == "tile"}
    assert len(sizes) == LARGEST**2
    assert {job.opset for job in todo} == set(range(OLDEST, newest_opset() + 1))
    largest = next(job for job in todo if job.height == LARGEST and job.tilings[0].squeeze == "running")
    assert len(largest.tilings) == LARGEST * (LARGEST + 1) // 2


def test_a_gate_that_is_a_row_off_is_noticed(monkeypatch):
    definition = every_size.expected
    off = {Tiling(4): Tiling(5), Tiling(6, squeeze="running", step=2): Tiling(6, squeeze="running", step=3)}
    monkeypatch.setattr(every_size, "expected", lambda x, tiling: definition(x, off.get(tiling, tiling)))
    job = Job(31, 17, (Tiling(3), *off, Tiling(2, 9)), "resize", "matmul", 17)
    assert every_size.wrong(job) == list(off)
