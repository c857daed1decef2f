"""Kernels that make row i of row i, and those that need all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tse_onnx.streaming.execute.attributes import attributes
from tse_onnx.streaming.execute.cutting import cut, joined
from tse_onnx.streaming.execute.kernel import Rows, Site
from tse_onnx.streaming.network.needs.axis import Axis
from tse_onnx.streaming.network.network import Tensor


class RowWise:
    """The node itself on rows. A constant that differs from row to row is cut like a tensor."""

    def __init__(self, site: Site) -> None:
        self._height = site.made.row_count
        self._tokens = {name: tensor.row_count for name, tensor in site.inputs.items()}
        self._cut: dict[str, list[np.ndarray]] = {}
        for slot, name in enumerate(site.node.input):
            value = site.weights.get(name)
            if value is not None and self._height > 1 and (rows := varying(site, slot, value)) is not None:
                self._cut[name] = rows
        self._run = site.single(fed={name: rows[0] for name, rows in self._cut.items()})

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        return {name: (row if tokens == self._height else 0,) for name, tokens in self._tokens.items()}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        feed = {name: rows[name][taken[0]] for name, taken in self.takes(row).items()}
        for name, parts in self._cut.items():
            feed[name] = parts[row]
        return self._run(feed)


def varying(site: Site, slot: int, value: np.ndarray) -> list[np.ndarray] | None:
    """What a constant is for each row, where it differs from row to row: one number for each place of an axis along
    which the rows lie, or a block of them."""
    axis, rank, op = site.made.rows, len(site.made.dims), site.node.op_type
    if axis is None or not value.ndim:
        return None
    at: int | None
    if not slot:  # the data themselves
        at = axis.axis if value.ndim == rank else None
    elif op in ("DequantizeLinear", "QuantizeLinear"):
        along = attributes(site.node).get("axis", 1) % rank
        if value.ndim == 1:
            at = 0 if along == axis.axis and value.size > 1 else None
        else:
            at = axis.axis
            block = attributes(site.node).get("block_size", 0)
            if block and along == axis.axis:
                value = value.repeat(block, axis=at).take(range(site.made.dims[at]), axis=at)
    elif op == "BatchNormalization":
        at = 0 if axis.axis == 1 and value.size > 1 else None
    elif op in ("LayerNormalization", "RMSNormalization"):
        found = axis.axis - rank + value.ndim
        at = found if found >= 0 and value.shape[found] > 1 else None
    else:
        return None
    return None if at is None else cut(value, Axis(at, axis.size, axis.outer, axis.inner))


class Spread:
    """Expand: a row, repeated to the shape of the output's."""

    def __init__(self, site: Site) -> None:
        self._name = site.node.input[0]
        self._tokens, self._height = site.read(0).row_count, site.made.row_count
        self._shape = row_dims(site.made)

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        return {self._name: (row if self._tokens == self._height else 0,)}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        value = rows[self._name][self.takes(row)[self._name][0]]
        shape = (*np.broadcast_shapes(value.shape, self._shape),)
        return np.ascontiguousarray(np.broadcast_to(value, shape))


class Whole:
    """A barrier: the node runs once, on whole tensors, when all their rows are there."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._inputs = site.inputs
        self._run = site.single()
        self._rows: list[np.ndarray] | None = None

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        return {name: range(tensor.row_count) for name, tensor in self._inputs.items()}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        if row == 0 or self._rows is None:
            feed = {name: joined([rows[name][number] for number in range(tensor.row_count)], tensor.rows)
                    for name, tensor in self._inputs.items()}  # fmt: skip
            self._rows = cut(self._run(feed), self._site.made.rows)
        return self._rows[row]


class RunningSum:
    """CumSum along the rows: the sum so far is all it keeps."""

    def __init__(self, site: Site) -> None:
        self._name, self._site = site.node.input[0], site
        self._exclusive = any(each.name == "exclusive" and each.i for each in site.node.attribute)
        self._sum: np.ndarray | None = None

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        if self._exclusive:
            return {self._name: (row - 1,) if row else ()}
        return {self._name: (row,)}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        if row == 0:
            self._sum = None
        for number in self.takes(row)[self._name]:
            value = rows[self._name][number]
            self._sum = value if self._sum is None else self._sum + value
        if self._sum is None:
            dtype = np.float32 if self._site.made.dtype == 1 else np.float64
            return np.zeros(row_dims(self._site.made), dtype)
        return self._sum


class RowMatrix:
    """A constant matrix times the rows: each row of the output is a weighted sum of those whose weight is not zero."""

    def __init__(self, site: Site) -> None:
        matrix = site.constant(0)
        assert matrix is not None
        self._matrix, self._name = matrix, site.node.input[1]
        self._tall = site.read(1).row_count
        self._shape = row_dims(site.made)

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        used = [number for number in range(self._tall) if np.any(self._matrix[..., row, number])]
        return {self._name: used}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        used = self.takes(row)[self._name]
        part = self._matrix[..., row : row + 1, :][..., list(used)]
        if not used:
            return np.zeros(self._shape, self._matrix.dtype)
        made: np.ndarray = np.matmul(part, np.concatenate([rows[self._name][number] for number in used], axis=-2))
        return made


def row_dims(tensor: Tensor) -> tuple[int, ...]:
    """Dimensions of one row of a tensor."""
    from tse_onnx.streaming.execute.cutting import row_shape

    return row_shape(tensor.dims, tensor.rows)
