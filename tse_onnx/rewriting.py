"""From decisions to a changed model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from onnx import ModelProto, ValueInfoProto

from tse_onnx.analysis import Part
from tse_onnx.errors import UsageError
from tse_onnx.passes.tiling import Cover, OpenStrips, Running
from tse_onnx.plan import CONVERTED, Decision
from tse_onnx.preparation import Preparation

if TYPE_CHECKING:
    from tse_onnx.passes.lowering import Means, Upsample
    from tse_onnx.passes.splice import Change, Edit

Forms = tuple["Upsample", "Means"]

_CUMSUM = 11  # the opset from which on there is a CumSum


def forms_of(upsample: str, means: str) -> Forms:
    """How gates are spread and running means computed, by name. Raises `UsageError` for a name that there is not."""
    from tse_onnx.passes.lowering import Means, Upsample

    try:
        return Upsample(upsample), Means(means)
    except ValueError:
        choices = [", ".join(form.value for form in kind) for kind in (Upsample, Means)]
        raise UsageError(f"gates are spread by {choices[0]}, running means made by {choices[1]}") from None


def rewrite(made: Preparation, forms: Forms, *, owned: bool) -> tuple[ModelProto, tuple[Change, ...]]:
    """The converted model and what was changed in it; a model that is `owned` is changed in place instead of copied."""
    source = made.analysis.source
    if owned:
        converted = source.model
    else:
        converted = ModelProto()
        converted.CopyFrom(source.model)
    chosen = {decision.block.name: decision for decision in made.decisions if decision.status == CONVERTED}
    changes: tuple[Change, ...] = ()
    if chosen:
        from tse_onnx.passes.names import taken_names
        from tse_onnx.passes.splice import Change, apply
        from tse_onnx.passes.undo import next_step

        taken = taken_names(source.model)
        step = next_step(source.model) if any(block.tiled for block in made.written.blocks) else 1
        # The first block remembers for all what the inputs were.
        inputs = [value for value in source.model.graph.input if value.name in made.written.bound]
        changes = tuple(
            Change(part.scope.path, _edits(source.model, part, chosen, taken, forms, step, inputs))
            for part in made.written.parts
            if any(block.name in chosen for block in part.blocks)
        )
        apply(converted, changes)
    if made.written.bound:
        from tse_onnx.passes.shapes import bind_inputs

        bind_inputs(converted.graph, made.written.bound)
    return converted, changes


def _check_means(means: Means, cover: Cover | OpenStrips, opset: int) -> None:
    if means.value == "cumsum" and isinstance(cover, Running) and opset < _CUMSUM:
        raise UsageError(
            f"running means by cumsum need opset {_CUMSUM}; the model uses opset {opset}: leave out --means cumsum"
        )


def _edits(
    model: ModelProto,
    part: Part,
    chosen: Mapping[str, Decision],
    taken: set[str],
    forms: Forms,
    step: int,
    inputs: list[ValueInfoProto],
) -> tuple[Edit, ...]:
    from tse_onnx.passes.lowering import freeze, lower
    from tse_onnx.passes.scope import container
    from tse_onnx.passes.undo import Recorder

    edits = []
    recorder = Recorder(container(model, part.scope.path), step)
    for block in part.blocks:
        decision = chosen.get(block.name)
        if decision is None:
            continue
        choice, cover = decision.frozen or decision.tiling, decision.open_strips or decision.cover
        if decision.frozen is not None:
            edit = freeze(block, decision.frozen, part.scope, taken)
        elif cover is not None:
            _check_means(forms[1], cover, part.scope.opset)
            edit = lower(block, cover, part.scope, taken, *forms)
        else:
            continue
        assert choice is not None
        edits.append(recorder.recorded(edit, block, choice, inputs))
        inputs.clear()
    return tuple(edits)
