"""Decide what becomes of each block, before anything changes."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import TensorProto

from tse_onnx.decision import CONVERTED, REFUSED, UNCHANGED, Decision
from tse_onnx.errors import UsageError
from tse_onnx.passes.block import Block
from tse_onnx.passes.frozen import Frozen
from tse_onnx.passes.lowering import OLDEST_OPSET
from tse_onnx.passes.reasons import Refusal, quoted
from tse_onnx.passes.tiling import TILE, OpenStrips, Running, Tiling
from tse_onnx.plan import Plan

# The means of a running squeeze are a constant matrix, its rows the descriptors and its columns the rows of the map.
_MOST_MEANS = 2**24

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})


def decide(blocks: Iterable[Block], plan: Plan, opset: int, dynamic: bool = False) -> tuple[Decision, ...]:
    """A decision for each block. With `dynamic`, maps whose size is not known are cut into strips all the same."""
    return tuple(_decide(block, plan.of(block), plan.notes.get(block.name, ""), opset, dynamic) for block in blocks)


def _decide(block: Block, choice: Tiling | Frozen | None, note: str, opset: int, dynamic: bool) -> Decision:
    if block.refusal is not None:
        return Decision(block, REFUSED, None, None, block.refusal)
    if block.tiled is not None:
        return _tiled(block, block.tiled)
    if choice is None:
        return Decision(block, UNCHANGED, None, None, note=note or "the plan keeps its global mean")
    if isinstance(choice, Frozen):
        return _frozen(block, choice, note)
    return _tile(block, choice, opset, dynamic)


def _frozen(block: Block, frozen: Frozen, note: str) -> Decision:
    if block.channels is not None and len(frozen.gate) not in (1, block.channels):
        raise UsageError(
            f"the plan freezes {quoted(block.name)} with a gate of {len(frozen.gate)} numbers; its map has "
            f"{block.channels} channels"
        )
    return Decision(block, CONVERTED, None, None, note=note or "its gate is frozen", frozen=frozen)


def _tile(block: Block, tiling: Tiling, opset: int, dynamic: bool) -> Decision:
    if opset < OLDEST_OPSET:
        text = f"the model uses opset {opset}; tiles need opset {OLDEST_OPSET} or newer: export or convert it to that"
        return Decision(block, REFUSED, None, None, Refusal("opset", text))
    extents = tuple(extent for extent in block.extents if extent is not None)
    if len(extents) != len(block.extents) or not extents:
        if dynamic:
            return _open(block, tiling, opset)
        return _refused(block, f"the size of {quoted(block.input)} cannot be inferred")
    if 0 in extents:
        return _refused(block, f"{quoted(block.input)} is an empty map")
    try:
        cover = tiling.cover(extents)
    except UsageError as error:
        if tiling.calibration is not None:
            raise UsageError(
                f"the plan calibrates {quoted(block.name)} at another size: {error}; tune it anew"
            ) from None
        return _refused(block, str(error), "rank")
    if isinstance(cover, Running) and block.dtype not in _FLOATS:
        return _refused(block, f"the element type of {quoted(block.input)} is none that a running squeeze is made for")
    if isinstance(cover, Running) and (numbers := cover.count * extents[cover.axis]) > _MOST_MEANS:
        return _refused(block, f"{tiling} over {extents[cover.axis]:,} rows would take a matrix of {numbers:,} numbers")
    if tiling.calibration is not None and tiling.calibration.channels != block.channels:
        raise UsageError(
            f"the plan calibrates {quoted(block.name)} for {tiling.calibration.channels} channels; its map has "
            f"{block.channels}"
        )
    if cover.covers_map:
        shown = " × ".join(map(str, extents))
        if tiling.squeeze == TILE:
            note = f"a tile of {' × '.join(map(str, cover.sizes))} covers its map of {shown}"
        else:
            note = f"{tiling} cover its map of {shown}"
        return Decision(block, UNCHANGED, tiling, cover, note=note)
    return Decision(block, CONVERTED, tiling, cover)


def _tiled(block: Block, tiling: Tiling | Frozen) -> Decision:
    if isinstance(tiling, Frozen):
        return Decision(block, UNCHANGED, None, None, note="is frozen already; --retile does it anew")
    extents = tuple(extent for extent in block.extents if extent is not None)
    known = len(extents) == len(block.extents) and extents and 0 not in extents
    cover = tiling.cover(extents) if known and tiling.axis < len(extents) else None
    return Decision(block, UNCHANGED, tiling, cover, note=f"is tiled already, with {tiling}; --retile does it anew")


def _open(block: Block, tiling: Tiling, opset: int) -> Decision:
    assert block.anatomy is not None
    rank = len(block.anatomy.squeeze.spatial)
    if tiling.squeeze != TILE or tiling.rows is None or tiling.cols is not None or tiling.balanced:
        return _refused(block, f"a map of unknown size can be cut into strips of rows only, not into {tiling}")
    if opset < 10:
        text = f"the model uses opset {opset}; tiles of a map of unknown size need opset 10 or newer"
        return Decision(block, REFUSED, None, None, Refusal("opset", text))
    if tiling.axis >= rank:
        return _refused(block, f"a map with {rank} spatial axes has no axis {tiling.axis}", "rank")
    return Decision(block, CONVERTED, tiling, None, open_strips=OpenStrips(tiling.axis, rank, tiling.rows))


def _refused(block: Block, text: str, code: str = "shape") -> Decision:
    return Decision(block, REFUSED, None, None, Refusal(code, text))
