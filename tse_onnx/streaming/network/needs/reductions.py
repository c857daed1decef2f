"""Reductions and products with a constant matrix: what sums over the rows absorbs them."""

from __future__ import annotations

import numpy as np

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.network.needs.axis import Axis, spatial
from tse_onnx.streaming.network.needs.rows import listed, same
from tse_onnx.streaming.network.needs.rowwise import elementwise
from tse_onnx.streaming.network.needs.rule import Rule, barrier, count_of, needs_of
from tse_onnx.streaming.network.needs.view import Flow, Operand, View


def _global_pooling(view: View, direction: int) -> Flow:
    if view.integer("channels_last", 0):
        return _reduced(view, direction, set(range(1, len(view.data.dims) - 1)), keep=True)
    return _reduced(view, direction, set(range(2, len(view.data.dims))), keep=True)


def _reduction(view: View, direction: int) -> Flow:
    rank = len(view.data.dims)
    given = view.listed("axes", 1)
    if given is None and view.has(1):
        return barrier(view, direction, "its axes are computed while the model runs")
    if not given and view.integer("noop_with_empty_axes", 0):
        return elementwise(view, direction)
    axes = {axis % rank for axis in given} if given else set(range(rank))
    return _reduced(view, direction, axes, keep=bool(view.integer("keepdims", 1)))


def _arg_reduction(view: View, direction: int) -> Flow:
    axis = view.integer("axis", 0) % len(view.data.dims)
    return _reduced(view, direction, {axis}, keep=bool(view.integer("keepdims", 1)))


def _reduced(view: View, direction: int, axes: set[int], *, keep: bool) -> Flow:
    lies = view.data.axis
    if lies is None:
        axis = spatial(view.dims, direction)
        return Flow(axis, needs_of(view, lambda operand: operand.all(count_of(axis))))
    gone = 0 if keep else sum(axis < lies.axis for axis in axes)
    if lies.axis not in axes:
        return Flow(lies.moved(lies.axis - gone), needs_of(view, lambda _: same(lies.size)))
    axis = Axis(lies.axis, 1) if keep else None
    return Flow(axis, needs_of(view, lambda operand: operand.all(1)), absorbs=lies.size > 1)


def _gemm(view: View, direction: int) -> Flow:
    a = view.data
    if not view.only_data_streams():
        return barrier(view, direction, "both factors are computed while the model runs")
    contracted = 0 if view.integer("transA", 0) else 1
    return _product(view, a, contracted, free=0)


def _matmul(view: View, direction: int) -> Flow:
    first, second = view.operands[0], view.operands[3 if view.node.op_type == "QLinearMatMul" else 1]
    if first is None or second is None or len(view.streaming) != 1:
        return barrier(view, direction, "both factors are computed while the model runs")
    if view.node.op_type != "MatMul" and view.streaming[0].tokens > 1 and _sums_rows(view.streaming[0], first.streams):
        return barrier(view, direction, "it sums quantised rows")
    if first.streams:
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


REDUCES = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
GLOBAL_POOLS = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "com.microsoft::QLinearGlobalAveragePool")

REDUCTIONS: Rules[Rule] = Rules(
    {
        GLOBAL_POOLS: _global_pooling,
        REDUCES: _reduction,
        ("ArgMax", "ArgMin"): _arg_reduction,
        "Gemm": _gemm,
        ("MatMul", "MatMulInteger", "QLinearMatMul"): _matmul,
    }
)
