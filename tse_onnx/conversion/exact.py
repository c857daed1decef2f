"""A plan that loses nothing, and what it comes to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tse_onnx.conversion.plan_for import plan_for
from tse_onnx.conversion.report import Report
from tse_onnx.decision.analysis import analyse, need_sizes
from tse_onnx.decision.buffering import measure
from tse_onnx.decision.decide import decide
from tse_onnx.decision.exact import exact_choices
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.preparation import in_data_flow
from tse_onnx.decision.selection import EVERYTHING, Selection, resolve
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.blocks.recompute import Recompute
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.targets.target_file import TargetLike, target_of


def exact_plan(
    model: ModelLike,
    reduce: float,
    *,
    max_macs: float | None = None,
    cascade: bool = False,
    selection: Selection = EVERYTHING,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
    target: TargetLike | None = None,
) -> Report:
    """The plan of exact choices alone (keep, recompute) that saves the fraction `reduce` of what the gates of `model`
    hold back, with the fewest multiply-accumulates added, and its report; `report.plan` is what `convert` takes.

    `max_macs` bounds what is added, in per cent of the network's multiply-accumulates; `cascade` writes the blocks for
    compilers that run layers in cascades; only blocks of `selection` are recomputed, and with a `target` only those
    whose copies are within its limits. Raises `CheckFailed` where exact
    choices do not reach the reduction, `ModelError` where the model has no block or a size is not known, `UsageError`.
    """
    source = open_model(model)
    analysis = analyse(source, input_shapes, kinds)
    blocks = in_data_flow(analysis.parts) if selection else analysis.blocks
    allowed = resolve(blocks, Plan(Recompute(cascade=cascade), max_macs=max_macs), selection)
    need_sizes(analysis)
    if target is not None:
        allowed = plan_for(source, allowed, target, input_shapes=input_shapes, kinds=kinds)
    plan = replace(exact_choices(analysis, allowed, source.opset, reduce), target=allowed.target)
    figures = measure(decide(analysis.parts, plan, source.opset))
    known = None if target is None else target_of(target)
    return Report(source.title, source.opset, dict(analysis.bound), plan, figures, None, target=known)
