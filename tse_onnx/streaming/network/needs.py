"""Which rows of its inputs a row of each operator's output needs: one entry per family of operators.

An operator that is not in the table is a barrier: it needs all rows, and the result names it. The same entries serve
for columns, where a machine streams pixels: `direction` is the spatial axis they speak of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from tse_onnx.streaming.network.axis import Axis, reshaped, spatial, split
from tse_onnx.streaming.network.rows import Need, listed, same, single, spread, window
from tse_onnx.streaming.network.taps import taps
from tse_onnx.streaming.network.view import Flow, Operand, View

Rule = Callable[[View, int], Flow]


def flow_of(view: View, direction: int) -> Flow:
    """How the node's output comes from its inputs, row by row."""
    rule = _TABLE.get((_domain(view), view.node.op_type))
    if rule is None:
        return _barrier(view, direction, "the model does not know this operator")
    if view.slot and view.node.op_type not in _MANY_OUTPUTS:
        return _barrier(view, direction, f"output {view.slot} depends on the whole map")
    return rule(view, direction)


def known(domain: str, op: str) -> bool:
    """Whether the table has an entry for an operator."""
    return ("" if domain == "ai.onnx" else domain, op) in _TABLE


def _domain(view: View) -> str:
    return "" if view.node.domain == "ai.onnx" else view.node.domain


def _needs(view: View, need: Callable[[Operand], Need]) -> tuple[Need | None, ...]:
    return tuple(need(each) if each is not None and each.streams else None for each in view.operands)


def _by_data(rule: Rule) -> Rule:
    """A rule for the data alone. What else the node reads says which type or shape the output has; both are known, and
    none of its rows is waited for."""

    def flow(view: View, direction: int) -> Flow:
        found = rule(replace(view, operands=view.operands[:1]), direction)
        none = [()] * _count(found.axis)
        others = (listed(each.tokens, none) if each is not None and each.streams else None
                  for each in view.operands[1:])  # fmt: skip
        return replace(found, needs=(*found.needs, *others))

    return flow


def _count(axis: Axis | None) -> int:
    return axis.size if axis is not None else 1


def _barrier(view: View, direction: int, why: str) -> Flow:
    axis = spatial(view.dims, direction)
    for operand in view.streaming:
        lies = operand.axis
        if lies is not None and len(operand.dims) == len(view.dims) and lies.plain:
            axis = Axis(lies.axis, view.dims[lies.axis])
            break
    whole = all(operand.tokens == 1 for operand in view.streaming)
    return Flow(axis, _needs(view, lambda operand: operand.all(_count(axis))), barrier="" if whole else why)


# Elementwise, and whatever else makes row i of row i


def _elementwise(view: View, direction: int) -> Flow:
    rank = len(view.dims)
    lies = [
        operand.axis.moved(operand.axis.axis + rank - len(operand.dims)) if operand.axis is not None else None
        for operand in view.streaming
    ]
    chosen = max((axis for axis in lies if axis is not None), key=lambda axis: axis.size, default=None)
    if chosen is None:
        chosen = spatial(view.dims, direction)
    elif view.dims[chosen.axis] != chosen.outer * chosen.size * chosen.inner:
        chosen = Axis(chosen.axis, view.dims[chosen.axis])  # a constant spreads one row over many
    return Flow(chosen, _needs(view, lambda operand: _aligned(operand, chosen, rank)))


