"""From decisions to a changed model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx
from onnx import ModelProto, ValueInfoProto

from tse_onnx.decision.analysis import Part
from tse_onnx.decision.decision import Convert
from tse_onnx.decision.preparation import Preparation
from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.block import Convertible, Tiled, convertible
from tse_onnx.passes.blocks.choice import Form
from tse_onnx.passes.blocks.recompute import Recomputed
from tse_onnx.passes.blocks.tiling import OpenStrips, Running, Tile, Window
from tse_onnx.passes.graph.operators import is_default, opset_of
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.settings import setting

if TYPE_CHECKING:
    from tse_onnx.passes.edit.splice import Change, Edit
    from tse_onnx.passes.lowering import Style

_CUMSUM = 11  # the opset from which on there is a CumSum


class Unwritable(UsageError):
    """A block would need an operator that onnx does not take where the block stands."""

    def __init__(self, text: str, block: str, operator: str) -> None:
        super().__init__(text)
        self.block, self.operator = block, operator


def style_of(upsample: str | None = None, means: str | None = None) -> Style:
    """How gates are spread and means computed, by name where it is not to be the best way that there is. Raises
    `UsageError` for a name that there is not."""
    from tse_onnx.passes.lowering import MEANS, SPREADS, Style
    from tse_onnx.passes.lowering.way import need_name

    need_name(SPREADS, upsample or "", "gates are spread")
    need_name(MEANS, means or "", "means are computed")
    return Style(upsample or "", means or "")


def rewrite(
    made: Preparation, style: Style, *, owned: bool, styles: Mapping[str, Style] | None = None
) -> tuple[ModelProto, tuple[Change, ...]]:
    """The converted model and what was changed in it; a model that is `owned` is changed in place instead of copied.
    Blocks that `styles` has, by name, are written in these."""
    source = made.analysis.source
    if owned:
        converted = source.model
    else:
        converted = ModelProto()
        converted.CopyFrom(source.model)
    chosen = {decision.block.name: decision for decision in made.decisions if isinstance(decision, Convert)}
    changes: tuple[Change, ...] = ()
    if chosen:
        from tse_onnx.passes.edit.memory import remember, remembered
        from tse_onnx.passes.edit.record import next_step
        from tse_onnx.passes.edit.splice import Change, apply
        from tse_onnx.passes.graph.nested import taken_names

        taken = taken_names(source.model)
        tiled = any(isinstance(block, Tiled) for block in made.written.blocks)
        step = next_step(source.model, remembered(source.model)) if tiled else 1
        # The first block remembers for all what the inputs were.
        inputs = [value for value in source.model.graph.input if value.name in made.written.bound]
        changes = tuple(
            Change(part.scope.path, _edits(source.model, part, chosen, taken, style, styles or {}, step, inputs))
            for part in made.written.parts
            if any(block.name in chosen for block in part.blocks)
        )
        apply(converted, changes)
        remember(converted, changes)
    if made.written.bound:
        from tse_onnx.passes.graph.types import bind_inputs

        bind_inputs(converted.graph, made.written.bound)
    return converted, changes


def _check_means(style: Style, form: object, opset: int) -> None:
    if style.means == "cumsum" and isinstance(form, Running) and opset < _CUMSUM:
        raise UsageError(
            f"running means by cumsum need opset {_CUMSUM}; the model uses opset {opset}: leave out "
            f"{setting('means', 'cumsum')}"
        )


def _check_operators(edit: Edit, block: str, scope: Scope, model: ModelProto) -> None:
    """onnx takes a function of another opset than the model's only with operators that are the same in both."""
    own = opset_of(model.opset_import)
    if scope.opset in (own, 0) or not own:
        return
    used = dict.fromkeys(node.op_type for node in scope.index.nodes if is_default(node.domain))
    if _changed(used, own, scope.opset):
        return  # not taken as it is, either
    added = dict.fromkeys(node.op_type for nodes in edit.nodes.values() for node in nodes)
    if changed := _changed(added, own, scope.opset):
        way_out = f"try another {setting('upsample')}, or " if changed[0] == "Resize" else ""
        text = (
            f"{scope.title} uses opset {scope.opset}, the model opset {own}, and onnx takes no operator there that is "
            f"not the same in both, as {changed[0]} is not: {way_out}convert all of the model to one opset"
        )
        raise Unwritable(text, block, changed[0])


def _writable(
    block: Convertible, form: Form | OpenStrips, scope: Scope, taken: set[str], style: Style, model: ModelProto
) -> Edit:
    """The edit of a block, in the first way of those that `style` leaves open that has no operator which onnx does not
    take there."""
    from tse_onnx.passes.lowering import lower, pairs

    if scope.opset == opset_of(model.opset_import) or not isinstance(form, (Tile, Window, Running, OpenStrips)):
        return lower(block, form, scope, taken, style)
    first: Unwritable | None = None
    for mean, spread in pairs(form, block, scope, style):
        names = set(taken)
        edit = lower(block, form, scope, names, replace(style, means=mean.name, upsample=spread.name))
        try:
            _check_operators(edit, block.name, scope, model)
        except Unwritable as error:
            if first is None or error.operator in spread.operators:
                first = error
            continue
        taken |= names
        return edit
    assert first is not None
    raise first


def _changed(operators: Iterable[str], *opsets: int) -> list[str]:
    """Those operators of onnx that are not the same at two opsets."""
    changed = []
    for operator in operators:
        try:
            one, other = (onnx.defs.get_schema(operator, opset).since_version for opset in opsets)
        except (onnx.defs.SchemaError, TypeError):  # not in one of them, or an opset that is no C integer
            continue
        if one != other:
            changed.append(operator)
    return changed


def _shared(part: Part, chosen: Mapping[str, Convert]) -> frozenset[int]:
    """The nodes that some edit of the part copies, those that make what it copies them from, and those that bear the
    record of a block already."""
    found = {block.squeeze.position for block in part.blocks if isinstance(block, Tiled)}
    for block in part.blocks:
        form = chosen[block.name].form if block.name in chosen else None
        if isinstance(form, Recomputed):
            maker = part.scope.index.producer(form.held)
            found.update(form.nodes if maker is None else (maker, *form.nodes))
    return frozenset(found)


def _edits(
    model: ModelProto,
    part: Part,
    chosen: Mapping[str, Convert],
    taken: set[str],
    style: Style,
    styles: Mapping[str, Style],
    step: int,
    inputs: list[ValueInfoProto],
) -> tuple[Edit, ...]:
    from tse_onnx.passes.edit.record import Recorder
    from tse_onnx.passes.graph.nested import container

    edits = []
    shared = _shared(part, chosen)
    recorder = Recorder(container(model, part.scope.path), step, part.scope.opset)
    for block in convertible(part.blocks):
        decision = chosen.get(block.name)
        if decision is None:
            continue
        own = replace(styles.get(block.name, style), shared=shared)
        _check_means(style, decision.written, part.scope.opset)
        edit = _writable(block, decision.written, part.scope, taken, own, model)
        edits.append(recorder.recorded(edit, block, decision.choice, inputs))
        inputs.clear()
    return tuple(edits)
