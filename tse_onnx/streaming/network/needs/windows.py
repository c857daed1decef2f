"""Convolutions and poolings: the rows under a window."""

from __future__ import annotations

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.network.needs.axis import spatial
from tse_onnx.streaming.network.needs.rows import Need, spread, window
from tse_onnx.streaming.network.needs.rowwise import elementwise
from tse_onnx.streaming.network.needs.rule import Rule, barrier, needs_of
from tse_onnx.streaming.network.needs.unfit import Unfit, at
from tse_onnx.streaming.network.needs.view import Flow, Operand, View


def _convolution(view: View, direction: int) -> Flow:
    data, weight = view.data, view.operand(3 if view.node.op_type == "QLinearConv" else 1)
    axis = spatial(view.dims, direction)
    if not view.only_data_streams() or weight is None:
        return barrier(view, direction, "its weights are computed while the model runs")
    if axis is None:
        return Flow(None, needs_of(view, lambda operand: operand.all(1)))
    return Flow(axis, needs_of(view, lambda _: _window(view, data, direction, weight.size(2 + direction))))


def _pooling(view: View, direction: int) -> Flow:
    axis, kernel = spatial(view.dims, direction), view.integers("kernel_shape")
    if axis is None or kernel is None:
        return elementwise(view, direction)
    need = _window(view, view.data, direction, at(kernel, direction, "kernel_shape"))
    lies = view.data.axis
    single_rows = lies is not None and lies.axis == axis.axis and lies.plain
    sums_up = single_rows and need.disjoint and any(len(rows) > 1 for rows in need.rows)
    return Flow(axis, needs_of(view, lambda _: need), absorbs=sums_up)


def _window(view: View, data: Operand, direction: int, kernel: int) -> Need:
    size, count = data.size(2 + direction), view.size(2 + direction)
    stride, dilation = _steps(view, direction)
    auto = view.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        total = max(0, (count - 1) * stride + dilation * (kernel - 1) + 1 - size)
        pad = total // 2 if auto == "SAME_UPPER" else total - total // 2
    else:
        pad = 0 if auto == "VALID" else _at(view.integers("pads"), direction, 0)
    return data.seen(2 + direction, window(size, count, kernel, stride, dilation, pad))


def _steps(view: View, direction: int) -> tuple[int, int]:
    """The stride and the dilation."""
    stride = _at(view.integers("strides"), direction, 1)
    dilation = _at(view.integers("dilations"), direction, 1)
    if min(stride, dilation) < 1:
        raise Unfit("a stride or a dilation is below 1")
    return stride, dilation


def _at(values: object, position: int, default: int) -> int:
    return int(values[position]) if isinstance(values, (tuple, list)) and position < len(values) else default


def _transposed_convolution(view: View, direction: int) -> Flow:
    data, weight = view.data, view.operand(1)
    axis = spatial(view.dims, direction)
    if axis is None or not view.only_data_streams() or weight is None:
        return barrier(view, direction, "its weights are computed while the model runs")
    size, count, kernel = data.size(2 + direction), axis.size, weight.size(2 + direction)
    stride, dilation = _steps(view, direction)
    auto, stated = view.text("auto_pad", "NOTSET"), view.integers("output_shape")
    if stated or auto in ("SAME_UPPER", "SAME_LOWER"):
        extra = _at(view.integers("output_padding"), direction, 0)
        total = max(0, stride * (size - 1) + extra + (kernel - 1) * dilation + 1 - count)
        pad = total // 2 if auto != "SAME_LOWER" and auto != "NOTSET" else total - total // 2
        if auto == "NOTSET":
            pad = total // 2
    else:
        pad = 0 if auto == "VALID" else _at(view.integers("pads"), direction, 0)
    need = data.seen(2 + direction, spread(size, count, kernel, stride, dilation, pad))
    return Flow(axis, needs_of(view, lambda _: need))


POOLINGS = ("AveragePool", "LpPool", "MaxPool")

WINDOWS: Rules[Rule] = Rules(
    {
        ("Conv", "ConvInteger", "QLinearConv"): _convolution,
        "ConvTranspose": _transposed_convolution,
        POOLINGS: _pooling,
    }
)
