"""Cut a tensor into its rows and put rows together again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tse_onnx.streaming.network.needs.axis import Axis
from tse_onnx.streaming.network.network import Tensor


def cut(array: np.ndarray, axis: Axis | None) -> list[np.ndarray]:
    """The rows of a whole tensor. A row keeps the rank of the tensor: its axis has what is left of it, mostly 1."""
    if axis is None:
        return [array]
    shape = array.shape
    split = array.reshape(*shape[: axis.axis], axis.outer, axis.size, axis.inner, *shape[axis.axis + 1 :])
    rest = (*shape[: axis.axis], axis.outer * axis.inner, *shape[axis.axis + 1 :])
    return [np.ascontiguousarray(split.take(row, axis=axis.axis + 1)).reshape(rest) for row in range(axis.size)]


def part(array: np.ndarray, axis: Axis | None, rows: range) -> np.ndarray:
    """Some rows of a whole tensor, one beside the other."""
    if axis is None:
        return array
    if axis.outer == 1:
        return array[(slice(None),) * axis.axis + (slice(rows.start * axis.inner, rows.stop * axis.inner),)]
    shape = array.shape
    split = array.reshape(*shape[: axis.axis], axis.outer, axis.size, axis.inner, *shape[axis.axis + 1 :])
    rest = (*shape[: axis.axis], axis.outer * len(rows) * axis.inner, *shape[axis.axis + 1 :])
    return split.take(rows, axis=axis.axis + 1).reshape(rest)


def joined(rows: Sequence[np.ndarray], axis: Axis | None) -> np.ndarray:
    """The whole tensor of all its rows."""
    if axis is None:
        return rows[0]
    shape = rows[0].shape
    split = (*shape[: axis.axis], axis.outer, 1, axis.inner, *shape[axis.axis + 1 :])
    whole = np.concatenate([row.reshape(split) for row in rows], axis=axis.axis + 1)
    full = (*shape[: axis.axis], axis.outer * axis.size * axis.inner, *shape[axis.axis + 1 :])
    return whole.reshape(full)


def stackable(tensor: Tensor) -> bool:
    """Whether rows of a tensor lie one beside the other in it."""
    return tensor.rows is not None and tensor.rows.outer == 1


def row_shape(dims: Sequence[int], axis: Axis | None) -> tuple[int, ...]:
    """Dimensions of one row of a tensor."""
    if axis is None:
        return tuple(dims)
    return (*dims[: axis.axis], axis.outer * axis.inner, *dims[axis.axis + 1 :])
