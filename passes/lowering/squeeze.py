"""The means: one per tile, as [N, C, tiles, 1], in the ways that `MEANS` lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tse_onnx.passes.blocks.tiling import OpenStrips, Running, Tile, Window
from tse_onnx.passes.graph.layout import SPATIAL
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.passes.lowering.way import Needs, Way, factors

HALF = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})

Grid = Sequence["int | None"]
"""How many descriptors there are along each spatial axis; None where that is not known."""


# Pools.


def _pool(draft: Draft, cover: Tile | Window) -> Grid:
    """The tile is kernel and stride; padding, which does not count, completes the last one."""
    source, tile = _strip(draft, cover)
    source, extents, sizes = _whole_rows_of_the_last_axes(draft, source, tile)
    pads = [-extent % size for extent, size in zip(extents, sizes, strict=True)]
    _average_pool(draft, source, sizes, pads=[0] * len(sizes) + pads)
    return cover.grid


def _ceil(draft: Draft, cover: Tile | Window) -> Grid:
    """The tile is kernel and stride; the last one reaches beyond the map, where nothing counts."""
    source, tile = _strip(draft, cover)
    source, _, sizes = _whole_rows_of_the_last_axes(draft, source, tile)
    _average_pool(draft, source, sizes, **_ceil_mode(tile))
    return cover.grid


def _rows(draft: Draft, cover: Tile | Window | OpenStrips) -> Grid:
    """The mean of each row, then a pool of so many; a last one that is cut short is left to ceil_mode."""
    if isinstance(cover, OpenStrips):
        source, ceil_mode = draft.pooled, {"ceil_mode": 1}
        whole = [axis for axis in range(cover.rank) if axis != cover.axis]
        sizes = [cover.rows if axis == cover.axis else 1 for axis in range(cover.rank)]
    else:
        source, tile = _strip(draft, cover)
        whole = [axis for axis, many in enumerate(tile.grid) if many == 1]
        sizes = [1 if axis in whole else size for axis, size in enumerate(tile.sizes)]
        ceil_mode = _ceil_mode(tile)
    means = _channels_first(draft, _row_means(draft, source, whole))
    _average_pool(draft, means, sizes, **ceil_mode)
    return cover.grid


def _ceil_mode(tile: Tile) -> dict[str, int]:
    ragged = any(extent % size for extent, size in zip(tile.extents, tile.sizes, strict=True))
    return {"ceil_mode": 1} if ragged else {}


def _pools(draft: Draft, cover: Tile | Window) -> Grid:
    """A mean of means: a chain of pools, none of them larger than 8 in any direction."""
    source, tile = _strip(draft, cover)
    source, _, sizes = _whole_rows_of_the_last_axes(draft, source, tile)
    chains = [factors(size) for size in sizes]
    steps = max(map(len, chains))
    for step in range(steps):
        size = [chain[step] if step < len(chain) else 1 for chain in chains]
        if step == steps - 1:
            _average_pool(draft, source, size)
        else:
            source = draft.value("AveragePool", "tile_part", [source], kernel_shape=size, strides=size)
    return cover.grid


def _average_pool(draft: Draft, source: str, sizes: Sequence[int], **attributes: Any) -> None:
    draft.add(
        draft.node(
            "AveragePool",
            "tiled_squeeze",
            [source],
            draft.squeezed,
            kernel_shape=list(sizes),
            strides=list(sizes),
            **attributes,
            count_include_pad=0,
        )
    )


def _whole_rows_of_the_last_axes(draft: Draft, source: str, tile: Tile) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """The map with its channels first, the extents that it has by then, and the tile's sizes on these."""
    if draft.anatomy.input_axes[1] == "C":
        return source, tile.extents, tile.sizes
    # The mean over whole rows first, so that only one column has to change its layout.
    whole = [axis for axis, many in enumerate(tile.grid) if many == 1]
    source = _channels_first(draft, _row_means(draft, source, whole))
    extents = tuple(1 if axis in whole else extent for axis, extent in enumerate(tile.extents))
    sizes = tuple(1 if axis in whole else size for axis, size in enumerate(tile.sizes))
    return source, extents, sizes


