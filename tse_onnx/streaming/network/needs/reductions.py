"""Reductions: what reduces the rows absorbs them."""

from __future__ import annotations

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.network.needs.axis import Axis, spatial
from tse_onnx.streaming.network.needs.rows import same
from tse_onnx.streaming.network.needs.rowwise import elementwise
from tse_onnx.streaming.network.needs.rule import Rule, barrier, count_of, needs_of
from tse_onnx.streaming.network.needs.view import Flow, View, wrapped


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
    axes = {wrapped(axis, rank) for axis in given} if given else set(range(rank))
    return _reduced(view, direction, axes, keep=bool(view.integer("keepdims", 1)))


def _arg_reduction(view: View, direction: int) -> Flow:
    axis = view.axis("axis", 0, len(view.data.dims))
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


REDUCES = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
ARGUMENTS = ("ArgMax", "ArgMin")
GLOBAL_POOLS = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "com.microsoft::QLinearGlobalAveragePool")

REDUCTIONS: Rules[Rule] = Rules(
    {
        GLOBAL_POOLS: _global_pooling,
        REDUCES: _reduction,
        ARGUMENTS: _arg_reduction,
    }
)
