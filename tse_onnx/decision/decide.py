"""Decide what becomes of each block, before anything changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tse_onnx.decision.analysis import Part
from tse_onnx.decision.decision import Convert, Decided, Keep, Refuse
from tse_onnx.decision.plan import Plan
from tse_onnx.passes.blocks.block import Convertible, Pooling, Refused, Tiled
from tse_onnx.passes.blocks.choice import Choice, Settled, Site
from tse_onnx.passes.blocks.recompute import Recompute, Recomputed, settled, whole_map
from tse_onnx.passes.blocks.tiling import OpenStrips
from tse_onnx.passes.graph.macs import macs_of
from tse_onnx.passes.reasons import Refusal
from tse_onnx.passes.settings import setting


def decide(parts: Iterable[Part], plan: Plan, opset: int, dynamic: bool = False) -> tuple[Decided, ...]:
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


def _bounded(decisions: tuple[Decided, ...], sites: Sequence[Site], plan: Plan, percent: float) -> tuple[Decided, ...]:
    """The decisions with as many blocks recomputed, and from such values, as save most within the limit."""
    from tse_onnx.decision.bounding import within

    network = network_macs({id(site.scope): site for site in sites}.values())
    asked: dict[int, tuple[Convertible, Sequence[Recomputed]]] = {}
    for number, (decision, site) in enumerate(zip(decisions, sites, strict=True)):
        choice = plan.of(decision.block)
        if isinstance(decision, Convert) and isinstance(choice, Recompute):
            ways = choice.ways(decision.block, site)
            if not isinstance(ways, Refusal):
                asked[number] = decision.block, ways
    made = list(decisions)
    offers = [(whole_map(block) or 0, ways) for block, ways in asked.values()]
    found = within(int(network * percent / 100), offers)
    for (number, (block, offered)), way in zip(asked.items(), found, strict=True):
        if way is not None:
            made[number] = _as(block, Recompute(), settled(way), plan.notes.get(block.name, ""))
        else:
            room = f"{percent:g} % of the network's, the limit, have no room for it"
            note = f"to make its map twice takes {offered[-1].macs:,} multiply-accumulates or more; {room}"
            made[number] = Keep(block, plan.of(block), None, note=note)
    return tuple(made)


def network_macs(parts: Iterable[Part | Site]) -> int:
    """The multiply-accumulates of a network, for one image: what limits are per cent of."""
    return sum(macs_of(node, part.scope.types) for part in parts for node in part.scope.index.nodes)


def decide_block(block: Pooling, choice: Choice | None, site: Site, note: str = "") -> Decided:
    """What becomes of one block. Raises `UsageError` where the choice was measured for another one."""
    if isinstance(block, Refused):
        return Refuse(block, None, refusal=block.refusal)
    if isinstance(block, Tiled):
        note = f"is {block.tiled.already}; {setting('retile', True)} does it anew"
        return Keep(block, block.tiled, block.tiled.found(block, site), note=note)
    if choice is None:
        return Keep(block, None, None, note=note or "the plan keeps its global mean")
    found = choice.settle(block, site)
    if isinstance(found, Refusal):
        # A reason that is called as the choice is one against this choice alone.
        return Refuse(block, choice if found.code in choice.squeezes else None, refusal=found)
    return _as(block, choice, found, note)


def _as(block: Convertible, choice: Choice, found: Settled, note: str) -> Convert | Keep:
    form = None if isinstance(found.form, OpenStrips) else found.form
    if found.kept:
        return Keep(block, choice, form, note=found.note)
    said = (note or found.note) if found.note else ""  # where there is nothing to say of it, notes are of no use
    return Convert(block, found.choice or choice, form, note=said, written=found.form)