# Views and parts of the map.


def _view(draft: Draft, cover: Tile) -> Grid:
    """The rows of a tile laid side by side, [N, C, tiles, k · W], and the mean of each such row."""
    view, rank = draft.tiles_as_rows(draft.pooled, cover), len(cover.extents)
    output = draft.squeezed
    if draft.opset >= 18:
        inputs = [view, draft.integers("tiled_squeeze_axes", [3])]
        draft.add(draft.node("ReduceMean", "tiled_squeeze", inputs, output, keepdims=rank - 1))
    else:
        draft.add(draft.node("ReduceMean", "tiled_squeeze", [view], output, axes=[3], keepdims=rank - 1))
    return cover.grid


def _split(draft: Draft, cover: Tile) -> Grid:
    """Each tile for itself: the parts of the map, the mean of each, and these side by side."""
    axis = next((axis for axis, many in enumerate(cover.grid) if many > 1), cover.axis)
    spatial = draft.anatomy.squeeze.spatial
    extent, size = cover.extents[axis], cover.sizes[axis]
    lengths = [min(size, extent - start) for start in range(0, extent, size)]
    parts = draft.parts("tile", draft.pooled, spatial[axis], lengths)
    means = [_channels_first(draft, draft.reduced("ReduceMean", "tile_mean", part, spatial)) for part in parts]
    draft.add(draft.node("Concat", "tiled_squeeze", means, draft.squeezed, axis=2 + axis))
    return cover.grid


def _whole_numbers(draft: Draft, cover: Tile | Window) -> Grid:
    """Each tile for itself, by the operator that pooled the map: a pool in whole numbers of several tiles would round
    by other sums."""
    source, tile = _strip(draft, cover)
    _pooled_apart(draft, source, tile, 0, draft.squeezed)
    return cover.grid


def _pooled_apart(draft: Draft, source: str, tile: Tile, axis: int, output: str = "") -> str:
    """The means of what lies along an axis and those behind it."""
    squeeze = draft.anatomy.squeeze
    if axis == len(tile.grid):
        own = draft.index.nodes[squeeze.nodes[-1]]
        made = draft.node(own.op_type, "tile_mean", [source, *own.input[1:]], output, domain=own.domain)
        made.attribute.extend(own.attribute)
    elif tile.grid[axis] == 1:
        return _pooled_apart(draft, source, tile, axis + 1, output)
    else:
        lengths = [len(part) for part in _parts(tile.extents[axis], tile.sizes[axis])]
        parts = draft.parts("tile", source, squeeze.spatial[axis], lengths)
        means = [_pooled_apart(draft, part, tile, axis + 1) for part in parts]
        made = draft.node("Concat", "tiled_squeeze", means, output, axis=2 + axis)
    draft.add(made)
    return str(made.output[0])


# Products.


def _averaged(draft: Draft, cover: Tile | Window) -> Grid:
    """Along each axis that is cut a product with weights."""
    source, tile = _strip(draft, cover)
    whole = [axis for axis, many in enumerate(tile.grid) if many == 1]
    value = _channels_first(draft, _row_means(draft, source, whole))
    value, kind, narrow = _wide(draft, value)
    cut = [axis for axis in range(len(tile.grid)) if axis not in whole]
    rank = 2 + len(tile.grid)
    for axis in cut:
        weights = _weights(tile.extents[axis], tile.sizes[axis]).astype(kind)
        table = draft.constant("tile_weights", np.ascontiguousarray(weights.T))
        last = [other for other in range(rank) if other != 2 + axis] + [2 + axis]
        value = draft.value("Transpose", "tile_axis_last", [value], perm=last)
        value = draft.value("MatMul", "tile_means", [value, table])
        value = draft.value("Transpose", "tile_axis_back", [value], perm=[last.index(other) for other in range(rank)])
    _finished(draft, "tiled_squeeze", "Identity", [value], narrow)
    return tile.grid


