"""Decide what becomes of each block, before anything changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tse_onnx.passes.block import Block
from tse_onnx.passes.lowering import OLDEST_OPSET
from tse_onnx.passes.reasons import Refusal, quoted
from tse_onnx.passes.tile import Tile

CONVERTED, UNCHANGED, REFUSED = "converted", "unchanged", "refused"


@dataclass(frozen=True)
class Decision:
    """What becomes of a block: `converted` to `tile`, `unchanged` because one tile covers its map, or `refused`."""

    block: Block
    status: str
    tile: Tile | None
    refusal: Refusal | None = None
    note: str = ""

    @property
    def reason(self) -> str | None:
        """Why the block is not converted, as a sentence."""
        return self.refusal.text if self.refusal else self.note or None


def decide(blocks: Iterable[Block], rows: int, opset: int) -> tuple[Decision, ...]:
    """A decision for each block: strips of `rows` rows."""
    return tuple(_decide(block, rows, opset) for block in blocks)


def _decide(block: Block, rows: int, opset: int) -> Decision:
    if block.refusal is not None:
        return Decision(block, REFUSED, None, block.refusal)
    extents = tuple(extent for extent in block.extents if extent is not None)
    if not extents or len(extents) != len(block.extents):
        return Decision(block, REFUSED, None, Refusal("shape", f"the size of {quoted(block.input)} cannot be inferred"))
    if 0 in extents:
        return Decision(block, REFUSED, None, Refusal("shape", f"{quoted(block.input)} is an empty map"))
    if opset < OLDEST_OPSET:
        text = f"the model uses opset {opset}; tiles need opset {OLDEST_OPSET} or newer: export or convert it to that"
        return Decision(block, REFUSED, None, Refusal("opset", text))
    tile = Tile.strip(extents, rows)
    if tile.covers_map:
        note = f"a tile of {rows} rows covers its map of {' × '.join(map(str, extents))}"
        return Decision(block, UNCHANGED, tile, note=note)
    return Decision(block, CONVERTED, tile)
