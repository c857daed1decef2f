"""Plans of choices that lose nothing: blocks keep their mean or are recomputed, with as few multiply-accumulates more
as a reduction takes. No data are needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tse_onnx.decision.analysis import Analysis, Part
from tse_onnx.decision.bounding import Offered, Ways, fewest, within
from tse_onnx.decision.buffering import measure
from tse_onnx.decision.decide import decide, network_macs
from tse_onnx.decision.plan import Plan
from tse_onnx.errors import CheckFailed, ModelError, UsageError
from tse_onnx.passes.blocks.block import Convertible, convertible
from tse_onnx.passes.blocks.choice import Choice, Site
from tse_onnx.passes.blocks.recompute import Recompute, settled, whole_map
from tse_onnx.passes.reasons import Refusal
from tse_onnx.passes.settings import command, setting

_ENOUGH = "kept: the reduction is reached without it"


def exact_choices(analysis: Analysis, plan: Plan, opset: int, reduce: float) -> Plan:
    """The plan that saves the fraction `reduce` of what the gates hold back, for the fewest multiply-accumulates.

    `plan` says which blocks may be recomputed, and within which limit; all others keep their mean. Raises
    `CheckFailed` where exact choices do not reach it, with the most that they do; `ModelError` where there is no block.
    """
    if not 0 <= reduce <= 1:
        raise UsageError(f"a reduction is a fraction from 0 to 1, not {reduce}")
    before = measure(decide(analysis.parts, Plan(None), opset)).totals.before
    title = analysis.source.title
    if not before:
        raise ModelError(f"{title} has no squeeze-and-excite block to choose for; tse-onnx inspect says why")
    if not _open_blocks(analysis.parts, opset):
        raise ModelError(f"{title} has no block left to choose for; they are converted already: restore it first")
    choices: dict[str, Choice | None] = {}
    notes: dict[str, str] = {}
    offered: dict[str, Offered] = {}
    for block, site in _open_blocks(analysis.parts, opset):
        choice = plan.of(block)
        choices[block.name] = None
        if not isinstance(choice, Recompute):
            notes[block.name] = plan.notes.get(block.name, "")
            continue
        ways = choice.ways(block, site)
        if isinstance(ways, Refusal):
            notes[block.name] = f"kept: {ways.text}"
        else:
            offered[block.name], notes[block.name] = (whole_map(block) or 0, ways), _ENOUGH
    wanted = before - math.floor(before * (1 - reduce) + 1e-6)
    network = network_macs(analysis.parts)
    limit = None if plan.max_macs is None else int(network * plan.max_macs / 100)
    found = fewest(wanted, list(offered.values()), limit)
    if found is None:
        raise CheckFailed(_too_little(wanted, before, list(offered.values()), limit, network))
    for name, way in zip(offered, found, strict=True):
        if way is not None:
            choices[name] = settled(way).choice
            del notes[name]
    return Plan(None, choices, {name: note for name, note in notes.items() if note})


def _open_blocks(parts: Sequence[Part], opset: int) -> list[tuple[Convertible, Site]]:
    """The blocks that may still get a choice, each with where it stands."""
    sites = [(part, Site(part.scope, opset, False, part.blocks)) for part in parts]
    return [(block, site) for part, site in sites for block in convertible(part.blocks)]


def _too_little(wanted: int, before: int, offered: Sequence[Offered], limit: int | None, network: int) -> str:
    """What exact choices reach, and what would reach further."""
    most = _saved([min(ways, key=lambda way: way.elements) for _, ways in offered], offered)
    start = f"exact choices do not reach {_percent(wanted, before)} less: the most is"
    tiles = (
        f"tiles go further, for some accuracy: {command('tune')} chooses them on data, {setting('rows')} "
        "makes them without"
    )
    if limit is None:
        return f"{start} {_share(most, before)}; {tiles}"
    held = f"{start} {_share(_saved(within(limit, offered), offered), before)} within the limit of MACs"
    enough = fewest(wanted, offered)
    if enough is None:
        return f"{held}, {_percent(most, before)} without it; {tiles}"
    needed = 100 * sum(way.macs for way in enough if way is not None) / max(network, 1)
    room = math.ceil(10 * needed) / 10
    return f"{held}; {setting('max_macs', room)} has room for it, or tiles reach it: {command('tune')}"


def _share(saved: int, before: int) -> str:
    return f"{_percent(saved, before)}, {before - saved:,} of {before:,} elements"


def _saved(ways: Ways, offered: Sequence[Offered]) -> int:
    return sum(whole - way.elements for (whole, _), way in zip(offered, ways, strict=True) if way is not None)


def _percent(part: int, whole: int) -> str:
    """Rounded down, so that what is said to be reached is."""
    return f"{1000 * part // whole / 10:.1f} %"
