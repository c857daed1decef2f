"""The gates of all tiles, [N, C, tiles, 1], spread over the rows and columns that they scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from tse_onnx.passes.blocks.tiling import Cover, OpenStrips, Running, Tile, Window
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.passes.lowering.style import Upsample


def spread(draft: Draft, gate: str, cover: Cover | OpenStrips, upsample: Upsample) -> str:
    """Add the nodes that spread `gate`; an axis with a single descriptor is left to broadcast by itself."""
    if isinstance(cover, Window):
        return gate
    if isinstance(cover, OpenStrips):
        return _open(draft, gate, cover, upsample)
    if upsample is Upsample.GATHER or draft.double:
        return _gathered(draft, gate, cover)
    spatial = len(cover.extents)
    if isinstance(cover, Running):
        factors = tuple(cover.step if axis == cover.axis else 1 for axis in range(spatial))
        extents = tuple(extent if axis == cover.axis else 1 for axis, extent in enumerate(cover.extents))
    else:
        factors = tuple(size if many > 1 else 1 for size, many in zip(cover.sizes, cover.grid, strict=True))
        extents = tuple(extent if many > 1 else 1 for extent, many in zip(cover.extents, cover.grid, strict=True))
    reach = tuple(many * factor for many, factor in zip(cover.grid, factors, strict=True))
    wide = gate
    if any(factor > 1 for factor in factors):
        wide = (_resized if upsample is Upsample.RESIZE else _expanded)(draft, gate, factors, cover.grid)
        draft.state(wide, draft.anatomy.gate, reach)
    return _fitted(draft, wide, reach, extents)


def _resized(draft: Draft, gate: str, factors: Sequence[int], grid: Sequence[int]) -> str:
    scales = draft.constant("upsample_scales", np.array([1, 1, *factors], np.float32))
    if draft.opset == 9:
        return draft.value("Upsample", "gate_upsample", [gate, scales], mode="nearest")
    if draft.opset == 10:
        return draft.value("Resize", "gate_upsample", [gate, scales], mode="nearest")
    # The region of interest is read by no mode used here, but until opset 13 its slot may not be left out.
    roi = draft.constant("upsample_roi", np.zeros(0, np.float32)) if draft.opset < 13 else ""
    return draft.value(
        "Resize",
        "gate_upsample",
        [gate, roi, scales],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _expanded(draft: Draft, gate: str, factors: Sequence[int], grid: Sequence[int]) -> str:
    """[…, tiles] to […, tiles, 1], repeated to […, tiles, factor], and flattened again."""
    apart, repeated, together = [0, 0], [1, 1], [0, 0]
    for many, factor in zip(grid, factors, strict=True):
        apart += [many] if factor == 1 else [many, 1]
        repeated += [1] if factor == 1 else [1, factor]
        together.append(many * factor)
    value = draft.value("Reshape", "gate_apart", [gate, draft.integers("gate_apart_shape", apart)])
    value = draft.value("Expand", "gate_upsample", [value, draft.integers("gate_upsample_shape", repeated)])
    return draft.value("Reshape", "gate_together", [value, draft.integers("gate_together_shape", together)])


def _gathered(draft: Draft, gate: str, cover: Tile | Running) -> str:
    """Each row takes the gate that a constant index names."""
    reach = list(cover.grid)
    for axis, extent in enumerate(cover.extents):
        if cover.grid[axis] == 1:
            continue
        size = cover.step if isinstance(cover, Running) else cover.sizes[axis]
        index = np.minimum(np.arange(extent) // size, cover.grid[axis] - 1)
        listed = draft.integers("gate_index", [int(place) for place in index])
        gate = draft.value("Gather", "gate_upsample", [gate, listed], axis=2 + axis)
        reach[axis] = extent
        draft.state(gate, draft.anatomy.gate, tuple(reach))
    return gate


def _fitted(draft: Draft, gate: str, reach: Sequence[int], extents: Sequence[int]) -> str:
    """Crop what reaches beyond the map; repeat the last gate for the rows that nothing reached."""
    short = [axis for axis in range(len(reach)) if reach[axis] < extents[axis]]
    over = [axis for axis in range(len(reach)) if reach[axis] > extents[axis]]
    if over:
        gate = draft.sliced(
            "gate_crop", gate, [2 + axis for axis in over], [0] * len(over), [extents[axis] for axis in over]
        )
    for axis in short:
        # The last descriptor of a running squeeze is the global mean: it serves every row that is left.
        many, missing = reach[axis], extents[axis] - reach[axis]
        last = draft.sliced("gate_last", gate, [2 + axis], [many - 1], [many])
        gate = draft.value("Concat", "gate_filled", [gate, *[last] * missing], axis=2 + axis)
    if short or over:
        draft.state(gate, draft.anatomy.gate, tuple(extents))
    return gate


def _open(draft: Draft, gate: str, cover: OpenStrips, upsample: Upsample) -> str:
    """For a map whose size is known only when the model runs: spread by the scale, and crop to the map's own size."""
    anatomy = draft.anatomy
    factors = [cover.rows if axis == cover.axis else 1 for axis in range(cover.rank)]
    wide = _resized(draft, gate, factors, ())
    shape = draft.value("Shape", "map_shape", [anatomy.squeeze.input])
    streamed = anatomy.squeeze.spatial[cover.axis]
    height = draft.sliced("map_height", shape, [0], [streamed], [streamed + 1])
    starts, axes = draft.integers("gate_crop_starts", [0]), draft.integers("gate_crop_axes", [2 + cover.axis])
    return draft.value("Slice", "gate_crop", [wide, starts, height, axes])


def quantised_again(draft: Draft, gate: str) -> str:
    """Behind a DequantizeLinear, the spread gate goes through the same quantiser once more.

    Spreading copies values, so it changes none of them; but a compiler that works on Q/DQ pairs takes an operator as
    quantised only if it stands between two.
    """
    producer = draft.index.producer(draft.anatomy.gate)
    node = draft.index.nodes[producer] if producer is not None else None
    if node is None or node.op_type != "DequantizeLinear":
        return gate
    parameters = list(node.input[1:])
    quantised = draft.value("QuantizeLinear", "gate_quantize", [gate, *parameters])
    return draft.value("DequantizeLinear", "gate_dequantize", [quantised, *parameters])


def rescaled(draft: Draft, gate: str, position: int) -> None:
    """Put the scale at a position again, with `gate` in place of the block's own."""
    scale = NodeProto()
    scale.CopyFrom(draft.index.nodes[position])
    for slot, name in enumerate(scale.input):
        if name == draft.anatomy.gate:
            scale.input[slot] = gate
    draft.add(scale)
    draft.put(position)
