"""The gates of all tiles, [N, C, tiles, 1], spread over what they scale, in the ways that `SPREADS` lists; and the
scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from tse_onnx.passes.blocks.tiling import OpenStrips, Running, Tile, Window
from tse_onnx.passes.graph.layout import OWN, SPATIAL
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.passes.lowering.squeeze import Grid
from tse_onnx.passes.lowering.way import Needs, Way

_NUMPY = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})


def _left(draft: Draft, scale: int, cover: Window, grid: Grid) -> None:
    """A single gate broadcasts over its map by itself."""
    scaled(draft, draft.current(draft.anatomy.gate), scale, grid)


def _resize(draft: Draft, scale: int, cover: Tile | Running | OpenStrips, grid: Grid) -> None:
    if isinstance(cover, OpenStrips):
        reach = [None if axis == cover.axis else 1 for axis in range(cover.rank)]
        scaled(draft, _open(draft, _joined(draft, grid, ()), cover), scale, reach)
    else:
        _repeated(draft, scale, cover, grid, _resized)


def _full(draft: Draft, scale: int, cover: Tile | Running, grid: Grid) -> None:
    """As large as the map: what multiplies two maps of one layout and size is fast where it would not be otherwise."""
    _repeated(draft, scale, cover, grid, _resized, full=True)


def _expand(draft: Draft, scale: int, cover: Tile | Running, grid: Grid) -> None:
    _repeated(draft, scale, cover, grid, _expanded)


def _repeated(
    draft: Draft, scale: int, cover: Tile | Running, grid: Grid, repeat: Callable[..., str], full: bool = False
) -> None:
    """Each gate as often as its tile is long, then cropped or filled; an axis with a single one broadcasts by itself,
    unless the gate is to be as large as the map in `full`."""
    reach, extents, factors = _spans(cover, grid, full)
    gate = _joined(draft, grid, extents)
    if full and reach != extents:  # along the axes that are cut first, while there is little to crop
        narrow_reach, narrow_extents, narrow = _spans(cover, grid, False)
        gate = _wide(draft, gate, narrow, grid, narrow_reach, repeat)
        gate = _fitted(draft, gate, narrow_reach, narrow_extents)
        grid, reach = narrow_extents, extents
        factors = tuple(extent // have for extent, have in zip(extents, narrow_extents, strict=True))
    gate = _wide(draft, gate, factors, grid, reach, repeat)
    scaled(draft, _fitted(draft, gate, reach, extents), scale, extents)


def _wide(
    draft: Draft, gate: str, factors: tuple[int, ...], grid: Grid, reach: tuple[int, ...], repeat: Callable[..., str]
) -> str:
    if all(factor == 1 for factor in factors):
        return gate
    gate = repeat(draft, gate, factors, grid)
    draft.state(gate, draft.anatomy.gate, reach, joined=True)
    return gate


def _spans(cover: Tile | Running, grid: Grid, full: bool) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """How far the gates reach along each axis, how far they have to, and how often each is repeated."""
    factors, extents = [], []
    for axis, (many, extent) in enumerate(zip(grid, cover.extents, strict=True)):
        if many == 1 and not (isinstance(cover, Running) and axis == cover.axis):
            factors.append(extent if full else 1)
            extents.append(extent if full else 1)
        else:
            size = cover.step if isinstance(cover, Running) else cover.sizes[axis]
            factors.append(1 if many == extent else size)
            extents.append(extent)
    reach = tuple((many or 0) * factor for many, factor in zip(grid, factors, strict=True))
    return reach, tuple(extents), tuple(factors)


def _resized(draft: Draft, gate: str, factors: Sequence[int], grid: Grid) -> str:
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


def _expanded(draft: Draft, gate: str, factors: Sequence[int], grid: Grid) -> str:
    """[…, tiles] to […, tiles, 1], repeated to […, tiles, factor], and flattened again."""
    apart, repeated, together = [0, 0], [1, 1], [0, 0]
    for many, factor in zip((many or 0 for many in grid), factors, strict=True):
        apart += [many] if factor == 1 else [many, 1]
        repeated += [1] if factor == 1 else [1, factor]
        together.append(many * factor)
    value = draft.value("Reshape", "gate_apart", [gate, draft.integers("gate_apart_shape", apart)])
    value = draft.value("Expand", "gate_upsample", [value, draft.integers("gate_upsample_shape", repeated)])
    return draft.value("Reshape", "gate_together", [value, draft.integers("gate_together_shape", together)])


def _gather(draft: Draft, scale: int, cover: Tile | Running, grid: Grid) -> None:
    """Each row takes the gate that a constant index names."""
    ends = [many if many == 1 else extent for many, extent in zip(grid, cover.extents, strict=True)]
    gate, reach = _joined(draft, grid, ends), list(grid)
    for axis, extent in enumerate(cover.extents):
        many = grid[axis] or 0
        if many in (1, extent):
            continue
        size = cover.step if isinstance(cover, Running) else cover.sizes[axis]
        index = np.minimum(np.arange(extent) // size, many - 1)
        listed = draft.integers("gate_index", [int(place) for place in index])
        gate = draft.value("Gather", "gate_upsample", [gate, listed], axis=2 + axis)
        reach[axis] = extent
        draft.state(gate, draft.anatomy.gate, tuple(reach), joined=True)
    scaled(draft, gate, scale, ends)


def _ones(draft: Draft, scale: int, cover: Tile | Running, grid: Grid) -> None:
    """As large as the map without a Resize, of which some tools lose sight of an open batch: each gate times as many
    ones as its tile has pixels, or its row, laid out as the map is."""
    gate, dtype = draft.current(draft.anatomy.gate), draft.types[draft.anatomy.map].dtype
    height, *width = cover.extents
    numpy_has_it = dtype in _NUMPY
    if grid[0] != height or (width and numpy_has_it):
        gate = _joined(draft, grid, cover.extents)
        if not width:
            gate = draft.value("Reshape", "gate_column", [gate, draft.integers("gate_column_shape", [0, 0, -1, 1])])
        length = math.prod(width) * (height // (grid[0] or 1))
        kind = onnx.helper.tensor_dtype_to_np_dtype(dtype) if numpy_has_it else np.dtype(np.float32)
        ones = draft.constant("gate_ones", np.ones((1, length), kind))
        if not numpy_has_it:
            ones = draft.value("Cast", "gate_ones_narrow", [ones], to=dtype)
        gate = draft.value("MatMul", "gate_upsample", [gate, ones])
        if [length] != width:
            gate = draft.value(
                "Reshape", "gate_rows", [gate, draft.integers("gate_rows_shape", [0, 0, *cover.extents])]
            )
        draft.state(gate, draft.anatomy.gate, cover.extents, joined=True)
    scaled(draft, gate, scale, cover.extents)


def _view(draft: Draft, scale: int, cover: Tile, grid: Grid) -> None:
    """Nothing is spread: the rows of a tile are laid side by side, scaled by one gate, and laid back."""
    gate, own = draft.current(draft.anatomy.gate), [0] * (1 + len(draft.anatomy.gate_parts or "C"))
    if len(grid) == 1:
        gate = draft.value("Reshape", "gate_column", [gate, draft.integers("gate_column_shape", [*own, -1, 1])])
    view = draft.tiles_as_rows(draft.anatomy.map, cover, len(own))
    made = _with_operands(draft, scale, quantised_again(draft, gate), view)
    _laid(draft, made, _dims(draft) if draft.scaled != draft.anatomy.map else [*own, *cover.extents])
    draft.put(scale)


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
        draft.state(gate, draft.anatomy.gate, tuple(extents), joined=True)
    return gate


def _open(draft: Draft, gate: str, cover: OpenStrips) -> str:
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


def _joined(draft: Draft, grid: Grid, reach: Grid) -> str:
    """A gate that is to be spread, with its branches and channels along one axis, as what spreads it has them."""
    anatomy = draft.anatomy
    gate = draft.current(anatomy.gate)
    if not anatomy.gate_parts or tuple(grid) == tuple(reach):
        return gate
    sizes = [-1 if many is None else many for many in grid]
    shape = draft.integers("gate_joined_shape", [0, math.prod(anatomy.gate_parts), *sizes])
    return draft.value("Reshape", "gate_joined", [gate, shape])


def scaled(draft: Draft, gate: str, position: int, reach: Grid) -> None:
    """Put the scale at a position again, with `gate`, which has its channels first and reaches so far along each axis,
    in place of the block's own."""
    anatomy = draft.anatomy
    if anatomy.gate_parts and gate != draft.current(anatomy.gate):
        sizes = [-1 if extent is None else extent for extent in reach]
        shape = draft.integers("gate_branches_shape", [0, *anatomy.gate_parts, *sizes])
        gate = draft.value("Reshape", "gate_branches", [gate, shape])
    gate = quantised_again(draft, gate)
    own = [letter for letter in anatomy.map_axes if letter in OWN and letter != "N"]
    axes = "N" + "".join(own) + SPATIAL[: len(anatomy.squeeze.spatial)]
    rescaled(draft, draft.transposed("gate_layout", gate, axes, anatomy.map_axes), position)


