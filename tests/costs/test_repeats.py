"""Folding tells every item once, in an order that unfolds again."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tse_onnx.costs.repeats import folded


def test_blocks_that_come_again_begin_behind_the_one_that_differs():
    """A stage: a block with a projection p, then three without; its layers are a, b and c."""
    assert ["".join(group) for group in folded("pabc" + "dabc" * 3, lambda letter: letter)] == [
        "p", "a", "b", "c", "ddd", "aaa", "bbb", "ccc",
    ]  # fmt: skip


@given(st.lists(st.integers(0, 2), max_size=40))
def test_nothing_is_lost_or_told_twice(items):
    numbered = list(enumerate(items))
    groups = list(folded(numbered, lambda pair: pair[1]))
    assert sorted(pair for group in groups for pair in group) == numbered
    for group in groups:
        assert len({value for _, value in group}) == 1
        places = [place for place, _ in group]
        gaps = {after - before for before, after in itertools.pairwise(places)}
        assert len(gaps) <= 1


@given(st.lists(st.integers(0, 3), min_size=1, max_size=5, unique=True), st.integers(2, 6))
def test_a_run_over_and_over_folds_to_its_items(run, times):
    assert list(folded(run * times, lambda value: value)) == [(value,) * times for value in run]
