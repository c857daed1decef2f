"""The best use of a limit: which blocks are recomputed, and from what, where not all may be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tse_onnx.passes.blocks.recompute import Recomputed

# Steps that a limit is divided into; what a block takes is rounded up to whole ones, so that the limit holds.
_STEPS = 4096


def within(limit: int, blocks: Sequence[tuple[int, Sequence[Recomputed]]]) -> list[Recomputed | None]:
    """For each block, given by the elements of its map and the ways to recompute it, the way that it gets, or None.

    Together they take no more than `limit` multiply-accumulates, and save as many elements as they can.
    """
    step = max(1, -(-limit // _STEPS))
    room = limit // step
    best = np.zeros(room + 1, np.int64)
    taken = []
    for whole, ways in blocks:
        after, chosen = best, np.full(room + 1, -1, np.int16)
        for number, way in enumerate(ways):
            cost = -(-way.macs // step)
            if cost > room:
                continue
            saved = np.full(room + 1, -1, np.int64)
            saved[cost:] = best[: room + 1 - cost] + whole - way.elements
            better = saved > after
            after, chosen = np.where(better, saved, after), np.where(better, number, chosen).astype(np.int16)
        best = after
        taken.append(chosen)
    found: list[Recomputed | None] = []
    for (_, ways), chosen in zip(reversed(blocks), reversed(taken), strict=True):
        number = int(chosen[room])
        found.append(None if number < 0 else ways[number])
        room -= 0 if number < 0 else -(-ways[number].macs // step)
    return found[::-1]
