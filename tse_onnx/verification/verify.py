"""Run every check of a conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto

from tse_onnx.analysis import Analysis
from tse_onnx.errors import CheckFailed, ModelError
from tse_onnx.inputs import Feed, Inputs
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.shapes import first_line, weightless
from tse_onnx.passes.splice import Edit
from tse_onnx.plan import CONVERTED, Decision, decide
from tse_onnx.verification.drift import DriftMeter
from tse_onnx.verification.oracle import check_block
from tse_onnx.verification.outside import outside_differences
from tse_onnx.verification.result import BlockCheck, Check, Drift, Verification
from tse_onnx.verification.session import Session


def verify(
    analysis: Analysis,
    converted: ModelProto,
    decisions: Sequence[Decision],
    edits: Sequence[Edit],
    inputs: Inputs,
    *,
    folders: tuple[Path | None, Path | None] = (None, None),
    renamed: Mapping[str, str] | None = None,
    max_drift: float | None = None,
    threads: int = 0,
) -> Verification:
    """Check `converted` against the model it was made from.

    `folders` are where the external weights of the original and of the converted model lie, `renamed` the weight files
    that bear another name there; `max_drift` bounds the largest absolute difference of any output. Raises `ModelError`
    where the original itself is not valid or does not run, `CheckFailed` where only the converted model does not.
    """
    checks = [
        _outside(analysis, converted, edits, renamed),
        _full_rows(analysis),
        _valid(analysis, converted),
    ]
    if not all(check.passed for check in checks):
        return Verification(inputs.text, 0, tuple(checks), (), ())
    if not edits and not analysis.bound:  # the same bytes: nothing can differ, whether or not onnxruntime runs them
        same = tuple(Drift(output.name, 0.0, None, None) for output in converted.graph.output)
        return Verification("not run: the model is unchanged", 0, tuple(checks), (), same)
    blocks, drift = _numbers(analysis, converted, decisions, inputs, folders, threads)
    if max_drift is not None:
        checks.append(_bounded(drift, max_drift))
    return Verification(inputs.text, inputs.samples, tuple(checks), blocks, drift)


def _outside(
    analysis: Analysis, converted: ModelProto, edits: Sequence[Edit], renamed: Mapping[str, str] | None
) -> Check:
    differences = outside_differences(analysis.source.model, converted, edits, analysis.bound, renamed)
    if differences:
        return Check("outside", False, f"the output differs from the input outside the edit: {', '.join(differences)}")
    return Check("outside", True, "everything outside the edit is byte for byte the input")


def _full_rows(analysis: Analysis) -> Check:
    heights = [block.shape[2] for block in analysis.blocks if block.shape is not None and len(block.shape) > 2]
    tallest = max((height for height in heights if height is not None), default=1)
    changed = [decision.block.name for decision in decide(analysis.blocks, max(tallest, 1), analysis.source.opset)
               if decision.status == CONVERTED]  # fmt: skip
    if changed:
        return Check("full-rows", False, f"blocks would change although one tile covers them: {', '.join(changed)}")
    return Check("full-rows", True, "with as many rows as the tallest map the model is unchanged")


def _valid(analysis: Analysis, converted: ModelProto) -> Check:
    complaint = _complaint(converted)
    if complaint is None:
        return Check("checker", True, "onnx.checker accepts the output, shapes included")
    own = _complaint(analysis.source.model)
    if own is not None:
        raise ModelError(f"the model is not valid: {own.rstrip('.')}; --no-verify converts it as it is")
    return Check("checker", False, f"onnx.checker refuses the output: {complaint}")


def _complaint(model: ModelProto) -> str | None:
    """What onnx's checker says against a model, or None."""
    try:
        onnx.checker.check_model(weightless(model), full_check=True)
    except Exception as error:
        return first_line(error)
    return None


def _numbers(
    analysis: Analysis,
    converted: ModelProto,
    decisions: Sequence[Decision],
    inputs: Inputs,
    folders: tuple[Path | None, Path | None],
    threads: int,
) -> tuple[tuple[BlockCheck, ...], tuple[Drift, ...]]:
    """Run both models on every feed, and the blocks on the first one."""
    tiled = [decision for decision in decisions if decision.status == CONVERTED]
    probed = {name: None for decision in tiled for name in _ends(decision) if name not in analysis.index.inputs}
    before = Session(analysis.source.model, folders[0], threads=threads)
    try:
        after = Session(converted, folders[1], probed, threads, "the converted model")
    except ModelError as error:  # the original runs, so this is a fault of the conversion
        raise CheckFailed(str(error)) from error
    meter = DriftMeter(before.outputs)
    blocks: tuple[BlockCheck, ...] = ()
    for number, feed in enumerate(inputs):
        reference = before.run(feed, before.outputs)
        wanted = list(after.outputs if number else {**dict.fromkeys(after.outputs), **probed})
        try:
            values = after.run(feed, wanted)
        except ModelError as error:
            raise CheckFailed(str(error)) from error
        if number == 0:
            blocks = tuple(_check(analysis, decision, values, feed, folders[0]) for decision in tiled)
        meter.add(reference, values)
    return blocks, meter.result()


def _ends(decision: Decision) -> tuple[str, ...]:
    block = decision.block
    assert block.scale is not None
    return block.input, block.scale.output


def _check(analysis: Analysis, decision: Decision, values: Feed, feed: Feed, folder: Path | None) -> BlockCheck:
    assert decision.tile is not None
    x, y = (feed[name] if name in feed else values[name] for name in _ends(decision))
    return check_block(analysis.source.model, analysis.index, decision.block, decision.tile, x, y, folder)


def _bounded(drift: Sequence[Drift], bound: float) -> Check:
    worst = max(drift, key=lambda one: one.max_abs, default=None)
    if worst is not None and not worst.max_abs <= bound:
        text = f"output {quoted(worst.output)} drifts by {worst.max_abs:.3g}, more than the bound of {bound:g}"
        return Check("drift", False, text)
    return Check("drift", True, f"no output drifts by more than {bound:g}")