def _matmul(draft: Draft, cover: Tile | Window | Running) -> Grid:
    """Each mean is a row of a constant matrix times the column of row means."""
    if not isinstance(cover, Running):
        return _averaged(draft, cover)
    return _of_rows(draft, cover, _by_matmul, range(cover.count))


def _cumsum(draft: Draft, cover: Running) -> Grid:
    """Sums of all rows so far, those that end a descriptor's rows, each divided by their number."""
    return _of_rows(draft, cover, _by_cumsum, range(cover.count))


def _gemm(draft: Draft, cover: Tile | Running) -> Grid:
    """One product of the row means of all channels with a constant matrix, which has a column for each row of the map:
    the descriptor of the group that the row is in."""
    return _of_rows(draft, cover, _by_gemm, groups(cover))


Product = Callable[[Draft, "Tile | Running", str, np.dtype, "Sequence[int]"], "tuple[str, list[str]]"]
"""Makes descriptors, which are named by their numbers, of the row means: the last operator of it and its inputs."""


def _of_rows(draft: Draft, cover: Tile | Running, by: Product, wanted: Sequence[int]) -> Grid:
    """The mean of each row, then what is wanted of these.

    Half precision is left for that step: the sum of a map's rows would lose what a single row adds.
    """
    axis, role = _cut_axis(cover), "running_squeeze" if isinstance(cover, Running) else "tiled_squeeze"
    others = [other for other in range(len(cover.extents)) if other != axis]
    rows = _channels_first(draft, _row_means(draft, draft.pooled, others))
    rows, kind, narrow = _wide(draft, rows)
    last, inputs = by(draft, cover, rows, kind, wanted)
    grid = _along(axis, len(cover.extents), len(wanted))
    if isinstance(cover, Running) and cover.calibration is not None:
        offsets = np.array(cover.calibration.offsets, kind)[list(wanted)].T
        table = np.ascontiguousarray(offsets.reshape(1, cover.calibration.channels, *grid))
        means_seen = draft.value(last, "rows_seen", inputs)
        last, inputs = "Add", [means_seen, draft.constant("calibration", table)]
    _finished(draft, role, last, inputs, narrow)
    return grid


def _by_matmul(
    draft: Draft, cover: Tile | Running, rows: str, kind: np.dtype, wanted: Sequence[int]
) -> tuple[str, list[str]]:
    axis, rank = _cut_axis(cover), len(cover.extents)
    weights = _matrix(cover)[list(wanted)].astype(kind)
    if axis == rank - 1:
        return "MatMul", [rows, draft.constant("running_weights", np.ascontiguousarray(weights.T))]
    if axis == rank - 2:
        return "MatMul", [draft.constant("running_weights", weights), rows]
    # Three spatial axes, the first one streamed: the column lies along it once the others, of extent one, are left out.
    column_shape = draft.integers("row_column_shape", [0, 0, cover.extents[axis], 1])
    flat = draft.value("Reshape", "row_column", [rows, column_shape])
    column = draft.value("MatMul", "running_column", [draft.constant("running_weights", weights), flat])
    return "Reshape", [column, draft.integers("running_shape", [0, 0, *_along(axis, rank, len(wanted))])]


def _by_gemm(
    draft: Draft, cover: Tile | Running, rows: str, kind: np.dtype, wanted: Sequence[int]
) -> tuple[str, list[str]]:
    axis, rank = _cut_axis(cover), len(cover.extents)
    weights = draft.constant("row_weights", np.ascontiguousarray(_matrix(cover)[list(wanted)].T.astype(kind)))
    if rank == 1:
        return "MatMul", [rows, weights]
    line = draft.value("Reshape", "row_line", [rows, draft.integers("row_line_shape", [0, 0, cover.extents[axis]])])
    means = draft.value("MatMul", "line_means", [line, weights])
    return "Reshape", [means, draft.integers("line_shape", [0, 0, *_along(axis, rank, len(wanted))])]


