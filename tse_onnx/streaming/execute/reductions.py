"""Reductions that absorb: they take a row as it comes, and keep one accumulator row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tse_onnx.streaming.execute.attributes import attributes
from tse_onnx.streaming.execute.cutting import cut
from tse_onnx.streaming.execute.kernel import Site
from tse_onnx.streaming.network.needs.axis import Axis

Axes = tuple[int, ...]
Fold = Callable[[np.ndarray, Axes], np.ndarray]


@dataclass(frozen=True)
class _Kind:
    """How a reduction works row by row: `first` reduces one row, `join` two results, `last` finishes, given how many
    elements each result was made of."""

    first: Fold
    join: Callable[[np.ndarray, np.ndarray], np.ndarray]
    last: Callable[[np.ndarray, int], np.ndarray]


def _plain(value: np.ndarray, _: int) -> np.ndarray:
    return value


def _sum(value: np.ndarray, axes: Axes) -> np.ndarray:
    return np.add.reduce(value, axis=axes, keepdims=True)


_SUM = _Kind(_sum, np.add, _plain)
_MEAN = _Kind(_sum, np.add, lambda value, count: value / count)
_MAX = _Kind(lambda value, axes: np.max(value, axis=axes, keepdims=True), np.maximum, _plain)
_SQUARES = _Kind(lambda value, axes: _sum(value * value, axes), np.add, _plain)
_KINDS = {
    "ReduceSum": _SUM,
    "ReduceMean": _MEAN,
    "GlobalAveragePool": _MEAN,
    "ReduceMax": _MAX,
    "GlobalMaxPool": _MAX,
    "ReduceMin": _Kind(lambda value, axes: np.min(value, axis=axes, keepdims=True), np.minimum, _plain),
    "ReduceProd": _Kind(lambda value, axes: np.prod(value, axis=axes, keepdims=True), np.multiply, _plain),
    "ReduceL1": _Kind(lambda value, axes: _sum(np.abs(value), axes), np.add, _plain),
    "ReduceL2": _Kind(_SQUARES.first, np.add, lambda value, _: np.sqrt(value)),
    "ReduceSumSquare": _SQUARES,
    "ReduceLogSum": _Kind(_sum, np.add, lambda value, _: np.log(value)),
    "ReduceLogSumExp": _Kind(
        lambda value, axes: (
            np.logaddexp.reduce(value.reshape(value.shape), axis=axes, keepdims=True)
            if len(axes) == 1
            else np.log(_sum(np.exp(value), axes))
        ),
        np.logaddexp,
        lambda value, _: value,
    ),
}


class Reduction:
    """A Reduce operator or a global pooling."""

    def __init__(self, site: Site) -> None:
        data, node = site.read(0), site.node
        given, rank = attributes(node), len(data.dims)
        self._height = data.row_count
        self._kind = _KINDS.get(node.op_type)
        self._power = float(given.get("p", 2))
        if node.op_type == "GlobalLpPool":
            power = self._power
            self._kind = _Kind(
                lambda value, axes: _sum(np.abs(value) ** power, axes), np.add, lambda value, _: value ** (1 / power)
            )
        axes = given.get("axes")
        stated = site.constant(1) if axes is None else None
        if node.op_type.startswith("Global"):
            axes = range(2, rank)
        elif stated is not None:
            axes = stated.reshape(-1).tolist()
        self._axes = (
            tuple(sorted(axis % rank for axis in axes)) if axes is not None and len(axes) else tuple(range(rank))
        )
        self._dims = site.made.dims
        self._count = int(np.prod([data.dims[axis] for axis in self._axes]))
        self._total: np.ndarray | None = None
        self._dtype: np.dtype[np.generic] = np.dtype(np.float32)

    def serves(self, taken: int) -> int | None:
        return 0

    def absorb(self, taken: int, row: np.ndarray) -> None:
        assert self._kind is not None
        self._dtype = row.dtype
        wide = row.astype(np.float64) if row.dtype.kind == "f" else row
        part = self._kind.first(wide, self._axes)
        self._total = part if self._total is None else self._kind.join(self._total, part)

    def emit(self, row: int) -> np.ndarray:
        assert self._kind is not None
        assert self._total is not None
        total, self._total = self._kind.last(self._total, self._count), None
        return total.reshape(self._dims).astype(self._dtype)


class ArgReduction:
    """ArgMax and ArgMin over the rows: the best so far, and where it was."""

    def __init__(self, site: Site) -> None:
        given, rows = attributes(site.node), site.read(0).rows
        assert rows is not None
        self._axis, self._rows = given.get("axis", 0) % len(site.read(0).dims), rows
        self._sign = 1 if site.node.op_type == "ArgMax" else -1
        self._last = bool(given.get("select_last_index", 0))
        self._dims = site.made.dims
        self._best: np.ndarray | None = None
        self._where: np.ndarray | None = None

    def serves(self, taken: int) -> int | None:
        return 0

    def absorb(self, taken: int, row: np.ndarray) -> None:
        rows = self._rows
        for place in range(row.shape[self._axis]):
            outer, inner = divmod(place, rows.inner)
            index = (outer * rows.size + taken) * rows.inner + inner
            value = row.take([place], axis=self._axis) * self._sign
            if self._best is None or self._where is None:
                self._best, self._where = value, np.full(value.shape, index, np.int64)
                continue
            later = index > self._where if self._last else index < self._where
            better = (value > self._best) | ((value == self._best) & later)
            self._best, self._where = np.where(better, value, self._best), np.where(better, index, self._where)

    def emit(self, row: int) -> np.ndarray:
        assert self._where is not None
        where, self._best, self._where = self._where, None, None
        return where.reshape(self._dims)


class LinearLayer:
    """Gemm or MatMul with a constant matrix over merged rows: each row meets its own part of the matrix."""

    def __init__(self, site: Site) -> None:
        node, given = site.node, attributes(site.node)
        left = node.input[0] in site.network.tensors
        matrix = site.constant(1 if left else 0)
        data = site.read(0 if left else 1)
        assert matrix is not None
        assert data.rows is not None
        gemm = node.op_type == "Gemm"
        self._flip = gemm and bool(given.get("transA", 0))
        if gemm and given.get("transB", 0):
            matrix = matrix.T
        self._left = left
        at = (matrix.ndim - 2 if matrix.ndim > 1 else 0) if left else matrix.ndim - 1
        self._parts = cut(matrix, Axis(at, data.rows.size, data.rows.outer, data.rows.inner))
        self._alpha = given.get("alpha", 1.0) if gemm else 1.0
        bias = site.constant(2) if gemm else None
        self._bias = None if bias is None else bias * given.get("beta", 1.0)
        self._dims, self._dtype = site.made.dims, matrix.dtype
        self._total: np.ndarray | None = None

    def serves(self, taken: int) -> int | None:
        return 0

    def absorb(self, taken: int, row: np.ndarray) -> None:
        row = row.T if self._flip else row
        part = self._parts[taken]
        product = np.matmul(row, part) if self._left else np.matmul(part, row)
        self._total = product if self._total is None else self._total + product

    def emit(self, row: int) -> np.ndarray:
        assert self._total is not None
        total, self._total = self._total * self._alpha, None
        if self._bias is not None:
            total = total + self._bias
        return total.reshape(self._dims).astype(self._dtype)
