"""Products with a constant matrix: a row meets its own part of the matrix, or is mixed with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.execute.kernels.attributes import attributes
from tse_onnx.streaming.execute.kernels.cutting import cut, row_shape
from tse_onnx.streaming.execute.kernels.kernel import Absorbing, Kernel, Rows, Rule, Site
from tse_onnx.streaming.execute.kernels.rowwise import rowwise
from tse_onnx.streaming.network.needs.axis import Axis


class RowMatrix:
    """A constant matrix times the rows, in front of them, or behind them where they are columns: each row of the output
    is a weighted sum of those whose weight is not zero."""

    def __init__(self, site: Site, *, front: bool) -> None:
        slot = 0 if front else 1
        matrix, data = site.constant(slot), site.read(1 - slot)
        assert matrix is not None
        self._weights = matrix if front else matrix.swapaxes(-1, -2)
        self._front, self._name, self._tall = front, data.name, data.row_count
        self._shape = row_shape(site.made.dims, site.made.rows)

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        used = [number for number in range(self._tall) if np.any(self._weights[..., row, number])]
        return {self._name: used}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        used = self.takes(row)[self._name]
        part = self._weights[..., row : row + 1, :][..., list(used)]
        if not used:
            return np.zeros(self._shape, self._weights.dtype)
        taken = [rows[self._name][number] for number in used]
        made: np.ndarray = (
            np.matmul(part, np.concatenate(taken, axis=-2)) if self._front
            else np.matmul(np.concatenate(taken, axis=-1), part.swapaxes(-1, -2))
        )  # fmt: skip
        return made


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


def _matmul(site: Site) -> Kernel:
    for front in (True, False):
        if _mixes_rows(site, front):
            return RowMatrix(site, front=front)
    return rowwise(site)


def _mixes_rows(site: Site, front: bool) -> bool:
    """Whether the matrix stands in front of the rows, or behind rows that are columns and stay some."""
    matrix = site.constant(0 if front else 1)
    if matrix is None or matrix.ndim < 2:
        return False
    data = site.read(1 if front else 0)
    rank, lies = len(data.dims), (data.rows, site.made.rows)
    if front:
        return data.rows is not None and data.rows.axis == rank - 2
    return all(rows is not None and rows.axis == rank - 1 for rows in lies)


PRODUCTS: Rules[Rule] = Rules({"MatMul": _matmul, ("Gemm", "MatMulInteger", "QLinearMatMul"): rowwise})
ABSORBERS: Rules[Absorbing] = Rules({("Gemm", "MatMul"): LinearLayer})