def rescaled(draft: Draft, gate: str, position: int) -> None:
    """Put the scale at a position again, with `gate` in place of the block's own."""
    made = _with_operands(draft, position, gate, draft.anatomy.map)
    _laid(draft, made, _dims(draft) if draft.scaled != draft.anatomy.map else [])
    draft.put(position)


def _dims(draft: Draft) -> list[int]:
    """The target of the Reshape that lays the pixels of the scaled map along one axis."""
    channels = draft.anatomy.squeeze.descriptor.channels or 0
    return [0, 0, -1] if draft.anatomy.input_axes[1] == "C" else [0, -1, channels]


def _laid(draft: Draft, made: NodeProto, target: Sequence[int]) -> None:
    """Add a scale; where there is a `target`, with what it makes laid out so."""
    result = made.output[0]
    if target:
        made.output[0] = draft.fresh("scaled_rows")
    draft.add(made)
    if target:
        shape = draft.integers("map_shape", target)
        draft.add(draft.node("Reshape", "scaled_map", [made.output[0], shape], result))


def _with_operands(draft: Draft, position: int, gate: str, scaled_map: str) -> NodeProto:
    scale = NodeProto()
    scale.CopyFrom(draft.index.nodes[position])
    operands = {draft.anatomy.gate: gate, draft.scaled: scaled_map}
    for slot, name in enumerate(scale.input):
        scale.input[slot] = operands.get(name, name)
    return scale