def _aligned(operand: Operand, chosen: Axis | None, rank: int) -> Need:
    if chosen is None or operand.axis is None:
        return operand.all(_count(chosen))
    lies = operand.axis.moved(operand.axis.axis + rank - len(operand.dims))
    if lies == chosen:
        return same(chosen.size)
    at = chosen.axis + len(operand.dims) - rank
    if lies.axis == chosen.axis and operand.dims[at] > 1:
        rows: list[set[int]] = [set() for _ in range(chosen.size)]
        for place in range(operand.dims[at]):  # digits of one axis, maybe counted differently
            rows[place // chosen.inner % chosen.size].add(place // lies.inner % lies.size)
        return listed(lies.size, rows)
    return operand.all(chosen.size)


def _along_channels(view: View, direction: int) -> Flow:
    """Normalises over an axis that must not be the rows' own."""
    axis = view.integer("axis", -1 if view.opset >= 13 else 1) % len(view.dims)
    lies = view.data.axis
    reached = {axis} if view.opset >= 13 or view.node.op_type == "LpNormalization" else set(range(axis, len(view.dims)))
    if lies is not None and lies.axis in reached and lies.size > 1:
        return _barrier(view, direction, "it normalises over all rows")
    return _elementwise(view, direction)


def _trailing_normalisation(view: View, direction: int) -> Flow:
    axis = view.integer("axis", -1) % len(view.dims)
    if any(operand.axis is not None and operand.axis.axis >= axis and operand.tokens > 1 for operand in view.streaming):
        return _barrier(view, direction, "it normalises over all rows")
    return _elementwise(view, direction)


def _global_normalisation(view: View, direction: int) -> Flow:
    return _barrier(view, direction, "it normalises over all rows")


def _batch_normalisation(view: View, direction: int) -> Flow:
    if view.integer("training_mode", 0):
        return _barrier(view, direction, "it normalises over all rows")
    return _elementwise(view, direction)


def _running(view: View, direction: int) -> Flow:
    """CumSum: the sum so far is an accumulator of one row."""
    operand, value = view.data, view.constant(1)
    lies = operand.axis
    if value is None or lies is None:
        return _barrier(view, direction, "its axis is computed while the model runs")
    if int(value.reshape(-1)[0]) % len(view.dims) != lies.axis or operand.tokens == 1:
        return _elementwise(view, direction)
    if view.integer("reverse", 0) or not lies.plain:
        return _barrier(view, direction, "it adds from the last row on")
    back = view.integer("exclusive", 0)
    need = single(lies.size, (row - back if row >= back else None for row in range(lies.size)))
    return Flow(lies, _needs(view, lambda _: need), accumulates=True)


# Windows


def _convolution(view: View, direction: int) -> Flow:
    data, weight = view.data, view.operands[3 if view.node.op_type == "QLinearConv" else 1]
    axis = spatial(view.dims, direction)
    if not view.only_data_streams() or weight is None:
        return _barrier(view, direction, "its weights are computed while the model runs")
    if axis is None:
        return Flow(None, _needs(view, lambda operand: operand.all(1)))
    return Flow(axis, _needs(view, lambda _: _window(view, data, direction, weight.dims[2 + direction])))


def _pooling(view: View, direction: int) -> Flow:
    axis, kernel = spatial(view.dims, direction), view.integers("kernel_shape")
    if axis is None or kernel is None:
        return _elementwise(view, direction)
    need = _window(view, view.data, direction, kernel[direction])
    lies = view.data.axis
    single_rows = lies is not None and lies.axis == axis.axis and lies.plain
    sums_up = single_rows and need.disjoint and any(len(rows) > 1 for rows in need.rows)
    return Flow(axis, _needs(view, lambda _: need), absorbs=sums_up)


def _window(view: View, data: Operand, direction: int, kernel: int) -> Need:
    size, count = data.dims[2 + direction], view.dims[2 + direction]
    stride = _at(view.integers("strides"), direction, 1)
    dilation = _at(view.integers("dilations"), direction, 1)
    auto = view.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        total = max(0, (count - 1) * stride + dilation * (kernel - 1) + 1 - size)
        pad = total // 2 if auto == "SAME_UPPER" else total - total // 2
    else:
        pad = 0 if auto == "VALID" else _at(view.integers("pads"), direction, 0)
    return data.seen(2 + direction, window(size, count, kernel, stride, dilation, pad))


def _at(values: object, position: int, default: int) -> int:
    return int(values[position]) if isinstance(values, (tuple, list)) and position < len(values) else default


def _transposed_convolution(view: View, direction: int) -> Flow:
    data, weight = view.data, view.operands[1]
    axis = spatial(view.dims, direction)
    if axis is None or not view.only_data_streams() or weight is None:
        return _barrier(view, direction, "its weights are computed while the model runs")
    size, count, kernel = data.dims[2 + direction], axis.size, weight.dims[2 + direction]
    stride = _at(view.integers("strides"), direction, 1)
    dilation = _at(view.integers("dilations"), direction, 1)
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
    return Flow(axis, _needs(view, lambda _: need))


# Reductions


def _global_pooling(view: View, direction: int) -> Flow:
    if view.integer("channels_last", 0):
        return _reduced(view, direction, set(range(1, len(view.data.dims) - 1)), keep=True)
    return _reduced(view, direction, set(range(2, len(view.data.dims))), keep=True)


def _reduction(view: View, direction: int) -> Flow:
    rank = len(view.data.dims)
    given = view.listed("axes", 1)
    if given is None and view.has(1):
        return _barrier(view, direction, "its axes are computed while the model runs")
    if not given and view.integer("noop_with_empty_axes", 0):
        return _elementwise(view, direction)
    axes = {axis % rank for axis in given} if given else set(range(rank))
    return _reduced(view, direction, axes, keep=bool(view.integer("keepdims", 1)))


def _arg_reduction(view: View, direction: int) -> Flow:
    axis = view.integer("axis", 0) % len(view.data.dims)
    return _reduced(view, direction, {axis}, keep=bool(view.integer("keepdims", 1)))


def _reduced(view: View, direction: int, axes: set[int], *, keep: bool) -> Flow:
    lies = view.data.axis
    if lies is None:
        axis = spatial(view.dims, direction)
        return Flow(axis, _needs(view, lambda operand: operand.all(_count(axis))))
    gone = 0 if keep else sum(axis < lies.axis for axis in axes)
    if lies.axis not in axes:
        return Flow(lies.moved(lies.axis - gone), _needs(view, lambda _: same(lies.size)))
    axis = Axis(lies.axis, 1) if keep else None
    return Flow(axis, _needs(view, lambda operand: operand.all(1)), absorbs=lies.size > 1)


def _gemm(view: View, direction: int) -> Flow:
    a = view.data
    if not view.only_data_streams():
        return _barrier(view, direction, "both factors are computed while the model runs")
    contracted = 0 if view.integer("transA", 0) else 1
    return _product(view, a, contracted, free=0)


def _matmul(view: View, direction: int) -> Flow:
    first, second = view.operands[0], view.operands[3 if view.node.op_type == "QLinearMatMul" else 1]
    if first is None or second is None or len(view.streaming) != 1:
        return _barrier(view, direction, "both factors are computed while the model runs")
    if view.node.op_type != "MatMul" and view.streaming[0].tokens > 1 and _sums_rows(view.streaming[0], first.streams):
        return _barrier(view, direction, "it sums quantised rows")
    if first.streams:
        return _product(view, first, len(first.dims) - 1, free=None)
    lies, rank = second.axis, len(second.dims)
    if lies is None or lies.axis != rank - 2 or rank < 2:
        return _product(view, second, max(rank - 2, 0), free=None)
    matrix = view.constant(0)
    if matrix is None or matrix.ndim < 2 or not lies.plain or len(view.dims) < 2:
        return _barrier(view, direction, "it mixes all rows")
    mixed = (matrix.reshape(-1, *matrix.shape[-2:]) != 0).any(axis=0)
    need = listed(lies.size, (np.flatnonzero(row).tolist() for row in mixed))
    return Flow(Axis(len(view.dims) - 2, matrix.shape[-2]), _needs(view, lambda _: need))


def _sums_rows(operand: Operand, left: bool) -> bool:
    contracted = len(operand.dims) - (1 if left else 2)
    return operand.axis is not None and operand.axis.axis == contracted


def _product(view: View, operand: Operand, contracted: int, free: int | None) -> Flow:
    """A product with a constant matrix that sums over axis `contracted` of the operand."""
    lies = operand.axis
    if lies is None or lies.axis == contracted:
        return Flow(None, _needs(view, lambda each: each.all(1)), absorbs=operand.tokens > 1)
    aligned = lies.axis + len(view.dims) - len(operand.dims) if free is None else free
    return Flow(lies.moved(aligned), _needs(view, lambda _: same(lies.size)))


# Layout


def _reshape(view: View, direction: int) -> Flow:
    data = view.data
    lies = data.axis
    if lies is None or lies.size == 1:
        axis = spatial(view.dims, direction)
        return Flow(axis, _needs(view, lambda operand: operand.all(_count(axis))))
    moved = reshaped(lies, data.dims, view.dims)
    if moved is not None and moved.outer == 1 and moved.inner > 1 and len(view.dims) > 3:
        # A map again: its rows are finer than the tokens they were made of.
        finer = single(lies.size, (row // moved.inner for row in range(view.dims[moved.axis])))
        return Flow(Axis(moved.axis, view.dims[moved.axis]), _needs(view, lambda _: finer))
    if moved is not None:
        return Flow(moved, _needs(view, lambda _: same(lies.size)))
    coarse = split(lies, data.dims, view.dims)
    if coarse is not None:
        share = lies.size // coarse.size
        need = listed(lies.size, (range(row * share, (row + 1) * share) for row in range(coarse.size)))
        return Flow(coarse, _needs(view, lambda _: need))
    return _barrier(view, direction, "it moves rows into another axis")


def _transpose(view: View, direction: int) -> Flow:
    lies, rank = view.data.axis, len(view.dims)
    order = list(view.integers("perm") or range(rank - 1, -1, -1))
    if lies is None:
        return _elementwise(view, direction) if rank < 3 else _barrier(view, direction, "")
    return Flow(lies.moved(order.index(lies.axis)), _needs(view, lambda _: same(lies.size)))


def _depth_to_space(view: View, direction: int) -> Flow:
    axis, block = spatial(view.dims, direction), view.integer("blocksize", 1)
    if axis is None:
        return _barrier(view, direction, "it moves channels")
    need = single(view.data.dims[axis.axis], (row // block for row in range(axis.size)))
    return Flow(axis, _needs(view, lambda operand: operand.seen(axis.axis, need)))


def _space_to_depth(view: View, direction: int) -> Flow:
    axis, block = spatial(view.dims, direction), view.integer("blocksize", 1)
    if axis is None:
        return _barrier(view, direction, "it moves channels")
    need = window(view.data.dims[axis.axis], axis.size, block, block, 1, 0)
    return Flow(axis, _needs(view, lambda operand: operand.seen(axis.axis, need)))


def _chosen(view: View, direction: int) -> Axis | None:
    """Where the rows of operands of one rank lie: the finest of their axes."""
    axes = (operand.axis for operand in view.streaming)
    best = max((axis for axis in axes if axis is not None), key=lambda axis: axis.size, default=None)
    return best if best is not None else spatial(view.dims, direction)


def _picked(view: View, direction: int, axis: int, rows: Callable[[int], list[int | None]]) -> Flow:
    """An operator that takes, along `axis`, one index of its data for each index of its output, or none."""
    data, lies = view.data, _chosen(view, direction)
    if lies is None:
        return Flow(None, _needs(view, lambda operand: operand.all(1)))
    if lies.axis != axis:
        return Flow(lies, _needs(view, lambda operand: _aligned(operand, lies, len(view.dims))))
    if not lies.plain:
        return _barrier(view, direction, "it takes parts of merged rows")
    if not view.only_data_streams():
        return _barrier(view, direction, "its indices are computed while the model runs")
    need = data.seen(axis, single(data.dims[axis], rows(view.dims[axis])))
    return Flow(Axis(axis, view.dims[axis]), _needs(view, lambda _: need))


def _concat(view: View, direction: int) -> Flow:
    axis, lies = view.integer("axis", 1) % len(view.dims), _chosen(view, direction)
    if lies is None:
        return Flow(None, _needs(view, lambda operand: operand.all(1)))
    if lies.axis != axis:
        return Flow(lies, _needs(view, lambda operand: _aligned(operand, lies, len(view.dims))))
    if any(operand.axis is not None and operand.axis.outer > 1 for operand in view.streaming):
        return _barrier(view, direction, "it joins merged rows")
    needs: list[Need | None] = []
    start, count = 0, view.dims[axis]
    for operand in view.operands:
        assert operand is not None
        size = operand.dims[axis]
        inside = single(size, (row - start if start <= row < start + size else None for row in range(count)))
        needs.append(operand.seen(axis, inside) if operand.streams else None)
        start += size
    return Flow(Axis(axis, count), tuple(needs))


def _split(view: View, direction: int) -> Flow:
    axis = view.integer("axis", 0) % len(view.dims)
    start = sum(dims[axis] for dims in view.outputs[: view.slot])
    return _picked(view, direction, axis, lambda count: [start + row for row in range(count)])


def _slice(view: View, direction: int) -> Flow:
    rank, lies = len(view.dims), _chosen(view, direction)
    starts, ends = view.listed("starts", 1), view.listed("ends", 2)
    axes = view.listed("axes", 3) or tuple(range(len(starts or ())))
    steps = view.listed("steps", 4) or (1,) * len(axes)
    if starts is None or ends is None or len(view.streaming) != 1:
        return _barrier(view, direction, "its bounds are computed while the model runs")
    if lies is None:
        return Flow(None, _needs(view, lambda operand: operand.all(1)))
    for axis, start, step in zip(axes, starts, steps, strict=True):
        if axis % rank == lies.axis:
            size = view.data.dims[lies.axis]
            first = start + size if start < 0 else start
            first = min(max(first, 0), size - 1 if step < 0 else size)
            return _picked(view, direction, lies.axis, partial(_strided, first, step))
    return Flow(lies, _needs(view, lambda operand: _aligned(operand, lies, rank)))


def _strided(first: int, step: int, count: int) -> list[int | None]:
    return [first + step * row for row in range(count)]


def _pad(view: View, direction: int) -> Flow:
    rank, lies = len(view.dims), _chosen(view, direction)
    pads, axes = view.listed("pads", 1), view.listed("axes", 3) or tuple(range(rank))
    if pads is None or len(view.streaming) != 1:
        return _barrier(view, direction, "its widths are computed while the model runs")
    if lies is None or lies.axis not in {axis % rank for axis in axes}:
        return _elementwise(view, direction)
    before = pads[[axis % rank for axis in axes].index(lies.axis)]
    size, mode = view.data.dims[lies.axis], view.text("mode", "constant")
    if before == 0 and view.dims[lies.axis] == size:
        return _elementwise(view, direction)
    return _picked(view, direction, lies.axis, lambda n: [_padded(row - before, size, mode) for row in range(n)])


def _padded(row: int, size: int, mode: str) -> int | None:
    """The row that stands at `row`, which may lie outside the map."""
    if 0 <= row < size:
        return row
    if mode == "edge":
        return min(max(row, 0), size - 1)
    if mode == "wrap":
        return row % size
    if mode == "reflect":
        period = max(1, 2 * (size - 1))
        row %= period
        return row if row < size else period - row
    return None


def _gather(view: View, direction: int) -> Flow:
    data, lies = view.data, view.data.axis
    axis = view.integer("axis", 0) % len(data.dims)
    indices = view.operands[1]
    if indices is None or not view.only_data_streams():
        return _barrier(view, direction, "its indices are computed while the model runs")
    if lies is None:
        return _barrier(view, direction, "")
    if lies.axis != axis:
        shift = len(indices.dims) - 1 if axis < lies.axis else 0
        return Flow(lies.moved(lies.axis + shift), _needs(view, lambda _: same(lies.size)))
    values = view.constant(1)
    if values is None or not lies.plain:
        return _barrier(view, direction, "its indices are not known")
    picked = np.asarray(values, np.int64) % data.dims[axis]
    if picked.ndim == 1:
        need = single(lies.size, picked.tolist())
        return Flow(Axis(axis, len(picked)), _needs(view, lambda _: need))
    taken = Axis(axis, picked.shape[0]) if picked.ndim else None
    need = listed(lies.size, picked.reshape(_count(taken), -1).tolist())
    return Flow(taken, _needs(view, lambda _: need))


def _tile(view: View, direction: int) -> Flow:
    lies, repeats = view.data.axis, view.constant(1)
    if repeats is None:
        return _barrier(view, direction, "its repeats are computed while the model runs")
    if lies is None or int(repeats.reshape(-1)[lies.axis]) == 1:
        return _elementwise(view, direction) if lies is not None else _barrier(view, direction, "")
    size = view.data.dims[lies.axis]
    return _picked(view, direction, lies.axis, lambda count: [row % size for row in range(count)])


def _resize(view: View, direction: int) -> Flow:
    data, rank = view.data, len(view.dims)
    lies = data.axis if data.axis is not None else spatial(view.dims, direction)
    old = view.node.op_type == "Upsample" or view.opset < 11
    scales = view.listed("scales", 1 if old else 2) if not view.integers("scales") else None
    if lies is None:
        return Flow(None, _needs(view, lambda operand: operand.all(1)))
    if not lies.plain or not view.only_data_streams():
        return _barrier(view, direction, "its sizes are computed while the model runs")
    axes = [axis % rank for axis in view.integers("axes") or range(rank)]
    exact = view.constant(1 if old else 2)
    scale = _scale_of(view, exact, scales, axes, lies.axis)
    roi = None if old or (given := view.constant(1)) is None else given.reshape(-1)
    region = (0.0, 1.0)
    if roi is not None and roi.size == 2 * len(axes) and lies.axis in axes:
        position = axes.index(lies.axis)
        region = (float(roi[position]), float(roi[position + len(axes)]))
    size, count = data.dims[lies.axis], view.dims[lies.axis]
    mode = view.text("mode", "nearest")
    rows = taps(
        size,
        count,
        mode={"bilinear": "linear"}.get(mode, mode),
        transform="asymmetric" if old else view.text("coordinate_transformation_mode", "half_pixel"),
        nearest="floor" if old else view.text("nearest_mode", "round_prefer_floor"),
        scale=scale,
        roi=region,
        antialias=bool(view.integer("antialias", 0)),
        cubic=view.number("cubic_coeff_a", -0.75),
        exclude_outside=bool(view.integer("exclude_outside", 0)),
    )
    need = data.seen(lies.axis, listed(size, rows))
    return Flow(Axis(lies.axis, count), _needs(view, lambda _: need))


def _scale_of(
    view: View, exact: np.ndarray | None, scales: tuple[int, ...] | None, axes: list[int], axis: int
) -> float | None:
    """The scale stated for an axis; None where sizes are stated."""
    if axis not in axes:
        return 1.0
    if exact is not None and exact.size == len(axes):
        return float(exact.reshape(-1)[axes.index(axis)])
    if scales is None and view.node.op_type == "Upsample":
        found = next((each for each in view.node.attribute if each.name == "scales"), None)
        if found is not None:
            return float(found.floats[axes.index(axis)])
    return None


_ELEMENTWISE = [
    "Abs",
    "Acos",
    "Acosh",
    "Add",
    "And",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LRN",
    "Max",
    "Mean",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "QuantizeLinear",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Sum",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Where",
    "Xor",
]
_QUANTISED_ELEMENTWISE = [
    "BiasGelu",
    "DequantizeLinear",
    "FastGelu",
    "Gelu",
    "QLinearAdd",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearSigmoid",
    "QuantizeLinear",
    "QuickGelu",
]
_REDUCTIONS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
]
_MANY_OUTPUTS = frozenset({"Split"})

# The table: which rule holds for which operators.
_FAMILIES: tuple[tuple[Rule, tuple[str, ...]], ...] = (
    (_elementwise, tuple(_ELEMENTWISE)),
    (_by_data(_elementwise), ("CastLike", "Expand")),
    (_batch_normalisation, ("BatchNormalization",)),
    (_along_channels, ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization")),
    (_trailing_normalisation, ("LayerNormalization", "RMSNormalization")),
    (_global_normalisation, ("InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization")),
    (_running, ("CumSum",)),
    (_convolution, ("Conv", "ConvInteger", "QLinearConv")),
    (_transposed_convolution, ("ConvTranspose",)),
    (_pooling, ("AveragePool", "MaxPool", "LpPool")),
    (_global_pooling, ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")),
    (_reduction, tuple(_REDUCTIONS)),
    (_arg_reduction, ("ArgMax", "ArgMin")),
    (_gemm, ("Gemm",)),
    (_matmul, ("MatMul", "MatMulInteger", "QLinearMatMul")),
    (_by_data(_reshape), ("Flatten", "Reshape", "Squeeze", "Unsqueeze")),
    (_transpose, ("Transpose",)),
    (_depth_to_space, ("DepthToSpace",)),
    (_space_to_depth, ("SpaceToDepth",)),
    (_concat, ("Concat",)),
    (_split, ("Split",)),
    (_slice, ("Slice",)),
    (_pad, ("Pad",)),
    (_gather, ("Gather",)),
    (_tile, ("Tile",)),
    (_resize, ("Resize", "Upsample")),
)
_TABLE: dict[tuple[str, str], Rule] = {("", op): rule for rule, ops in _FAMILIES for op in ops} | {
    ("com.microsoft", op): _elementwise for op in _QUANTISED_ELEMENTWISE
}
_TABLE["com.microsoft", "QLinearGlobalAveragePool"] = _global_pooling
