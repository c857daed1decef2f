"""Products with a constant matrix: what sums over the rows absorbs them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.network.needs.axis import COLUMNS, Axis
from tse_onnx.streaming.network.needs.rows import everything, listed, same
from tse_onnx.streaming.network.needs.rule import Rule, barrier, needs_of
from tse_onnx.streaming.network.needs.view import Flow, Operand, View


def _gemm(view: View, direction: int) -> Flow:
    a = view.data
    if not view.only_data_streams():
        return barrier(view, direction, "both factors are computed while the model runs")
    contracted = 0 if view.integer("transA", 0) else 1
    return _product(view, a, contracted, free=0)


def _matmul(view: View, direction: int) -> Flow:
    first, second = view.operand(0), view.operand(3 if view.node.op_type == "QLinearMatMul" else 1)
    if first is None or second is None or len(view.streaming) != 1:
        return barrier(view, direction, "both factors are computed while the model runs")
    if view.node.op_type != "MatMul" and view.streaming[0].tokens > 1 and _sums_rows(view.streaming[0], first.streams):
        return barrier(view, direction, "it sums quantised rows")
    if first.streams:
        if _repeats(first, second, direction):
            width = view.dims[-1]
            return Flow(Axis(len(view.dims) - 1, width), needs_of(view, lambda _: everything(1, width)))
        if (mixed := _mixes_columns(view, first)) is not None and (direction == COLUMNS or _goes_on(mixed)):
            need = listed(mixed.shape[0], (np.flatnonzero(column).tolist() for column in mixed.T))
            return Flow(Axis(len(view.dims) - 1, mixed.shape[1]), needs_of(view, lambda _: need))
        return _product(view, first, len(first.dims) - 1, free=None)
    lies, rank = second.axis, len(second.dims)
    if lies is None or lies.axis != rank - 2 or rank < 2:
        return _product(view, second, max(rank - 2, 0), free=None)
    matrix = view.constant(0)
    if matrix is None or matrix.ndim < 2 or not lies.plain or len(view.dims) < 2:
        return barrier(view, direction, "it mixes all rows")
    mixed = (matrix.reshape(-1, *matrix.shape[-2:]) != 0).any(axis=0)
    need = listed(lies.size, (np.flatnonzero(row).tolist() for row in mixed))
    return Flow(Axis(len(view.dims) - 2, matrix.shape[-2]), needs_of(view, lambda _: need))


def _mixes_columns(view: View, operand: Operand) -> NDArray[np.bool_] | None:
    """Which columns of a map go into which of the product, by a constant matrix that mixes some of them, as that of a
    running squeeze does; None for any other product, which sums over all that it reads."""
    matrix, lies = view.constant(1), operand.axis
    if matrix is None or matrix.ndim != 2 or lies is None or lies.axis != len(operand.dims) - 1 or not lies.plain:
        return None
    mixed: NDArray[np.bool_] = matrix != 0
    return None if mixed.all() else mixed


def _goes_on(mixed: NDArray[np.bool_]) -> bool:
    """Whether products are of rows that follow each other, the first ones without the last rows."""
    runs = np.diff(mixed.astype(np.int8), axis=0, prepend=0, append=0) == 1
    return bool((runs.sum(axis=0) == 1).all()) and not mixed[-1, 0]


def _repeats(first: Operand, second: Operand, direction: int) -> bool:
    """Whether a row of one column is made wide, by numbers for each column."""
    lies = first.axis
    at_end = lies is None or lies.axis == len(first.dims) - 1
    return direction == COLUMNS and len(first.dims) > 2 and first.dims[-1] == 1 and len(second.dims) == 2 and at_end


def _sums_rows(operand: Operand, left: bool) -> bool:
    contracted = len(operand.dims) - (1 if left else 2)
    return operand.axis is not None and operand.axis.axis == contracted


def _product(view: View, operand: Operand, contracted: int, free: int | None) -> Flow:
    """A product with a constant matrix that sums over axis `contracted` of the operand."""
    lies = operand.axis
    if lies is None or lies.axis == contracted:
        return Flow(None, needs_of(view, lambda each: each.all(1)), absorbs=operand.tokens > 1)
    aligned = lies.axis + len(view.dims) - len(operand.dims) if free is None else free
    return Flow(lies.moved(aligned), needs_of(view, lambda _: same(lies.size)))


PRODUCTS: Rules[Rule] = Rules(
    {
        "Gemm": _gemm,
        ("MatMul", "MatMulInteger", "QLinearMatMul"): _matmul,
    }
)