def _by_cumsum(
    draft: Draft, cover: Tile | Running, rows: str, kind: np.dtype, wanted: Sequence[int]
) -> tuple[str, list[str]]:
    assert isinstance(cover, Running)
    axis = 2 + cover.axis
    # Both attributes are the defaults, and written out: there is a tool that takes another for one that is left out.
    place = draft.constant("row_axis", np.array(axis, np.int64))
    sums = draft.value("CumSum", "row_sums", [rows, place], exclusive=0, reverse=0)
    seen = [cover.seen[number] for number in wanted]
    picked = draft.value("Gather", "seen_sums", [sums, draft.integers("seen_rows", [n - 1 for n in seen])], axis=axis)
    shape = [1] * (2 + len(cover.extents))
    shape[axis] = cover.count
    if cover.calibration is not None:
        table = (_slopes(cover) / np.array(cover.seen)).astype(kind).reshape(shape)
        return "Mul", [picked, draft.constant("seen_factors", table)]
    return "Div", [picked, draft.constant("seen_counts", np.array(cover.seen, kind).reshape(shape))]


def _wide(draft: Draft, value: str) -> tuple[str, np.dtype, int | None]:
    """Row means in a type to add them up in, that type, and the one to go back to, if it is another."""
    dtype = draft.pooled_type
    if dtype in HALF:
        wide = draft.value("Cast", "row_means_wide", [value], to=TensorProto.FLOAT)
        return wide, np.dtype(np.float32), dtype
    return value, onnx.helper.tensor_dtype_to_np_dtype(dtype), None


def _finished(draft: Draft, role: str, operator: str, inputs: Sequence[str], narrow: int | None) -> None:
    """The node that makes the means, under the name that the global mean had."""
    output = draft.squeezed
    if narrow is None:
        draft.add(draft.node(operator, role, inputs, output))
        return
    wide = draft.value(operator, f"{role}_wide", inputs)
    draft.add(draft.node("Cast", role, [wide], output, to=narrow))


def _cut_axis(cover: Tile | Running) -> int:
    """The axis that the map is cut along."""
    if isinstance(cover, Running):
        return cover.axis
    return next((axis for axis, many in enumerate(cover.grid) if many > 1), cover.axis)


def _along(axis: int, rank: int, count: int) -> tuple[int, ...]:
    return tuple(count if other == axis else 1 for other in range(rank))


def _parts(extent: int, size: int) -> list[range]:
    return [range(start, min(start + size, extent)) for start in range(0, extent, size)]


@lru_cache(maxsize=8)
def _weights(extent: int, size: int) -> np.ndarray:
    """A row for each part of so many: one over its length where the part is, 0 elsewhere."""
    table = np.array([[(place in part) / len(part) for place in range(extent)] for part in _parts(extent, size)])
    table.flags.writeable = False
    return table


def _matrix(cover: Tile | Running) -> np.ndarray:
    """Descriptors from row means: a row for each descriptor."""
    axis = _cut_axis(cover)
    extent = cover.extents[axis]
    if isinstance(cover, Tile):
        return _weights(extent, cover.sizes[axis])
    seen = np.array(cover.seen)[:, None]
    return np.where(np.arange(extent) < seen, _slopes(cover)[:, None] / seen, 0.0)


