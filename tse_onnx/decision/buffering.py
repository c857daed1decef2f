"""The paper's metric: what the scale of a block holds back until its gate is known.

Vosco, Shenkler, Grobman, "Tiled Squeeze-and-Excite: Channel Attention With Local Spatial Context", 2021: a block's
pipeline buffer is C · min(h, H) · min(w, W) elements of its input.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tse_onnx.decision.decision import CONVERTED, REFUSED, UNCHANGED, Convert, Decided, Decision, Refuse
from tse_onnx.passes.blocks.block import Refused, Tiled
from tse_onnx.passes.graph.types import bits_of


@dataclass(frozen=True)
class BlockBuffering:
    """One block's figures, all for one image.

    `tile` is rows × columns, clamped to the map; `before` and `after` are elements by the paper's metric, `held` those
    that a machine holds which streams whole rows (it differs for columns, patches, upper and middle strips), `bits`
    what one of them takes at the model's type. `macs_added` is what the excite does more: (N − 1) · F for N descriptors
    of F multiply-accumulates, of which a frozen gate has none, and what a recomputed block computes twice. `waits` is
    the value that waits for the gate where it is not the map, `bits_after` what one element of it takes. All figures
    are None where the block is refused for whatever choice, or its size not known.
    """

    decision: Decision
    tile: tuple[int, ...] | None = None
    descriptors: int | None = None
    before: int | None = None
    after: int | None = None
    held: int | None = None
    bits: int | None = None
    macs_added: int | None = None
    waits: str | None = None
    bits_after: int | None = None

    @property
    def before_bytes(self) -> int | None:
        """`before` in bytes."""
        return _bytes(self.before, self.bits)

    @property
    def after_bytes(self) -> int | None:
        """`after` in bytes."""
        return _bytes(self.after, self.bits_after or self.bits)


@dataclass(frozen=True)
class Totals:
    """Sums over the blocks that have figures: converted, unchanged, or refused for their choice alone. `reduction` is
    the fraction of `before` that is saved."""

    converted: int
    unchanged: int
    refused: int
    before: int
    after: int
    before_bytes: int
    after_bytes: int
    macs_added: int

    @property
    def reduction(self) -> float:
        """Saved part of the buffer, 0 to 1."""
        return 1 - self.after / self.before if self.before else 0.0


@dataclass(frozen=True)
class Buffering:
    """The figures of every block, and their sums."""

    blocks: tuple[BlockBuffering, ...]
    totals: Totals


def measure(decisions: Iterable[Decided]) -> Buffering:
    """The paper's metric before and after `decisions`."""
    blocks = tuple(_measure(decision) for decision in decisions)
    statuses = [block.decision.status for block in blocks]
    totals = Totals(
        converted=statuses.count(CONVERTED),
        unchanged=statuses.count(UNCHANGED),
        refused=statuses.count(REFUSED),
        before=sum(block.before or 0 for block in blocks),
        after=sum(block.after or 0 for block in blocks),
        before_bytes=sum(block.before_bytes or 0 for block in blocks),
        after_bytes=sum(block.after_bytes or 0 for block in blocks),
        macs_added=sum(block.macs_added or 0 for block in blocks),
    )
    return Buffering(blocks, totals)


def _measure(decision: Decided) -> BlockBuffering:
    block, gates = decision.block, decision.block.gates
    if gates is None or None in block.extents or isinstance(block, Refused):
        return BlockBuffering(decision)
    extents = tuple(extent or 0 for extent in block.extents)
    bits, whole = bits_of(block.stored), gates * math.prod(extents)
    if decision.form is not None:
        made = decision.form.buffers(block)
        own = bits if made.dtype is None else bits_of(made.dtype)
        before, first, added = (made.after, own, 0) if isinstance(block, Tiled) else (whole, bits, made.macs_added)
        return BlockBuffering(
            decision, made.tile, made.descriptors, before, made.after, made.held, first, added, made.waits, own
        )
    # Refused for one choice alone, a block holds its map as before: the sums count it.
    kept_out = isinstance(decision, Refuse) and decision.choice is None
    if isinstance(block, Tiled) or isinstance(decision, Convert) or kept_out:
        return BlockBuffering(decision)
    return BlockBuffering(decision, extents, 1, whole, whole, whole, bits, 0)


def _bytes(elements: int | None, bits: int | None) -> int | None:
    return None if elements is None or bits is None else -(-elements * bits // 8)
