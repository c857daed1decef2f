"""Where the rows of a tensor lie.

A map streams by rows, and a row keeps its identity through every change of layout: it is an index of axis 2 in NCHW, of
axis 1 in NHWC, and a digit of a longer axis once Flatten has merged it with others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ROWS, COLUMNS = 0, 1
"""The two directions in which a map streams; the n-th spatial axis of an operator."""
TOKENS = ("row", "column")
"""What streams in each."""


@dataclass(frozen=True)
class Axis:
    """`size` tokens that lie in axis `axis` of a tensor, which has `outer` · `size` · `inner` entries.

    A plain axis has `outer` and `inner` 1. `inner` > 1 with `outer` 1 means that a token is a group of neighbours.
    """

    axis: int
    size: int
    outer: int = 1
    inner: int = 1

    @property
    def plain(self) -> bool:
        """Whether every index of the axis is one token."""
        return self.outer == 1 and self.inner == 1

    def moved(self, axis: int) -> Axis:
        """The same tokens in another axis."""
        return Axis(axis, self.size, self.outer, self.inner)


def spatial(dims: Sequence[int], direction: int) -> Axis | None:
    """The axis of an operator that works on N, C and then space; None where the tensor has no such axis."""
    axis = 2 + direction
    return Axis(axis, dims[axis]) if axis < len(dims) else None


def reshaped(axis: Axis, before: Sequence[int], after: Sequence[int]) -> Axis | None:
    """Where the tokens lie after a Reshape: None where no single axis holds them.

    The index of a token is a digit of the flat index: it counts in steps of `step` and runs over `size` of them.
    """
    step = axis.inner
    for dim in before[axis.axis + 1 :]:
        step *= dim
    span, inner = step * axis.size, 1
    for position in range(len(after) - 1, -1, -1):
        extent = inner * after[position]
        if inner <= step and step % inner == 0 and extent >= span and extent % span == 0 and after[position] > 1:
            return Axis(position, axis.size, extent // span, step // inner)
        inner = extent
    return None


def split(axis: Axis, before: Sequence[int], after: Sequence[int]) -> Axis | None:
    """The coarser rows that a Reshape makes of an axis it cuts in two (`H` into `H/b`, `b`), or None."""
    step = axis.inner
    for dim in before[axis.axis + 1 :]:
        step *= dim
    span, inner = step * axis.size, 1
    for position in range(len(after) - 1, -1, -1):
        extent = inner * after[position]
        if extent == span and inner % step == 0 and 1 < after[position] < axis.size:
            return Axis(position, after[position])
        inner = extent
    return None