def groups(cover: Tile | Running) -> list[int]:
    """The number of the descriptor of each row."""
    axis = _cut_axis(cover)
    size = cover.step if isinstance(cover, Running) else cover.sizes[axis]
    return [min(row // size, cover.grid[axis] - 1) for row in range(cover.extents[axis])]


def _slopes(cover: Running) -> np.ndarray:
    return np.array(cover.calibration.slopes if cover.calibration else (1.0,) * cover.count)


# What they share.


def _strip(draft: Draft, cover: Tile | Window) -> tuple[str, Tile]:
    """The part of the map that is cut, and how it is."""
    squeeze = draft.anatomy.squeeze
    if isinstance(cover, Tile):
        return draft.pooled, cover
    axis = squeeze.spatial[cover.axis]
    strip = draft.sliced("squeeze_strip", draft.pooled, [axis], [cover.start], [cover.start + cover.rows])
    return strip, Tile(cover.sizes, cover.axis, cover.sizes)


def _row_means(draft: Draft, source: str, axes: list[int]) -> str:
    if not axes:
        return source
    return draft.reduced("ReduceMean", "row_means", source, [draft.anatomy.squeeze.spatial[axis] for axis in axes])


def _channels_first(draft: Draft, value: str) -> str:
    spatial = SPATIAL[: len(draft.anatomy.squeeze.spatial)]
    return draft.transposed("squeeze_layout", value, draft.anatomy.input_axes, "NC" + spatial)


Means = Way[Callable[..., Grid]]

WHOLE_NUMBERS: Means = Way(
    "whole",
    "the mean of each tile for itself",
    ("Slice", "Split", "QLinearGlobalAveragePool", "Concat"),
    _whole_numbers,
)
"""The one way where the map is pooled in whole numbers."""

_STRIPS = (Tile, Window)
_MEANS = (Tile, Running)

MEANS: tuple[Means, ...] = (
    Way(
        "view",
        "the rows of a tile side by side, and the mean of each such row",
        ("Reshape", "ReduceMean"),
        _view,
        Needs((Tile,), divides=True, rows=True, first=True, double=True),
        Needs(plain=True, double=True),
    ),
    Way(
        "pads",
        "one pool; pads that do not count where a tile is cut short",
        ("Slice", "AveragePool", "ReduceMean", "Transpose"),
        _pool,
        Needs(_STRIPS),
        window="k × W",
    ),
    Way(
        "matmul",
        "the mean of each row, times a constant matrix with a row for each descriptor",
        ("Slice", "ReduceMean", "Transpose", "MatMul", "Identity", "Cast", "Reshape", "Add"),
        _matmul,
        Needs((Tile, Window, Running), most_numbers=2**20, double=True),
    ),
    Way(
        "cumsum",
        "the sums of all rows so far, divided by their number",
        ("ReduceMean", "Transpose", "CumSum", "Gather", "Div", "Mul", "Cast", "Add"),
        _cumsum,
        Needs((Running,), opset=11, double=True),
    ),
    Way(
        "rows",
        "the mean of each row, then a pool; ceil_mode where a tile is cut short",
        ("Slice", "ReduceMean", "Transpose", "AveragePool"),
        _rows,
        Needs((Tile, Window, OpenStrips), opset=10),
        window="k × 1",
    ),
    Way(
        "pool",
        "one pool",
        ("Slice", "AveragePool", "ReduceMean", "Transpose"),
        _pool,
        Needs(_STRIPS, divides=True),
        window="k × W",
        # From 19 on onnxruntime has no fast pool for a number of channels that is no multiple of 16.
        best=Needs((Tile,), until=18, rows=True, first=True, batch=True, plain=True),
    ),
    Way(
        "ceil",
        "one pool; ceil_mode where a tile is cut short",
        ("Slice", "AveragePool", "ReduceMean", "Transpose"),
        _ceil,
        Needs(_STRIPS, opset=10),
        window="k × W",
    ),
    Way(
        "gemm",
        "the mean of each row, times one constant matrix for all channels, with a column for each row of the map",
        ("ReduceMean", "Transpose", "Reshape", "MatMul", "Cast", "Add"),
        _gemm,
        Needs(_MEANS, one_axis=True, most_rows=512, double=True),
        each_row=True,
        # Pads and pools in ceil_mode are what runtimes disagree on, and a product for each channel is slow.
        best=Needs(_MEANS, uneven=True, rows=True, first=True, plain=True, double=True),
    ),
    Way(
        "pools",
        "a chain of small pools",
        ("Slice", "AveragePool", "ReduceMean", "Transpose"),
        _pools,
        Needs(_STRIPS, divides=True, small=True),
        window="at most 8 × 8",
    ),
    Way(
        "split",
        "the mean of each tile for itself",
        ("Split", "ReduceMean", "Transpose", "Concat"),
        _split,
        Needs((Tile,), one_axis=True, double=True),
    ),
)
"""Every way to compute the means, in the order in which they are taken."""