Spread = Way[Callable[..., None]]

BROADCAST: Spread = Way("broadcast", "one gate, which broadcasts over its map", (), _left, Needs(double=True))
"""The one way where there is one gate."""

_SPREAD = (Tile, Running)
_TO_SPREAD = Needs(per_tile=True, double=True)

SPREADS: tuple[Spread, ...] = (
    Way(
        "view",
        "the rows of a tile side by side, scaled by one gate, and laid back",
        ("Reshape",),
        _view,
        Needs((Tile,), divides=True, rows=True, first=True, per_tile=True, double=True),
        Needs(plain=True, double=True),
    ),
    Way(
        "resize",
        "a nearest Resize by whole numbers along the axes that are cut",
        ("Resize", "Upsample", "Slice", "Concat", "Shape"),
        _resize,
        Needs((Tile, Running, OpenStrips)),
        _TO_SPREAD,
    ),
    Way(
        "gather",
        "the gate of each row by a constant index",
        ("Gather",),
        _gather,
        Needs(_SPREAD, double=True),
        _TO_SPREAD,
    ),
    Way(
        "expand",
        "each gate repeated by broadcasting",
        ("Reshape", "Expand", "Slice", "Concat"),
        _expand,
        Needs(_SPREAD),
        _TO_SPREAD,
    ),
    Way(
        "ones",
        "each gate times a row of ones",
        ("MatMul", "Reshape", "Cast"),
        _ones,
        Needs(_SPREAD, rows=True, first=True, even=True, double=True),
        Needs(plain=True, double=True),
        best=Needs(per_row=True, plain=True, double=True),
    ),
    Way(
        "full",
        "a nearest Resize by whole numbers to the size of the map",
        ("Resize", "Upsample", "Slice", "Concat"),
        _full,
        Needs(_SPREAD, first=True),
        _TO_SPREAD,
        # What onnxruntime has for its own layout of channels takes gates that are as large as the map.
        best=Needs((Tile,), until=18, divides=True, rows=True, batch=True, plain=True),
    ),
)
"""Every way to spread the gates, in the order in which they are taken."""
