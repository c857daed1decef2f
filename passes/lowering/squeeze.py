"""The means: one per tile, as [N, C, tiles, 1]."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from tse_onnx.passes.blocks.block import Anatomy
from tse_onnx.passes.blocks.tiling import Cover, OpenStrips, Running, Tile, Window
from tse_onnx.passes.graph.layout import SPATIAL
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.passes.lowering.style import Means

_HALF = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})


def squeeze(draft: Draft, anatomy: Anatomy, cover: Cover | OpenStrips, means: Means) -> None:
    """Add the nodes that compute the means, the last one under the name that the global mean had."""
    source = anatomy.squeeze.input
    if isinstance(cover, OpenStrips):
        _open_strips(draft, anatomy, cover, source)
    elif isinstance(cover, Running):
        _running(draft, anatomy, cover, source, means)
    elif isinstance(cover, Window):
        axis = anatomy.squeeze.spatial[cover.axis]
        strip = draft.sliced("squeeze_strip", source, [axis], [cover.start], [cover.start + cover.rows])
        _pool(draft, anatomy, Tile(cover.sizes, cover.axis, cover.sizes), strip)
    else:
        _pool(draft, anatomy, cover, source)


def _pool(draft: Draft, anatomy: Anatomy, tile: Tile, source: str) -> None:
    if draft.double:
        _averaged(draft, anatomy, tile, source)
    else:
        _average_pool(draft, anatomy, tile, source)


def _averaged(draft: Draft, anatomy: Anatomy, tile: Tile, source: str) -> None:
    """In double precision, for which onnxruntime has no AveragePool: along each axis a product with weights."""
    whole = [axis for axis, many in enumerate(tile.grid) if many == 1]
    value = _channels_first(draft, anatomy, _row_means(draft, anatomy, source, whole))
    cut = [axis for axis in range(len(tile.grid)) if axis not in whole]
    rank = 2 + len(tile.grid)
    for axis in cut:
        extent, size = tile.extents[axis], tile.sizes[axis]
        inside = np.arange(extent) // size == np.arange(tile.grid[axis])[:, None]
        weights = draft.constant("tile_weights", np.ascontiguousarray((inside / inside.sum(1, keepdims=True)).T))
        last = [other for other in range(rank) if other != 2 + axis] + [2 + axis]
        value = draft.value("Transpose", "tile_axis_last", [value], perm=last)
        value = draft.value("MatMul", "tile_means", [value, weights])
        value = draft.value("Transpose", "tile_axis_back", [value], perm=[last.index(other) for other in range(rank)])
    draft.add(draft.node("Identity", "tiled_squeeze", [value], anatomy.squeeze.output))


def _average_pool(draft: Draft, anatomy: Anatomy, tile: Tile, source: str) -> None:
    """An AveragePool with the tile as kernel and stride; padding, which does not count, completes the last tile."""
    extents, sizes = tile.extents, tile.sizes
    if anatomy.input_axes[1] != "C":
        # Channels last: the mean over whole rows first, so that only one column has to change its layout.
        whole = [axis for axis, many in enumerate(tile.grid) if many == 1]
        source = _channels_first(draft, anatomy, _row_means(draft, anatomy, source, whole))
        extents = tuple(1 if axis in whole else extent for axis, extent in enumerate(extents))
        sizes = tuple(1 if axis in whole else size for axis, size in enumerate(sizes))
    draft.add(
        draft.node(
            "AveragePool",
            "tiled_squeeze",
            [source],
            anatomy.squeeze.output,
            kernel_shape=list(sizes),
            strides=list(sizes),
            pads=[0] * len(sizes) + [-extent % size for extent, size in zip(extents, sizes, strict=True)],
            count_include_pad=0,
        )
    )


def _open_strips(draft: Draft, anatomy: Anatomy, cover: OpenStrips, source: str) -> None:
    """The same for a map of unknown size: whole rows first, then strips of them; ceil_mode cuts the last one short."""
    others = [axis for axis in range(cover.rank) if axis != cover.axis]
    rows = _channels_first(draft, anatomy, _row_means(draft, anatomy, source, others))
    sizes = [cover.rows if axis == cover.axis else 1 for axis in range(cover.rank)]
    draft.add(
        draft.node(
            "AveragePool",
            "tiled_squeeze",
            [rows],
            anatomy.squeeze.output,
            kernel_shape=sizes,
            strides=sizes,
            ceil_mode=1,
            count_include_pad=0,
        )
    )


def _running(draft: Draft, anatomy: Anatomy, cover: Running, source: str, means: Means) -> None:
    """The mean of each row, then the mean of all rows seen so far.

    Half precision is left for that step: the sum of a map's rows would lose what a single row adds.
    """
    others = [axis for axis in range(len(cover.extents)) if axis != cover.axis]
    rows = _channels_first(draft, anatomy, _row_means(draft, anatomy, source, others))
    dtype = draft.types[anatomy.squeeze.input].dtype
    half = dtype in _HALF
    if half:
        rows = draft.value("Cast", "row_means_wide", [rows], to=TensorProto.FLOAT)
        dtype = TensorProto.FLOAT
    kind = onnx.helper.tensor_dtype_to_np_dtype(dtype)
    by = _by_matmul if means is Means.MATMUL else _by_cumsum
    last, inputs = by(draft, cover, rows, kind)
    if cover.calibration is not None:
        shape = (1, cover.calibration.channels, *cover.grid)
        offsets = np.array(cover.calibration.offsets, kind).T.reshape(shape)
        means_seen = draft.value(last, "rows_seen", inputs)
        last, inputs = "Add", [means_seen, draft.constant("calibration", np.ascontiguousarray(offsets))]
    if half:
        wide = draft.value(last, "running_squeeze_wide", inputs)
        narrow = draft.types[anatomy.squeeze.input].dtype
        draft.add(draft.node("Cast", "running_squeeze", [wide], anatomy.squeeze.output, to=narrow))
    else:
        draft.add(draft.node(last, "running_squeeze", inputs, anatomy.squeeze.output))


def _by_matmul(draft: Draft, cover: Running, rows: str, kind: np.dtype) -> tuple[str, list[str]]:
    """Each mean is a row of a constant matrix times the column of row means."""
    height, seen = cover.extents[cover.axis], np.array(cover.seen)[:, None]
    weights = (np.where(np.arange(height) < seen, _slopes(cover)[:, None] / seen, 0.0)).astype(kind)
    rank = len(cover.extents)
    if cover.axis == rank - 1:
        return "MatMul", [rows, draft.constant("running_weights", np.ascontiguousarray(weights.T))]
    if cover.axis == rank - 2:
        return "MatMul", [draft.constant("running_weights", weights), rows]
    # Three spatial axes, the first one streamed: the column lies along it once the others, of extent one, are left out.
    flat = draft.value("Reshape", "row_column", [rows, draft.integers("row_column_shape", [0, 0, height, 1])])
    column = draft.value("MatMul", "running_column", [draft.constant("running_weights", weights), flat])
    return "Reshape", [column, draft.integers("running_shape", [0, 0, *cover.grid])]


def _by_cumsum(draft: Draft, cover: Running, rows: str, kind: np.dtype) -> tuple[str, list[str]]:
    """Sums of all rows so far, those that end a descriptor's rows, each divided by their number."""
    axis = 2 + cover.axis
    sums = draft.value("CumSum", "row_sums", [rows, draft.constant("row_axis", np.array(axis, np.int64))])
    picked = draft.value(
        "Gather", "seen_sums", [sums, draft.integers("seen_rows", [n - 1 for n in cover.seen])], axis=axis
    )
    shape = [1] * (2 + len(cover.extents))
    shape[axis] = cover.count
    if cover.calibration is not None:
        factors = (_slopes(cover) / np.array(cover.seen)).astype(kind).reshape(shape)
        return "Mul", [picked, draft.constant("seen_factors", factors)]
    return "Div", [picked, draft.constant("seen_counts", np.array(cover.seen, kind).reshape(shape))]


def _slopes(cover: Running) -> np.ndarray:
    return np.array(cover.calibration.slopes if cover.calibration else (1.0,) * cover.count)


def _row_means(draft: Draft, anatomy: Anatomy, source: str, axes: list[int]) -> str:
    if not axes:
        return source
    return draft.reduced("ReduceMean", "row_means", source, [anatomy.squeeze.spatial[axis] for axis in axes])


def _channels_first(draft: Draft, anatomy: Anatomy, value: str) -> str:
    spatial = SPATIAL[: len(anatomy.squeeze.spatial)]
    return draft.transposed("squeeze_layout", value, anatomy.input_axes, "NC" + spatial)
