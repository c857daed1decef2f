"""The best use of multiply-accumulates: which blocks are recomputed, and from what, where not all have to be or may be.

A knapsack, solved over its Pareto front (Nemhauser and Ullmann): what several blocks save together is kept for every
number of multiply-accumulates at which more is saved than at any smaller one, block after block. Nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tse_onnx.passes.blocks.recompute import Recomputed

Offered = tuple[int, Sequence[Recomputed]]
"""A block: the elements of its map, and the ways to recompute it."""
Ways = list["Recomputed | None"]
"""For each block the way that it gets, or None."""


def within(limit: int, blocks: Sequence[Offered]) -> Ways:
    """What saves most elements and takes no more than `limit` multiply-accumulates together."""
    front = _front(blocks, limit)
    return front.ways(len(front.macs) - 1)


def fewest(saved: int, blocks: Sequence[Offered], limit: int | None = None) -> Ways | None:
    """What takes fewest multiply-accumulates and saves at least `saved` elements together; None where nothing does,
    with no more than `limit` multiply-accumulates if there is one."""
    front = _front(blocks, limit)
    enough = int(np.searchsorted(front.saved, saved))
    return front.ways(enough) if enough < len(front.saved) else None


@dataclass(frozen=True)
class _Front:
    """Selections of which each takes more multiply-accumulates than the one before and saves more, and how they came
    about: for each block the place of each selection in the front before, and the number of its way, or -1."""

    blocks: Sequence[Offered]
    saved: NDArray[np.int64]
    macs: NDArray[np.int64]
    steps: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]

    def ways(self, place: int) -> Ways:
        found: Ways = []
        for (_, ways), (before, taken) in zip(reversed(self.blocks), reversed(self.steps), strict=True):
            number = int(taken[place])
            found.append(None if number < 0 else ways[number])
            place = int(before[place])
        return found[::-1]


def _front(blocks: Sequence[Offered], limit: int | None) -> _Front:
    saved, macs, steps = np.zeros(1, np.int64), np.zeros(1, np.int64), []
    for whole, ways in blocks:
        all_saved = np.concatenate([saved, *(saved + (whole - way.elements) for way in ways)])
        all_macs = np.concatenate([macs, *(macs + way.macs for way in ways)])
        order = np.lexsort((-all_saved, all_macs))
        rising = all_saved[order]
        better = np.concatenate([[True], rising[1:] > np.maximum.accumulate(rising)[:-1]])
        if limit is not None:
            better &= all_macs[order] <= limit
        kept = order[better]
        steps.append((kept % len(saved), kept // len(saved) - 1))
        saved, macs = all_saved[kept], all_macs[kept]
    return _Front(blocks, saved, macs, steps)
