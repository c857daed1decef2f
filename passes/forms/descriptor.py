"""How a value on the way from squeeze to gate holds one descriptor per sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations


@dataclass(frozen=True)
class Descriptor:
    """A vector of channels per sample, as a tensor.

    `axes` has one letter per axis of the tensor: N for the batch, C for the channels, 1 for an axis of extent one, *
    for an axis over which the vector is repeated. A pooled NCHW map gives "NC11", a flattened one "NC". `channels` is
    the extent of C, `batch` that of N; None where unknown.

    A vector may also lie along several axes, each a K, as [branches, channels of one] does: `parts` are their extents
    in order, and `channels` the product of these. Windows that slide over the channels may make several numbers of
    each, `filters` of them, along an axis F.
    """

    axes: str
    channels: int | None
    batch: int | None = None
    parts: tuple[int, ...] = ()
    filters: int = 1

    def with_axes(self, axes: str) -> Descriptor:
        """The same vector under other axes."""
        return replace(self, axes=axes)

    @property
    def extents(self) -> tuple[int | None, ...]:
        """How long the vector is along each of its axes."""
        return self.parts or (self.channels,)

    def extent(self, place: int) -> int | None:
        """The extent of an axis; None where it is not known."""
        letter = self.axes[place]
        if letter == "K":
            return self.parts[self.axes[:place].count("K")]
        return {"N": self.batch, "C": self.channels, "1": 1}.get(letter)

    def admits(self, dims: Sequence[int | None] | None) -> bool:
        """Whether a constant of these dimensions broadcasts onto the descriptor without enlarging it.

        It may then stand beside one descriptor or beside one per tile, and means the same for each.
        """
        if dims is None or len(dims) > len(self.axes):
            return False
        for dim, axis in zip(reversed(dims), reversed(self.axes), strict=False):
            if dim != 1 and (axis != "C" or dim is None or dim != self.channels):
                return False
        return True

    def reshaped(self, target: Sequence[int]) -> Descriptor | None:
        """The axes after a Reshape to `target` (0 keeps an axis, −1 is inferred), or None where they are not plain.

        In memory order the batch comes before the channels; every other axis of the result has extent one.
        """
        order = self.axes.replace("1", "")
        if order not in ("NC", "C"):
            return None
        for chosen in combinations(range(len(target)), 2):
            axes = ["1"] * len(target)
            axes[chosen[0]], axes[chosen[1]] = "N", "C"
            if self._fits("".join(axes), target):
                return self.with_axes("".join(axes))
        # A batch of one may be dropped altogether.
        if self.batch == 1 or order == "C":
            for place in range(len(target)):
                axes = ["1"] * len(target)
                axes[place] = "C"
                if self._fits("".join(axes), target):
                    return self.with_axes("".join(axes))
        return None

    def regrouped(self, target: Sequence[int]) -> Descriptor | None:
        """The vector along other axes after a Reshape to `target`, in memory order behind the batch; None where it is
        not known to stay a vector of each sample."""
        if self.channels is None or self.filters > 1 or not target or self.axes.replace("1", "") != "N" + self._letters:
            return None
        sizes = list(target)
        for place, size in enumerate(sizes):
            if size == 0 and place and place < len(self.axes) and self.axes[place] != "N":
                sizes[place] = self.extent(place) or 0
        batch, rest = sizes[0], sizes[1:]
        if any(size == 0 or size < -1 for size in rest) or sizes.count(-1) > 1:
            return None
        if -1 in rest:  # a batch of another size than the one written down would split the channels
            known = math.prod(size for size in rest if size != -1)
            if self.channels % known or not (batch == 0 or self.batch is not None):
                return None
            rest[rest.index(-1)] = self.channels // known
        if batch == 0 and self.axes[0] != "N":
            return None
        if math.prod(rest) != self.channels or batch not in (0, -1, batch if self.batch is None else self.batch):
            return None
        parts = tuple(size for size in rest if size != 1)
        if len(parts) < 2:
            return None if not parts else Descriptor(_lettered(rest, "C"), self.channels, self.batch)
        return Descriptor(_lettered(rest, "K"), self.channels, self.batch, parts)

    @property
    def _letters(self) -> str:
        return "K" * len(self.parts) or "C"

    def _fits(self, axes: str, target: Sequence[int]) -> bool:
        if sum(size == -1 for size in target) > 1:
            return False
        for place, (axis, size) in enumerate(zip(axes, target, strict=True)):
            if size == 0:
                if place >= len(self.axes) or self.axes[place] != axis:
                    return False
            elif size != -1:
                extent = {"N": self.batch, "C": self.channels, "1": 1}[axis]
                # A batch written down as a number holds for that batch alone; so did the exported model.
                if size != extent and not (axis == "N" and extent is None):
                    return False
        if self.channels == 1:
            return False  # nothing tells the channels from an axis of extent one
        # Where the channels are inferred, a batch of another size than the one written down would split them.
        inferred = target[axes.index("C")] == -1
        return not inferred or "N" not in axes or self.batch is not None or target[axes.index("N")] in (0, 1)


def _lettered(sizes: Sequence[int], letter: str) -> str:
    return "N" + "".join("1" if size == 1 else letter for size in sizes)
