"""A plan for a target: what of a plan has no form that the target takes is left out of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace

from tse_onnx.conversion.convert import draft
from tse_onnx.decision.decision import REFUSED, Decision
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.selection import EVERYTHING, Selection
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.passes.targets.target import Target
from tse_onnx.targets.known import TARGETS
from tse_onnx.targets.target_file import TargetLike


def plan_for(
    model: ModelLike,
    plan: Plan,
    target: TargetLike,
    *,
    selection: Selection = EVERYTHING,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
) -> Plan:
    """`plan` with `selection` worked into it, and every block of `model` kept of which no form is within the limits of
    `target`, with the limit as note. Raises `ModelError`, `UsageError`."""
    drafted = draft(
        open_model(model), plan=plan, selection=selection, input_shapes=input_shapes, kinds=kinds, target=target
    )
    made = drafted.made
    unfit = unfit_of(made.decisions)
    choices = {**made.plan.choices, **dict.fromkeys(unfit)}
    return replace(made.plan, choices=choices, notes={**made.plan.notes, **unfit}, target=spelled(target))


def unfit_of(decisions: Collection[Decision]) -> Mapping[str, str]:
    """The blocks, by name, that a target takes in no form, and why."""
    return {
        decision.block.name: decision.reason or ""
        for decision in decisions
        if decision.status == REFUSED and decision.refusal is not None and decision.refusal.code == "target"
    }


def spelled(target: TargetLike) -> str | None:
    """A target as a plan names it; None for one of one's own, which has neither a name that is known nor a file."""
    if isinstance(target, Target):
        return target.name if TARGETS.get(target.name) == target else None
    return os.fspath(target)
