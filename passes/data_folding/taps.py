"""A convolution's window on a map and on that map folded by a factor, and its weights for either.

A map folded by s has s × s times the channels: its pixel q holds the pixels s q + a of the map, 0 <= a < s along each
axis. An output at o reads the pixels t o - p + i of the map, for a kernel of k > i, a stride t and p zeros before it.
With t = s u and p = s P - d, 0 <= d < s, that is s (u o - P) + (i + d): tap i + d = s j + a is tap j of channel a on
the folded map, for a stride u and P zeros before it. So d zeros go before the kernel, and as many behind it as make its
length a multiple of s. With e zeros behind a map of a size that is a multiple of s there are as many outputs as before
where ceil((k + d) / s) - ceil((k + d - e) / s) are behind the folded one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCKS_FIRST, CHANNELS_FIRST = (0, 3, 5, 1, 2, 4), (0, 1, 3, 5, 2, 4)
"""In which order channels of N × C × H/s × s × W/s × s are those of a folded map: as SpaceToDepth has them, or those of
a channel together, so that groups of channels stay together."""


@dataclass(frozen=True)
class Taps:
    """A window along both spatial axes: taps, stride, and the zeros before and behind the map."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    before: tuple[int, int]
    behind: tuple[int, int]

    @property
    def pads(self) -> tuple[int, ...]:
        """As ONNX states them."""
        return self.before + self.behind

    def outputs(self, axis: int, size: int) -> int:
        """How many outputs there are along an axis of a map of that `size`."""
        zeros = self.before[axis] + self.behind[axis]
        return (size + zeros - self.kernel[axis]) // self.stride[axis] + 1


def folded(taps: Taps, factor: int) -> Taps:
    """The window on the map folded by a `factor` of both strides."""
    kernel, before, behind = [], [], []
    for length, zeros, end in zip(taps.kernel, taps.before, taps.behind, strict=True):
        reach = length + -zeros % factor
        kernel.append(-(-reach // factor))
        before.append(-(-zeros // factor))
        behind.append(kernel[-1] - -(-(reach - end) // factor))
    strides = (taps.stride[0] // factor, taps.stride[1] // factor)
    return Taps((kernel[0], kernel[1]), strides, (before[0], before[1]), (behind[0], behind[1]))


def folded_weights(weights: np.ndarray, taps: Taps, factor: int, order: tuple[int, ...]) -> np.ndarray:
    """The weights (outputs × channels × height × width) of a window `taps` for the map folded by `factor`."""
    outputs, channels = weights.shape[:2]
    (height, width), fronts = folded(taps, factor).kernel, [-zeros % factor for zeros in taps.before]
    room = np.zeros((outputs, channels, height * factor, width * factor), weights.dtype)
    room[:, :, fronts[0] : fronts[0] + taps.kernel[0], fronts[1] : fronts[1] + taps.kernel[1]] = weights
    parted = room.reshape(outputs, channels, height, factor, width, factor).transpose(order)
    return np.ascontiguousarray(parted.reshape(outputs, -1, height, width))


def unfolded(taps: Taps, factor: int) -> Taps:
    """The window on the map, of one on the map folded by `factor`."""
    times = [(pair[0] * factor, pair[1] * factor) for pair in (taps.kernel, taps.stride, taps.before, taps.behind)]
    return Taps(*times)


def unfolded_weights(weights: np.ndarray, factor: int, order: tuple[int, ...]) -> np.ndarray:
    """The weights for the map, of those for the map folded by `factor`."""
    outputs, channels, height, width = weights.shape
    own = (outputs, channels // factor**2, height, factor, width, factor)
    parted = weights.reshape([own[axis] for axis in order]).transpose(np.argsort(order))
    return np.ascontiguousarray(parted.reshape(own[0], own[1], height * factor, width * factor))


def trimmed(taps: Taps, weights: np.ndarray, sizes: tuple[int, int]) -> tuple[Taps, np.ndarray]:
    """A window and its weights without the zeros at the edges of the kernel that change nothing on a map of these
    `sizes`: with them unfolding leaves what there was before folding."""
    kernel, before, behind = list(taps.kernel), list(taps.before), list(taps.behind)
    for axis, size in enumerate(sizes):
        used = np.flatnonzero(np.any(weights != 0, axis=tuple(other for other in range(4) if other != axis + 2)))
        first, last = (int(used[0]), int(used[-1])) if used.size else (0, 0)
        front = min(first, taps.before[axis])
        wanted = taps.outputs(axis, size)
        for end in range(taps.kernel[axis] - 1 - last, -1, -1):
            length, zeros = taps.kernel[axis] - front - end, taps.before[axis] - front
            rest = max(taps.behind[axis] - end, 0)
            if (size + zeros + rest - length) // taps.stride[axis] + 1 == wanted:
                break
        kernel[axis], before[axis], behind[axis] = length, zeros, rest
        weights = np.take(weights, range(front, front + length), axis + 2)
    found = Taps((kernel[0], kernel[1]), taps.stride, (before[0], before[1]), (behind[0], behind[1]))
    return found, np.ascontiguousarray(weights)
