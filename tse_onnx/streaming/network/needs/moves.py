"""Operators that move rows, repeat them or leave them out, and Resize, which may mix them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.network.needs.axis import Axis, reshaped, spatial, split
from tse_onnx.streaming.network.needs.rows import Need, listed, same, single, window
from tse_onnx.streaming.network.needs.rowwise import aligned, elementwise
from tse_onnx.streaming.network.needs.rule import Rule, barrier, by_data, count_of, needs_of
from tse_onnx.streaming.network.needs.taps import taps
from tse_onnx.streaming.network.needs.unfit import Unfit, at
from tse_onnx.streaming.network.needs.view import Flow, View, wrapped


def _reshape(view: View, direction: int) -> Flow:
    data = view.data
    lies = data.axis
    if lies is None or lies.size == 1:
        axis = spatial(view.dims, direction)
        return Flow(axis, needs_of(view, lambda operand: operand.all(count_of(axis))))
    moved = reshaped(lies, data.dims, view.dims)
    if moved is not None and moved.outer == 1 and moved.inner > 1 and len(view.dims) > 3:
        # A map again: its rows are finer than the tokens they were made of.
        finer = single(lies.size, (row // moved.inner for row in range(view.dims[moved.axis])))
        return Flow(Axis(moved.axis, view.dims[moved.axis]), needs_of(view, lambda _: finer))
    if moved is not None:
        return Flow(moved, needs_of(view, lambda _: same(lies.size)))
    coarse = split(lies, data.dims, view.dims)
    if coarse is not None:
        share = lies.size // coarse.size
        need = listed(lies.size, (range(row * share, (row + 1) * share) for row in range(coarse.size)))
        return Flow(coarse, needs_of(view, lambda _: need))
    return barrier(view, direction, "it moves rows into another axis")


def _transpose(view: View, direction: int) -> Flow:
    lies, rank = view.data.axis, len(view.dims)
    order = list(view.integers("perm") or range(rank - 1, -1, -1))
    if lies is None:
        return elementwise(view, direction) if rank < 3 else barrier(view, direction, "")
    if lies.axis not in order:
        raise Unfit("perm is no order of the axes")
    return Flow(lies.moved(order.index(lies.axis)), needs_of(view, lambda _: same(lies.size)))


def _depth_to_space(view: View, direction: int) -> Flow:
    axis, block = spatial(view.dims, direction), view.integer("blocksize", 1)
    if axis is None:
        return barrier(view, direction, "it moves channels")
    if block < 1:
        raise Unfit("blocksize is below 1")
    need = single(view.data.size(axis.axis), (row // block for row in range(axis.size)))
    return Flow(axis, needs_of(view, lambda operand: operand.seen(axis.axis, need)))


def _space_to_depth(view: View, direction: int) -> Flow:
    axis, block = spatial(view.dims, direction), view.integer("blocksize", 1)
    if axis is None:
        return barrier(view, direction, "it moves channels")
    if block < 1:
        raise Unfit("blocksize is below 1")
    need = window(view.data.size(axis.axis), axis.size, block, block, 1, 0)
    return Flow(axis, needs_of(view, lambda operand: operand.seen(axis.axis, need)))


def _chosen(view: View, direction: int) -> Axis | None:
    """Where the rows of operands of one rank lie: the finest of their axes."""
    axes = (operand.axis for operand in view.streaming)
    best = max((axis for axis in axes if axis is not None), key=lambda axis: axis.size, default=None)
    return best if best is not None else spatial(view.dims, direction)


def _picked(view: View, direction: int, axis: int, rows: Callable[[int], list[int | None]]) -> Flow:
    """An operator that takes, along `axis`, one index of its data for each index of its output, or none."""
    data, lies = view.data, _chosen(view, direction)
    if lies is None:
        return Flow(None, needs_of(view, lambda operand: operand.all(1)))
    if lies.axis != axis:
        return Flow(lies, needs_of(view, lambda operand: aligned(operand, lies, len(view.dims))))
    if not lies.plain:
        return barrier(view, direction, "it takes parts of merged rows")
    if not view.only_data_streams():
        return barrier(view, direction, "its indices are computed while the model runs")
    need = data.seen(axis, single(data.size(axis), rows(view.size(axis))))
    return Flow(Axis(axis, view.size(axis)), needs_of(view, lambda _: need))


def _concat(view: View, direction: int) -> Flow:
    axis, lies = view.axis("axis", 1, len(view.dims)), _chosen(view, direction)
    if lies is None:
        return Flow(None, needs_of(view, lambda operand: operand.all(1)))
    if lies.axis != axis:
        return Flow(lies, needs_of(view, lambda operand: aligned(operand, lies, len(view.dims))))
    if any(operand.axis is not None and operand.axis.outer > 1 for operand in view.streaming):
        return barrier(view, direction, "it joins merged rows")
    needs: list[Need | None] = []
    start, count = 0, view.dims[axis]
    for operand in view.operands:
        if operand is None:
            raise Unfit("an input is left out")
        size = operand.size(axis)
        inside = single(size, (row - start if start <= row < start + size else None for row in range(count)))
        needs.append(operand.seen(axis, inside) if operand.streams else None)
        start += size
    return Flow(Axis(axis, count), tuple(needs))


def _split(view: View, direction: int) -> Flow:
    axis = view.axis("axis", 0, len(view.dims))
    start = sum(at(dims, axis, "a shape") for dims in view.outputs[: view.slot])
    return _picked(view, direction, axis, lambda count: [start + row for row in range(count)])


def _slice(view: View, direction: int) -> Flow:
    rank, lies = len(view.dims), _chosen(view, direction)
    starts, ends = view.listed("starts", 1), view.listed("ends", 2)
    axes = view.listed("axes", 3) or tuple(range(len(starts or ())))
    steps = view.listed("steps", 4) or (1,) * len(axes)
    if starts is None or ends is None or len(view.streaming) != 1:
        return barrier(view, direction, "its bounds are computed while the model runs")
    if lies is None:
        return Flow(None, needs_of(view, lambda operand: operand.all(1)))
    if not len(axes) == len(starts) == len(steps):
        raise Unfit("starts, axes and steps are of different lengths")
    for axis, start, step in zip(axes, starts, steps, strict=True):
        if wrapped(axis, rank) == lies.axis:
            size = view.data.size(lies.axis)
            first = start + size if start < 0 else start
            first = min(max(first, 0), size - 1 if step < 0 else size)
            return _picked(view, direction, lies.axis, partial(_strided, first, step))
    return Flow(lies, needs_of(view, lambda operand: aligned(operand, lies, rank)))


def _strided(first: int, step: int, count: int) -> list[int | None]:
    return [first + step * row for row in range(count)]


def _pad(view: View, direction: int) -> Flow:
    rank, lies = len(view.dims), _chosen(view, direction)
    pads, axes = view.listed("pads", 1), view.listed("axes", 3) or tuple(range(rank))
    if pads is None or len(view.streaming) != 1:
        return barrier(view, direction, "its widths are computed while the model runs")
    if lies is None or lies.axis not in {wrapped(axis, rank) for axis in axes}:
        return elementwise(view, direction)
    before = at(pads, [axis % rank for axis in axes].index(lies.axis), "pads")
    size, mode = view.data.size(lies.axis), view.text("mode", "constant")
    if before == 0 and view.size(lies.axis) == size:
        return elementwise(view, direction)
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
    axis = view.axis("axis", 0, len(data.dims))
    indices = view.operand(1)
    if indices is None or not view.only_data_streams():
        return barrier(view, direction, "its indices are computed while the model runs")
    if lies is None:
        return barrier(view, direction, "")
    if lies.axis != axis:
        shift = len(indices.dims) - 1 if axis < lies.axis else 0
        return Flow(lies.moved(lies.axis + shift), needs_of(view, lambda _: same(lies.size)))
    values = view.constant(1)
    if values is None or not lies.plain:
        return barrier(view, direction, "its indices are not known")
    picked = np.asarray(values, np.int64) % data.dims[axis]
    if picked.ndim == 1:
        need = single(lies.size, picked.tolist())
        return Flow(Axis(axis, len(picked)), needs_of(view, lambda _: need))
    taken = Axis(axis, picked.shape[0]) if picked.ndim else None
    need = listed(lies.size, picked.reshape(count_of(taken), -1).tolist())
    return Flow(taken, needs_of(view, lambda _: need))


def _tile(view: View, direction: int) -> Flow:
    lies, repeats = view.data.axis, view.constant(1)
    if repeats is None:
        return barrier(view, direction, "its repeats are computed while the model runs")
    if lies is None or at(repeats.reshape(-1).tolist(), lies.axis, "repeats") == 1:
        return elementwise(view, direction) if lies is not None else barrier(view, direction, "")
    size = view.data.size(lies.axis)
    return _picked(view, direction, lies.axis, lambda count: [row % size for row in range(count)])


def _resize(view: View, direction: int) -> Flow:
    data, rank = view.data, len(view.dims)
    lies = data.axis if data.axis is not None else spatial(view.dims, direction)
    old = view.node.op_type == "Upsample" or view.opset < 11
    scales = view.listed("scales", 1 if old else 2) if not view.integers("scales") else None
    if lies is None:
        return Flow(None, needs_of(view, lambda operand: operand.all(1)))
    if not lies.plain or not view.only_data_streams():
        return barrier(view, direction, "its sizes are computed while the model runs")
    axes = [wrapped(axis, rank) for axis in view.integers("axes") or range(rank)]
    exact = view.constant(1 if old else 2)
    scale = _scale_of(view, exact, scales, axes, lies.axis)
    roi = None if old or (given := view.constant(1)) is None else given.reshape(-1)
    region = (0.0, 1.0)
    if roi is not None and roi.size == 2 * len(axes) and lies.axis in axes:
        position = axes.index(lies.axis)
        region = (float(roi[position]), float(roi[position + len(axes)]))
    size, count = data.size(lies.axis), view.size(lies.axis)
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
    return Flow(Axis(lies.axis, count), needs_of(view, lambda _: need))


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
            return float(at(found.floats, axes.index(axis), "scales"))
    return None


MOVES: Rules[Rule] = Rules(
    {
        ("Flatten", "Reshape", "Squeeze", "Unsqueeze"): by_data(_reshape),
        "Transpose": _transpose,
        "DepthToSpace": _depth_to_space,
        "SpaceToDepth": _space_to_depth,
        "Concat": _concat,
        "Split": _split,
        "Slice": _slice,
        "Pad": _pad,
        "Gather": _gather,
        "Tile": _tile,
        ("Resize", "Upsample"): _resize,
    }
)
