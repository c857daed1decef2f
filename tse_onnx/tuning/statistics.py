"""What data say of a network's blocks: how the means of their first rows go with those of all rows, how gates move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.blocks.previous import Previous
from tse_onnx.passes.blocks.tiling import Calibration, Running

Floats = NDArray[np.float64]

# Digits of the numbers of a calibration, and of a first frame: more would only make plans longer.
_DIGITS = 5


@dataclass(frozen=True)
class Gate:
    """A block's gate on data.

    `frozen` is its mean over the samples; `moved` the root mean square of what a sample's gate differs from that,
    relative to the root mean square of the gates themselves; `largest` the largest such difference, absolute.
    """

    frozen: Frozen
    moved: float
    largest: float
    samples: int

    @property
    def first(self) -> Previous:
        """The gates of the frame before, where a first frame's are the mean."""
        return Previous(tuple(map(_short, self.frozen.gate)))


class Means:
    """The means of a map's first rows, for each number of rows, and how they go with the mean of all rows.

    Only sums are kept, so that any number of samples takes the same room.
    """

    def __init__(self, height: int, channels: int) -> None:
        self._count = 0
        self._sums: Floats = np.zeros((height, channels))
        self._squares: Floats = np.zeros(height)
        self._products: Floats = np.zeros(height)

    def add(self, rows: np.ndarray) -> None:
        """Take the means of each row [samples, channels, height] into account."""
        seen = np.arange(1, rows.shape[2] + 1)
        means = (np.cumsum(rows.astype(np.float64), axis=2) / seen).transpose(2, 0, 1)  # [height, samples, channels]
        self._count += rows.shape[0]
        self._sums += means.sum(axis=1)
        self._squares += np.square(means).sum(axis=(1, 2))
        self._products += (means * means[-1]).sum(axis=(1, 2))

    def calibration(self, cover: Running) -> Calibration | None:
        """What a running squeeze has to make of each of its means, to be as near as it can to the mean of all rows.

        The least squares over samples and channels, with a slope for each descriptor and an offset for each of its
        channels. None where the means are not finite.
        """
        count = max(self._count, 1)
        expected = self._sums / count
        whole = expected[-1]
        slopes, offsets = [], []
        for seen in cover.seen:
            own = expected[seen - 1]
            spread = self._squares[seen - 1] - count * float(own @ own)
            together = self._products[seen - 1] - count * float(own @ whole)
            last = seen == len(expected)
            slope = 1.0 if last else _short(together / spread) if spread > 0 else 0.0
            slopes.append(slope)
            offsets.append(tuple(0.0 if last else _short(number) for number in whole - slope * own))
        if not np.isfinite([*slopes, *(number for row in offsets for number in row)]).all():
            return None
        return Calibration(tuple(slopes), tuple(offsets))


def gate_of(gates: Floats) -> Gate | None:
    """What the gates [samples, channels] of a block say; None where they are not finite."""
    if not np.isfinite(gates).all():
        return None
    # In single precision, which a plan's file can hold without loss.
    mean = gates.mean(axis=0).astype(np.float32).astype(np.float64)
    apart = gates - mean
    size = float(np.sqrt(np.mean(np.square(gates))))
    moved = float(np.sqrt(np.mean(np.square(apart)))) / size if size else 0.0
    return Gate(Frozen(tuple(mean.tolist())), moved, float(np.abs(apart).max(initial=0.0)), len(gates))


def _short(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
