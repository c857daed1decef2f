"""Which blocks get which tiles, as asked for by name, by pattern, by resolution and by order.

`resolve` makes of it one `Plan` for one model. The narrower wish wins: a block's own name over a pattern, a pattern
over a height, a height over the plan, the plan over its default; of two equal ones the later.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tse_onnx.decision.plan import Plan
from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.block import Block, Refused
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import command, setting


@dataclass(frozen=True)
class Selection:
    """What differs from one tiling for all blocks.

    `rows` are rows by block name or pattern, `stages` rows by the map's size along the streamed axis (56: 3 for maps of
    height 56). Only blocks that match a pattern of `include` (if there is one) and none of `exclude`, and whose maps
    have `min_height` rows or more along that axis, are tiled, and of these only the `first` ones in data-flow order.
    """

    rows: tuple[tuple[str, int], ...] = ()
    stages: tuple[tuple[int, int], ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    first: int | None = None
    min_height: int | None = None

    def __post_init__(self) -> None:
        if self.first is not None and self.first < 0:
            raise UsageError(f"the first blocks are zero or more, not {self.first}")
        if self.min_height is not None and self.min_height < 1:
            raise UsageError(f"the least height of a map is 1 or more, not {self.min_height}")

    def __bool__(self) -> bool:
        return any((self.rows, self.stages, self.include, self.exclude, self.first is not None, self.min_height))


EVERYTHING = Selection()


def resolve(blocks: Sequence[Block], plan: Plan, selection: Selection) -> Plan:
    """`plan` with every wish of `selection` worked into it, for a model's `blocks` in data-flow order.

    Raises `UsageError` where the plan or the selection names what no block is called, with the nearest name.
    """
    for name in plan.choices:
        if all(block.name != name for block in blocks):
            raise UsageError(f"the plan names {quoted(name)}, which is no block of the model{_nearest(name, blocks)}")
    if not selection:
        return plan
    choices, notes = dict(plan.choices), dict(plan.notes)
    open_blocks = [block for block in blocks if not isinstance(block, Refused)]
    for height, rows in selection.stages:
        for block in _of_height(height, open_blocks, plan):
            choices[block.name] = _with_rows(plan.of(block), plan.default, rows)
    # Patterns first, and then names: what is written for one block is meant for it.
    wishes = [(name, rows, _matching(name, blocks, "rows")) for name, rows in selection.rows]
    for exact in (False, True):
        for name, rows, matched in wishes:
            if exact == any(block.name == name for block in matched):
                for block in matched:
                    choices[block.name] = _with_rows(plan.of(block), plan.default, rows)
    for name, why in _left_out(open_blocks, blocks, Plan(plan.default, choices), selection).items():
        choices[name], notes[name] = None, why
    left = {name: why for name, why in notes.items() if not isinstance(choices.get(name), Tiling)}
    return replace(plan, choices=choices, notes=left)


def _left_out(
    open_blocks: Sequence[Block], blocks: Sequence[Block], plan: Plan, selection: Selection
) -> dict[str, str]:
    """Why each block that is not to be tiled is not."""
    wanted = {block.name for pattern in selection.include for block in _matching(pattern, blocks, "include")}
    unwanted: dict[str, str] = {}
    for pattern in selection.exclude:
        for block in _matching(pattern, blocks, "exclude"):
            unwanted.setdefault(block.name, pattern)
    heights = _heights(open_blocks, plan)
    least = selection.min_height
    if least is not None and not any((height or 0) >= least for height in heights.values()):
        raise UsageError(f"{setting('min_height', least)} fits no block{_known(heights)}")
    left: dict[str, str] = {}
    count = 0
    for block in open_blocks:
        if selection.include and block.name not in wanted:
            left[block.name] = f"left out: it matches no {setting('include')}"
        elif block.name in unwanted:
            left[block.name] = f"left out by {setting('exclude', unwanted[block.name])}"
        elif least is not None and (height := heights.get(block.name) or 0) < least:
            has = f"has {height} rows, fewer than" if height else "is of unknown height, which may be less than"
            left[block.name] = f"left out: its map {has} {setting('min_height', least)}"
        elif selection.first is not None and plan.of(block) is not None:
            count += 1
            if count > selection.first:
                left[block.name] = f"left out: it is not among the first {selection.first} ({setting('first')})"
    return left


def _with_rows(own: Choice | None, default: Choice | None, rows: int) -> Tiling:
    base = next(choice for choice in (own, default, Tiling()) if isinstance(choice, Tiling))
    return replace(base, rows=rows, step=min(base.step, rows), calibration=None)


def _of_height(height: int, blocks: Sequence[Block], plan: Plan) -> list[Block]:
    heights = _heights(blocks, plan)
    found = [block for block in blocks if heights.get(block.name) == height]
    if not found:
        raise UsageError(f"{setting('stages')} {height}:… fits no block{_known(heights)}")
    return found


def _heights(blocks: Sequence[Block], plan: Plan) -> dict[str, int | None]:
    """The size of each block's map along the axis that is streamed, where it has that axis."""
    heights = {}
    for block in blocks:
        axis = _with_rows(plan.of(block), plan.default, 1).axis
        if axis < len(block.extents):
            heights[block.name] = block.extents[axis]
    return heights


def _known(heights: Mapping[str, int | None]) -> str:
    known = sorted({height for height in heights.values() if height is not None}, reverse=True)
    return f"; there are maps of height {', '.join(map(str, known))}" if known else ""


def _matching(pattern: str, blocks: Sequence[Block], wish: str) -> list[Block]:
    """The blocks that a name or a pattern stands for."""
    exact = [block for block in blocks if block.name == pattern]
    if exact:
        if isinstance(exact[0], Refused) and wish == "rows":
            raise UsageError(f"{setting(wish)} names {quoted(pattern)}, which cannot be tiled: {exact[0].reason}")
        return exact
    found = [block for block in blocks if not isinstance(block, Refused) and fnmatch.fnmatchcase(block.name, pattern)]
    if not found:
        what = "matches no block" if any(letter in pattern for letter in "*?[") else "is no block of the model"
        raise UsageError(f"{setting(wish)}: {quoted(pattern)} {what}{_nearest(pattern, blocks)}")
    return found


def _nearest(name: str, blocks: Iterable[Block]) -> str:
    names = [block.name for block in blocks if block.refusal is None] or [block.name for block in blocks]
    near = difflib.get_close_matches(name, names, 1, 0.3)
    if near:
        return f"; did you mean {quoted(near[0])}?"
    return f"; {command('inspect')} lists the blocks" if names else "; the model has no blocks"
