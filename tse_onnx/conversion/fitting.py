"""The first way to write each block that a target takes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tse_onnx.conversion.rewrite import Unwritable, rewrite, style_of
from tse_onnx.decision.decision import Convert, Decided, Refuse
from tse_onnx.decision.preparation import Preparation
from tse_onnx.passes.blocks.block import Convertible, convertible
from tse_onnx.passes.blocks.choice import Form
from tse_onnx.passes.blocks.tiling import OpenStrips, Running, Tile, Window
from tse_onnx.passes.graph.scope import Scope, scopes
from tse_onnx.passes.lowering import Means, Spread, Style, pairs
from tse_onnx.passes.reasons import printable, quoted, refuse
from tse_onnx.passes.settings import setting
from tse_onnx.passes.targets.measures import OPERATOR
from tse_onnx.passes.targets.target import Target
from tse_onnx.passes.targets.violations import Violation, outside
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.targets.target_file import TargetLike, target_of

_log = logging.getLogger(__name__)

Written = Form | OpenStrips


@dataclass(frozen=True)
class Fitting:
    """A target, and the style whose names are forced on what is written for it."""

    target: Target
    style: Style


def fitting_of(target: TargetLike, upsample: str | None = None, means: str | None = None) -> Fitting:
    """A target, with what is forced. Raises `UsageError`."""
    return Fitting(target_of(target), style_of(upsample, means))


def fitted(made: Preparation, fitting: Fitting) -> tuple[Preparation, Mapping[str, Style]]:
    """The style in which each block, by name, is written, and the preparation without those that fit in none: they are
    refused, with what the first style is outside of."""
    searches = {block.name: _Search(block, form, scope, fitting.style) for block, form, scope in _written(made)}
    why: dict[str, Violation] = {}
    waiting = set(searches)
    while waiting:
        styles = {name: search.style for name, search in searches.items() if search.ways}
        try:
            found = {name: there for name, there in _outside(made, fitting, styles) if name in waiting}
        except Unwritable as error:
            if not searches[error.block].skip_operator(error.operator):
                raise
            continue
        for name, (violation, place) in found.items():
            why.setdefault(name, violation)
            searches[name].skip(place)
        waiting = {name for name in found if searches[name].ways}
    styles = {name: search.style for name, search in searches.items() if search.ways}
    for name, style in styles.items():
        _log.debug("%s: gates by %s, means by %s", quoted(name), style.upsample, style.means)
    decisions = tuple(
        _refused(decision, fitting.target, why[decision.block.name])
        if isinstance(decision, Convert) and decision.block.name in searches.keys() - styles.keys()
        else decision
        for decision in made.decisions
    )
    return replace(made, decisions=decisions), styles


def _written(made: Preparation) -> Iterator[tuple[Convertible, Written, Scope]]:
    """The blocks that are converted, what they come to, and where they stand."""
    chosen = {decision.block.name: decision for decision in made.decisions if isinstance(decision, Convert)}
    for part in made.written.parts:
        for block in convertible(part.blocks):
            if block.name in chosen:
                yield block, chosen[block.name].written, part.scope


class _Search:
    """The ways to write a block that are left, the best first; what is no tiling has one alone."""

    def __init__(self, block: Convertible, form: Written, scope: Scope, style: Style) -> None:
        self._style = style
        self.ways: list[tuple[Means, Spread] | None] = [None]
        if isinstance(form, (Tile, Window, Running, OpenStrips)):
            self.ways = list(pairs(form, block, scope, style))

    @property
    def style(self) -> Style:
        """The first way that is left."""
        if (way := self.ways[0]) is None:
            return self._style
        return replace(self._style, means=way[0].name, upsample=way[1].name)

    def skip(self, place: str) -> None:
        """Leave out the ways that would have the same nodes in a place, `MEANS`, `SPREAD`, or what is between."""
        self.ways = [way for way in self.ways if not _alike(way, self.ways[0], place)]

    def skip_operator(self, operator: str) -> bool:
        """Leave out the ways that would have what makes the first one have an operator; whether any is left."""
        way = self.ways[0]
        self.skip(_SPREAD if way is not None and operator in way[1].operators else _MEANS)
        return bool(self.ways)


_MEANS, _SPREAD = "means", "spread"


def _alike(way: tuple[Means, Spread] | None, first: tuple[Means, Spread] | None, place: str) -> bool:
    if way is None or first is None:
        return True
    if place == _MEANS:
        return way[0] is first[0]
    return way[0].each_row == first[0].each_row and (place != _SPREAD or way[1] is first[1])


def _outside(
    made: Preparation, fitting: Fitting, styles: Mapping[str, Style]
) -> Iterator[tuple[str, tuple[Violation, str]]]:
    """The blocks, by name, of which a node is outside the target's limits, the first such node, and its place."""
    changed, changes = rewrite(made, fitting.style, owned=False, styles=styles)
    edits = {change.path: change.edits for change in changes}
    after = scopes(changed, dict(made.analysis.bound), evaluate)
    for part, scope in zip(made.written.parts, after, strict=True):
        blocks = [block for block in convertible(part.blocks) if block.name in styles]
        for block, edit in zip(blocks, edits.get(part.scope.path, ()), strict=True):
            places = {block.anatomy.squeeze.nodes[-1]: _MEANS, block.scale.position: _SPREAD}
            places |= {product.position: _SPREAD for product in block.anatomy.products}
            written = {value: places.get(position, "")
                       for position, nodes in edit.nodes.items()
                       for node in nodes for value in node.output if value}  # fmt: skip
            nodes = {place: written[value] for value in written if (place := scope.index.producer(value)) is not None}
            found = (
                (one, nodes[at])
                for at in sorted(nodes)
                for one in outside(scope.index.nodes[at], scope, fitting.target)
            )
            if (first := next(found, None)) is not None:
                yield block.name, first


def _refused(decision: Convert, target: Target, found: Violation) -> Decided:
    there = f"{printable(found.operator)} {quoted(found.node)}"
    limit, source = printable(str(found.limit)), printable(found.limit.source)
    if not found.known:
        why = (
            f"whether {there} keeps to the limit, {limit} ({source}), is not known; bind the input, as by "
            f"{setting('input_shapes')}"
        )
    elif found.limit.measure == OPERATOR:
        why = f"{there} would be there, an operator that is {limit} ({source})"
    else:
        why = f"{there} would have {printable(found.found)}, and the limit is {limit} ({source})"
    text = f"no form of it is within the limits of {printable(target.name)}: {why}"
    return Refuse(decision.block, decision.choice, refusal=refuse("target", text))
