"""The norms: one per tile, as [N, C, tiles, 1], from the means of squares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tse_onnx.passes.blocks.tiling import Cover, OpenStrips, Running, Tile
from tse_onnx.passes.forms.squeeze import MEAN_SQUARE, NORM
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.passes.lowering.squeeze import HALF, Grid, Means, groups


def norm(draft: Draft, cover: Cover | OpenStrips, mean: Means) -> Grid:
    """Add the nodes that compute what the block takes of squares: their mean in the way that is given, times the pixels
    of the descriptor, and the root of that. In half precision all of it is computed in single: squares overflow long
    before a norm does."""
    squeeze = draft.anatomy.squeeze
    dtype, value = draft.types[squeeze.input].dtype, squeeze.input
    steps: list[tuple[str, str, list[str], dict[str, Any]]] = []
    if dtype in HALF:
        value = draft.value("Cast", "map_wide", [value], to=TensorProto.FLOAT)
        steps.append(("Cast", "tiled_norm", [], {"to": dtype}))
    draft.pooled = draft.value("Mul", "squares", [value, value])
    draft.pooled_type = TensorProto.FLOAT if dtype in HALF else dtype
    draft.squeezed = squeeze.output if squeeze.statistic == MEAN_SQUARE and not steps else draft.fresh("mean_squares")
    grid = mean.write(draft, cover)
    if squeeze.statistic == NORM:
        steps.insert(0, ("Sqrt", "norm", [], {}))
    if squeeze.statistic != MEAN_SQUARE:
        assert not isinstance(cover, OpenStrips)
        kind = onnx.helper.tensor_dtype_to_np_dtype(draft.pooled_type)
        areas = draft.constant("tile_areas", _areas(cover, grid).astype(kind))
        steps.insert(0, ("Mul", "sum_squares", [areas], {}))
    made = draft.squeezed
    for number, (op, role, more, attributes) in enumerate(steps, 1):
        node = draft.node(op, role, [made, *more], squeeze.output if number == len(steps) else "", **attributes)
        draft.add(node)
        made = node.output[0]
    return grid


def _areas(cover: Cover, grid: Grid) -> np.ndarray:
    """The pixels of each descriptor, under the dimensions of the means, which may be one for each row; a single number
    where all are alike."""
    pixels = [math.prod(span.stop - span.start for span in source) for source, _ in cover.pieces()]
    areas = np.array(pixels).reshape(1, 1, *cover.grid)
    if len(set(pixels)) == 1:
        return areas.reshape(-1)[:1]
    axis = next((axis for axis, count in enumerate(grid) if count != cover.grid[axis]), None)
    if axis is not None and isinstance(cover, Tile | Running):
        areas = areas.take(groups(cover), axis=2 + axis)
    return areas
