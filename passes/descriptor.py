"""How a value on the way from squeeze to gate holds one descriptor per sample."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Descriptor:
    """A vector of channels per sample, as a tensor.

    `axes` has one letter per axis of the tensor: N for the batch, C for the channels, 1 for an axis of extent one where
    the pooled map had a spatial axis. A pooled NCHW map gives "NC11". `channels` is the extent of C, or None.
    """

    axes: str
    channels: int | None

    def admits(self, dims: tuple[int | None, ...] | None) -> bool:
        """Whether a constant of these dimensions broadcasts onto the descriptor without enlarging it.

        It may then stand beside one descriptor or beside one per tile, and means the same for each.
        """
        if dims is None or len(dims) > len(self.axes):
            return False
        for dim, axis in zip(reversed(dims), reversed(self.axes), strict=False):
            if dim != 1 and (axis != "C" or dim is None or dim != self.channels):
                return False
        return True
