"""What a network is called, by what became of its blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tse_onnx.conversion.report import Report
from tse_onnx.decision.decision import CONVERTED
from tse_onnx.passes.blocks.block import Block, Refused
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.tiling import Tiling

_MOST = 3  # names with their numbers, before the kinds alone are named


def title(choices: Iterable[Choice | None]) -> str:
    """What a network is called whose blocks have these choices; None is a global mean."""
    listed = list(choices)
    if not listed:
        return "no squeeze-and-excite block"
    if not any(listed):
        return "squeeze-and-excite"
    names = Counter(_name(choice) for choice in listed)
    if len(names) == 1:
        return next(iter(names))
    if len(names) > _MOST:
        names = Counter(_kind(choice) for choice in listed)
    (first, most), *others = names.most_common()
    blocks = f"{first} in {most} block{'s' * (most != 1)}"
    return ", ".join((blocks, *(f"{name} in {count}" for name, count in others)))


def choices_of(blocks: Iterable[Block]) -> list[Choice | None]:
    """What an earlier conversion made of each block; None for one that has its global mean."""
    return [block.tiled for block in blocks if not isinstance(block, Refused)]


def planned(report: Report) -> list[Choice | None]:
    """The same after a conversion."""
    decisions = [figures.decision for figures in report.buffering.blocks]
    return [
        decision.choice if decision.status == CONVERTED else decision.block.tiled
        for decision in decisions
        if not isinstance(decision.block, Refused)
    ]


def _name(choice: Choice | None) -> str:
    return str(choice) if isinstance(choice, Tiling) else _kind(choice)


def _kind(choice: Choice | None) -> str:
    if choice is None:
        return "global mean"
    return choice.kind if isinstance(choice, Tiling) else choice.done
