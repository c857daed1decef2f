"""Layers that come again: a run of layers, over and over, is told once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
_LONGEST = 64


def folded(items: Sequence[T], key: Callable[[T], Hashable]) -> Iterator[tuple[T, ...]]:
    """The items in order, those of equal key together that lie one period apart: the second to the sixth block of a
    stage, each of five layers, are five groups of five.

    From the front, the run that folds away most items is taken, and of these the one of the shortest period. A run that
    could begin at several places begins at the last, so that it ends with a whole block: the first block of a stage is
    the one that differs. A period is at most 64 items, so the time is linear in their number.
    """
    numbers = dict[Hashable, int]()
    keys, at = [numbers.setdefault(key(item), len(numbers)) for item in items], 0
    while at < len(items):
        period, times, before = _best(keys, at)
        yield from ((item,) for item in items[at : at + before])
        at += before
        for offset in range(period):
            yield tuple(items[at + offset + period * turn] for turn in range(times))
        at += period * times


def _best(keys: Sequence[int], at: int) -> tuple[int, int, int]:
    """The period of the run that begins at a place, how often it comes, and how much later it can begin as well."""
    best, folds = (1, 1, 0), 0
    for period in range(1, min(_LONGEST, (len(keys) - at) // 2) + 1):
        end = at + period
        while end < len(keys) and keys[end] == keys[end - period]:
            end += 1
        times, rest = divmod(end - at, period)
        if (times - 1) * period > folds:
            best, folds = (period, times, rest), (times - 1) * period
    return best
