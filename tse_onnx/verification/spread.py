"""How far the gates of a block differ between its tiles: only where they do can a gate of the wrong tile be seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """`largest` is the largest difference of two tiles' gates of one channel, relative to the channel's largest gate;
    `told_apart` the part of the pairs of neighbouring tiles in which swapping the gates would exceed the tolerance."""

    largest: float
    told_apart: float


class Gates:
    """Gathers the gates of the tiles in their order, each with what was allowed where it scales."""

    def __init__(self) -> None:
        self._tiles: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, gate: np.ndarray, tolerance: np.ndarray, magnitude: np.ndarray) -> None:
        """A tile's gate, tolerance and largest value, by sample and channel."""
        self._tiles.append((gate.astype(np.float64), tolerance, magnitude))

    def spread(self) -> Spread | None:
        """None where there are no two gates to compare."""
        if len(self._tiles) < 2:
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            gates = np.stack([gate for gate, _, _ in self._tiles])
            range_, size = np.ptp(gates, axis=0), np.abs(gates).max(axis=0)
            relative = np.where(size > 0, range_ / size, 0.0)
            pairs = [_apart(one, two) for one, two in zip(self._tiles, self._tiles[1:], strict=False)]
        known = relative[np.isfinite(relative)]
        return Spread(float(known.max(initial=0.0)), float(np.mean(pairs)))


def _apart(one: tuple[np.ndarray, ...], two: tuple[np.ndarray, ...]) -> bool:
    """Whether either tile, scaled by the other's gate, would be wrong by more than is allowed twice."""
    difference = np.abs(one[0] - two[0])
    return any(
        bool(np.any(difference / np.abs(gate) * magnitude > 2 * tolerance)) for gate, tolerance, magnitude in (one, two)
    )
