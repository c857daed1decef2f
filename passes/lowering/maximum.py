"""The maxima: one per tile, as [N, C, tiles, 1], beside the means."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from tse_onnx.passes.blocks.tiling import Cover, OpenStrips, Running, Tile, Window
from tse_onnx.passes.forms.squeeze import Squeeze
from tse_onnx.passes.graph.layout import SPATIAL
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.passes.lowering.squeeze import groups
from tse_onnx.passes.names import fresh

Grid = Sequence["int | None"]


def maximum(draft: Draft, squeeze: Squeeze, cover: Cover | OpenStrips, grid: Grid) -> None:
    """Add the nodes that compute the maxima, the last one under the name that the global maximum had: for as many
    descriptors as the means were written for, one per tile or one per row."""
    node = _tiled(draft, squeeze, cover)
    axis = next((axis for axis, count in enumerate(grid) if count != cover.grid[axis]), None)
    if axis is not None and not isinstance(cover, OpenStrips | Window):
        node.output[0] = fresh(f"{draft.name}/tile_maxima", draft.taken)
        draft.add(node)
        rows = draft.integers("maximum_rows", groups(cover))
        node = draft.node("Gather", "row_maximum", [node.output[0], rows], squeeze.output, axis=2 + axis)
    draft.add(node)


def _tiled(draft: Draft, squeeze: Squeeze, cover: Cover | OpenStrips) -> NodeProto:
    source, many = squeeze.input, len(squeeze.spatial)
    if isinstance(cover, Window):
        axis = squeeze.spatial[cover.axis]
        source = draft.sliced("maximum_strip", source, [axis], [cover.start], [cover.start + cover.rows])
        cover = Tile(cover.sizes, cover.axis, cover.sizes)
    if isinstance(cover, Tile):
        whole = [axis for axis, tiles in enumerate(cover.grid) if tiles == 1]
        sizes = [1 if axis in whole else size for axis, size in enumerate(cover.sizes)]
        extents = [1 if axis in whole else extent for axis, extent in enumerate(cover.extents)]
        pads = [0] * many + [-extent % size for extent, size in zip(extents, sizes, strict=True)]
        rows = _row_maxima(draft, squeeze, source, whole)
        return draft.node(
            "MaxPool", "tiled_maximum", [rows], squeeze.output, kernel_shape=sizes, strides=sizes, pads=pads
        )
    rows = _row_maxima(draft, squeeze, source, [axis for axis in range(many) if axis != cover.axis])
    if isinstance(cover, Running):
        return _running(draft, squeeze, cover, rows)
    sizes = [cover.rows if axis == cover.axis else 1 for axis in range(many)]
    return draft.node(
        "MaxPool", "tiled_maximum", [rows], squeeze.output, kernel_shape=sizes, strides=sizes, ceil_mode=1
    )


def _running(draft: Draft, squeeze: Squeeze, cover: Running, rows: str) -> NodeProto:
    """A window as tall as the map that ends in each row, so that above it there are pads, which are less than anything;
    then those that end a descriptor's rows."""
    height, many = cover.extents[cover.axis], len(cover.extents)
    kernel = [height if axis == cover.axis else 1 for axis in range(many)]
    pads = [height - 1 if axis == cover.axis else 0 for axis in range(many)] + [0] * many
    seen = draft.value("MaxPool", "seen_maxima", [rows], kernel_shape=kernel, strides=[1] * many, pads=pads)
    picked = draft.integers("seen_maxima_rows", [number - 1 for number in cover.seen])
    return draft.node("Gather", "running_maximum", [seen, picked], squeeze.output, axis=2 + cover.axis)


def _row_maxima(draft: Draft, squeeze: Squeeze, value: str, axes: list[int]) -> str:
    """The maxima over whole axes first, so that a window is no larger than it has to be; channels first."""
    if axes:
        value = draft.reduced("ReduceMax", "row_maxima", value, [squeeze.spatial[axis] for axis in axes])
    return draft.transposed("maximum_layout", value, draft.anatomy.input_axes, "NC" + SPATIAL[: len(squeeze.spatial)])
