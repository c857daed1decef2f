"""The first way to write each block that a target takes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tse_onnx.conversion.rewrite import rewrite, style_of
from tse_onnx.decision.decision import Convert, Decided, Refuse
from tse_onnx.decision.preparation import Preparation
from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.block import convertible
from tse_onnx.passes.graph.scope import scopes
from tse_onnx.passes.lowering import Means, Style, Upsample
from tse_onnx.passes.reasons import printable, quoted, refuse
from tse_onnx.passes.targets.target import Target
from tse_onnx.passes.targets.violations import Violation, outside
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.targets.target_file import TargetLike, target_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitting:
    """A target, and the styles to choose from for it, the first one that fits."""

    target: Target
    styles: tuple[Style, ...]


def fitting_of(target: TargetLike, upsample: str | None = None, means: str | None = None) -> Fitting:
    """The styles to try for a target: all of them, or those with what is forced. Raises `UsageError`."""
    uppers = [upsample] if upsample is not None else [form.value for form in Upsample]
    middles = [means] if means is not None else [form.value for form in Means]
    return Fitting(target_of(target), tuple(style_of(upper, middle) for upper in uppers for middle in middles))


def fitted(made: Preparation, fitting: Fitting) -> tuple[Preparation, Mapping[str, Style]]:
    """The style in which each block, by name, is written, and the preparation without those that fit in none: they are
    refused, with what the first style is outside of."""
    waiting = {decision.block.name for decision in made.decisions if isinstance(decision, Convert)}
    styles: dict[str, Style] = {}
    why: dict[str, Violation] = {}
    untried: UsageError | None = None
    for style in fitting.styles:
        if not waiting:
            break
        try:
            found = dict(_outside(made, style, fitting.target))
        except UsageError as error:  # a style that this model's opset has not got
            untried = error
            continue
        why = {**found, **why}
        fit = waiting - found.keys()
        styles |= dict.fromkeys(sorted(fit), style)
        waiting -= fit
    if untried is not None and waiting - why.keys():
        raise untried
    for name, style in styles.items():
        _log.debug("%s: gates by %s, means by %s", quoted(name), style.upsample.value, style.means.value)
    decisions = tuple(
        _refused(decision, fitting.target, why[decision.block.name])
        if isinstance(decision, Convert) and decision.block.name in waiting
        else decision
        for decision in made.decisions
    )
    return replace(made, decisions=decisions), styles


def _outside(made: Preparation, style: Style, target: Target) -> Iterator[tuple[str, Violation]]:
    """The blocks, by name, of which a node is outside the target's limits, and the first such node."""
    chosen = {decision.block.name for decision in made.decisions if isinstance(decision, Convert)}
    changed, changes = rewrite(made, style, owned=False)
    edits = {change.path: change.edits for change in changes}
    after = scopes(changed, dict(made.analysis.bound), evaluate)
    for part, scope in zip(made.written.parts, after, strict=True):
        blocks: Sequence[str] = [block.name for block in convertible(part.blocks) if block.name in chosen]
        for name, edit in zip(blocks, edits.get(part.scope.path, ()), strict=True):
            written = {value for nodes in edit.nodes.values() for node in nodes for value in node.output if value}
            places = sorted({place for value in written if (place := scope.index.producer(value)) is not None})
            found = (one for place in places for one in outside(scope.index.nodes[place], scope, target))
            if (first := next(found, None)) is not None:
                yield name, first


def _refused(decision: Convert, target: Target, found: Violation) -> Decided:
    there = f"{printable(found.operator)} {quoted(found.node)}"
    limit, source = printable(str(found.limit)), printable(found.limit.source)
    if not found.known:
        why = (
            f"whether {there} keeps to the limit, {limit} ({source}), is not known; bind the input, as by --input-shape"
        )
    else:
        why = f"{there} would have {printable(found.found)}, and the limit is {limit} ({source})"
    text = f"no form of it is within the limits of {printable(target.name)}: {why}"
    return Refuse(decision.block, decision.choice, refusal=refuse("target", text))
