"""Decide what becomes of each block, before anything changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tse_onnx.decision.analysis import Part
from tse_onnx.decision.decision import CONVERTED, REFUSED, UNCHANGED, Decision
from tse_onnx.decision.plan import Plan
from tse_onnx.passes.blocks.block import Block
from tse_onnx.passes.blocks.choice import Choice, Settled, Site
from tse_onnx.passes.blocks.recompute import RECOMPUTE, Recompute, Recomputed, settled, whole_map
from tse_onnx.passes.graph.macs import macs_of
from tse_onnx.passes.reasons import Refusal


def decide(parts: Iterable[Part], plan: Plan, opset: int, dynamic: bool = False) -> tuple[Decision, ...]:
    """A decision for each block of a model with this opset.

    With `dynamic`, maps whose size is not known are cut into strips all the same.
    """
    sites = [(part, Site(part.scope, opset, dynamic, part.blocks)) for part in parts]
    decisions = tuple(
        decide_block(block, plan.of(block), site, plan.notes.get(block.name, ""))
        for part, site in sites
        for block in part.blocks
    )
    if plan.max_macs is None or not any(isinstance(one.form, Recomputed) for one in decisions):
        return decisions
    return _bounded(decisions, [site for part, site in sites for _ in part.blocks], plan, plan.max_macs)


def _bounded(
    decisions: tuple[Decision, ...], sites: Sequence[Site], plan: Plan, percent: float
) -> tuple[Decision, ...]:
    """The decisions with as many blocks recomputed, and from such values, as save most within the limit."""
    from tse_onnx.decision.bounding import within

    network = network_macs({id(site.scope): site for site in sites}.values())
    asked: dict[int, tuple[int, Sequence[Recomputed]]] = {}
    for number, (decision, site) in enumerate(zip(decisions, sites, strict=True)):
        choice = plan.of(decision.block)
        if decision.status == CONVERTED and isinstance(choice, Recompute):
            ways = choice.ways(decision.block, site)
            assert not isinstance(ways, Refusal)  # or the block were refused
            asked[number] = whole_map(decision.block) or 0, ways
    made = list(decisions)
    found = within(int(network * percent / 100), list(asked.values()))
    for (number, (_, offered)), way in zip(asked.items(), found, strict=True):
        block = decisions[number].block
        if way is not None:
            made[number] = _as(block, Recompute(), settled(way), plan.notes.get(block.name, ""))
        else:
            room = f"{percent:g} % of the network's, the limit, have no room for it"
            note = f"to make its map twice takes {offered[-1].macs:,} multiply-accumulates or more; {room}"
            made[number] = Decision(block, UNCHANGED, plan.of(block), None, note=note)
    return tuple(made)


def network_macs(parts: Iterable[Part | Site]) -> int:
    """The multiply-accumulates of a network, for one image: what limits are per cent of."""
    return sum(macs_of(node, part.scope.types) for part in parts for node in part.scope.index.nodes)


def decide_block(block: Block, choice: Choice | None, site: Site, note: str = "") -> Decision:
    """What becomes of one block. Raises `UsageError` where the choice was measured for another one."""
    if block.refusal is not None:
        return Decision(block, REFUSED, None, None, block.refusal)
    if block.tiled is not None:
        note = f"is {block.tiled.already}; --retile does it anew"
        return Decision(block, UNCHANGED, block.tiled, block.tiled.found(block, site), note=note)
    if choice is None:
        return Decision(block, UNCHANGED, None, None, note=note or "the plan keeps its global mean")
    found = choice.settle(block, site)
    if isinstance(found, Refusal):
        return Decision(block, REFUSED, choice if found.code == RECOMPUTE else None, None, found)
    return _as(block, choice, found, note)


def _as(block: Block, choice: Choice, found: Settled, note: str) -> Decision:
    if found.kept:
        return Decision(block, UNCHANGED, choice, found.form, note=found.note)
    said = (note or found.note) if found.note else ""  # where there is nothing to say of it, notes are of no use
    return Decision(block, CONVERTED, found.choice or choice, found.form, note=said, open_strips=found.open_strips)
