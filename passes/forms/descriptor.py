"""How a value on the way from squeeze to gate holds one descriptor per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True)
class Descriptor:
    """A vector of channels per sample, as a tensor.

    `axes` has one letter per axis of the tensor: N for the batch, C for the channels, 1 for an axis of extent one, *
    for an axis over which the vector is repeated. A pooled NCHW map gives "NC11", a flattened one "NC". `channels` is
    the extent of C, `batch` that of N; None where unknown.
    """

    axes: str
    channels: int | None
    batch: int | None = None

    def with_axes(self, axes: str) -> Descriptor:
        """The same vector under other axes."""
        return Descriptor(axes, self.channels, self.batch)

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
