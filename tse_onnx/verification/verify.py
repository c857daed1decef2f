"""Run every check of a conversion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import ModelProto

from tse_onnx.analysis import Analysis
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
    max_drift: float | None = None,
    threads: int = 0,
) -> Verification:
    """Check `converted` against the model it was made from.

    `folders` are where the external weights of the original and of the converted model lie; `max_drift` bounds the
    largest absolute difference of any output.
    """
    checks = [
        _outside(analysis, converted, edits),
        _full_rows(analysis),
        _valid(converted),
    ]
    blocks, drift = _numbers(analysis, converted, decisions, inputs, folders, threads)
    if max_drift is not None:
        checks.append(_bounded(drift, max_drift))
    return Verification(inputs.text, inputs.samples, tuple(checks), blocks, drift)


def _outside(analysis: Analysis, converted: ModelProto, edits: Sequence[Edit]) -> Check:
    differences = outside_differences(analysis.source.model, converted, edits, analysis.bound)
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


def _valid(converted: ModelProto) -> Check:
    try:
        onnx.checker.check_model(weightless(converted), full_check=True)
    except Exception as error:
        return Check("checker", False, f"onnx.checker refuses the output: {first_line(error)}")
    return Check("checker", True, "onnx.checker accepts the output, shapes included")


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
    after = Session(converted, folders[1], probed, threads)
    meter = DriftMeter(before.outputs)
    blocks: tuple[BlockCheck, ...] = ()
    for number, feed in enumerate(inputs):
        reference = before.run(feed, before.outputs)
        if number == 0:
            values = after.run(feed, list({**dict.fromkeys(after.outputs), **probed}))
            blocks = tuple(_check(analysis, decision, values, feed, folders[0]) for decision in tiled)
        else:
            values = after.run(feed, after.outputs)
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
