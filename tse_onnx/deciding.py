"""Decide what becomes of each block, before anything changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tse_onnx.analysis import Part
from tse_onnx.decision import CONVERTED, REFUSED, UNCHANGED, Decision
from tse_onnx.passes.block import Block
from tse_onnx.passes.choice import Choice, Site
from tse_onnx.passes.reasons import Refusal
from tse_onnx.plan import Plan


def decide(parts: Iterable[Part], plan: Plan, opset: int, dynamic: bool = False) -> tuple[Decision, ...]:
    """A decision for each block of a model with this opset.

    With `dynamic`, maps whose size is not known are cut into strips all the same.
    """
    return tuple(
        decide_block(block, plan.of(block), Site(part.scope, opset, dynamic), plan.notes.get(block.name, ""))
        for part in parts
        for block in part.blocks
    )


def decide_block(block: Block, choice: Choice | None, site: Site, note: str = "") -> Decision:
    """What becomes of one block. Raises `UsageError` where the choice was measured for another one."""
    if block.refusal is not None:
        return Decision(block, REFUSED, None, None, block.refusal)
    if block.tiled is not None:
        note = f"is {block.tiled.already}; --retile does it anew"
        return Decision(block, UNCHANGED, block.tiled, block.tiled.found(block, site), note=note)
    if choice is None:
        return Decision(block, UNCHANGED, None, None, note=note or "the plan keeps its global mean")
    settled = choice.settle(block, site)
    if isinstance(settled, Refusal):
        return Decision(block, REFUSED, None, None, settled)
    if settled.kept:
        return Decision(block, UNCHANGED, choice, settled.form, note=settled.note)
    if settled.note:  # else there is nothing to say of it
        settled = replace(settled, note=note or settled.note)
    return Decision(block, CONVERTED, choice, settled.form, note=settled.note, open_strips=settled.open_strips)
