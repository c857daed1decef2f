"""Where in a tensor the channels of a value lie, and what a scale for each of them does there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Place:
    """The channels of a value along `axis` of an initializer, which takes their scales to the `power` 1 or −1.

    With `groups`, axis 1 holds the channels of one group alone, and which group says axis 0: so a convolution reads.
    """

    tensor: str
    axis: int
    power: int
    groups: int = 1

    def spread(self, scales: np.ndarray, dims: Sequence[int]) -> np.ndarray:
        """The scales [C] to the power, to be multiplied with a tensor of `dims`."""
        scales = scales**self.power
        if self.groups > 1:
            by_group = scales.reshape(self.groups, 1, dims[1])
            rows = np.broadcast_to(by_group, (self.groups, dims[0] // self.groups, dims[1]))
            return rows.reshape(dims[0], dims[1], *(1,) * (len(dims) - 2))
        return scales.reshape([len(scales) if axis == self.axis else 1 for axis in range(len(dims))])

    def ranges(self, magnitudes: np.ndarray) -> np.ndarray:
        """The largest of the `magnitudes` of a tensor for each channel [C]."""
        if self.groups > 1:
            rows, per_group = magnitudes.shape[:2]
            parted = magnitudes.reshape(self.groups, rows // self.groups, per_group, -1)
            found: np.ndarray = parted.max(axis=(1, 3), initial=0).reshape(-1)
            return found
        others = tuple(axis for axis in range(magnitudes.ndim) if axis != self.axis)
        found = magnitudes.max(axis=others, initial=0)
        return found


@dataclass(frozen=True)
class Pair:
    """Layers of which the `firsts` can give their channels any positive scale that the `seconds` take away again.

    Both are by name. `value` is one of the values in between, of so many `channels`; `read` are those that the seconds
    read. `places` are all tensors that a scale changes: those of the firsts to the power 1, of the seconds to −1.
    """

    firsts: tuple[str, ...]
    seconds: tuple[str, ...]
    value: str
    channels: int
    read: tuple[str, ...]
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Left:
    """Layers whose channels keep their scales, and why: what follows them is bound to what came of them. `node` is the
    one that it ended at, if it is another."""

    names: tuple[str, ...]
    reason: str
    node: str = ""
