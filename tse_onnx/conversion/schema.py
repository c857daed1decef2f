"""Reports as JSON. docs/report.md documents every field; a change that breaks a reader raises the schema's number."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tse_onnx.conversion.quality_gates import gate_json
from tse_onnx.conversion.report import Report
from tse_onnx.conversion.verdict import verdict_json
from tse_onnx.decision.buffering import BlockBuffering, Totals
from tse_onnx.passes.blocks.block import Block, NodeRef
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.previous import Carried
from tse_onnx.passes.blocks.tiling import RUNNING, TILE, Tiling
from tse_onnx.version import VERSION

if TYPE_CHECKING:
    from tse_onnx.conversion.inspect import Inspection
    from tse_onnx.decision.explanation import Story
    from tse_onnx.verification.result import Verification

INSPECT_SCHEMA = "tse-onnx/inspect/1"
EXPLAIN_SCHEMA = "tse-onnx/explain/1"
REPORT_SCHEMA = "tse-onnx/report/1"

Json = dict[str, Any]

# What there is to set, for whatever squeeze, as it is where nothing is set.
_SETTINGS: Json = {"squeeze": TILE, "rows": None, "cols": None, "step": None, "balanced": False, "axis": 0}


def inspect_json(found: Inspection) -> Json:
    """The object that `tse-onnx inspect --format json` prints."""
    return {
        "schema": INSPECT_SCHEMA,
        "tse_onnx": VERSION,
        "model": found.title,
        "opset": found.opset,
        "blocks": [_block(block) | {"status": block.status} for block in found.blocks],
        "stops": None if found.stops is None else [asdict(stop) for stop in found.stops],
    }


def explain_json(stories: Iterable[Story]) -> Json:
    """The object that `tse-onnx explain --format json` prints."""
    return {
        "schema": EXPLAIN_SCHEMA,
        "tse_onnx": VERSION,
        "candidates": [
            _block(story.block)
            | {
                "status": story.block.status,
                "story": [{"node": line.node, "text": line.text, "axes": line.axes or None} for line in story.lines],
            }
            for story in stories
        ],
    }


def report_json(report: Report, *, network: bool = False) -> Json:
    """The object that `--report` writes and `--format json` prints; with `network`, every tensor's figures."""
    default = report.plan.default
    found: Json = {
        "schema": REPORT_SCHEMA,
        "tse_onnx": VERSION,
        **({} if report.configuration is None else {"configuration": dict(report.configuration)}),
        "model": report.model,
        "opset": report.opset,
        "input_shapes": {name: list(dims) for name, dims in report.input_shapes.items()},
        "dynamic": report.dynamic,
        "rows": default.rows if isinstance(default, Tiling) else None,
        "tiling": None if default is None else tiling_json(default),
        "blocks": [_figures(block) for block in report.buffering.blocks],
        "totals": _totals(report.buffering.totals),
        "verification": verification_json(report.verification) if report.verification else None,
        "verdict": verdict_json(report.verdict),
    }
    if report.target is not None:
        found["target"] = report.target.name
        if report.target.note:
            found["target_note"] = report.target.note
    if report.gates.asked:
        found["quality_gates"] = [gate_json(judgement) for judgement in report.judgements]
    if report.certificate is not None:
        from tse_onnx.streaming.schema import certificate_json

        found["certificate"] = certificate_json(report.certificate)
    if network and (comparison := report.comparison) is not None:
        from tse_onnx.streaming.schema import dataflow_json

        found["dataflow"] = {
            "axis": comparison.axis,
            "before": dataflow_json(comparison.before),
            "after": dataflow_json(comparison.after),
        }
    return found


def report_text(report: Report) -> str:
    """The text of a report file."""
    return json.dumps(report_json(report), indent=2, allow_nan=False) + "\n"


def _block(block: Block) -> Json:
    return {
        "name": block.name,
        "status": "",  # set by the caller, who knows whether this is a plan or a fact; here for its place in the order
        "reason": block.reason,
        "reason_code": block.refusal.code if block.refusal else None,
        "kind": block.kind,
        "squeeze": _node(block.squeeze),
        "scale": _node(block.scale),
        "scope": block.scope or None,
        "input": block.input,
        "shape": None if block.shape is None else list(block.shape),
    }


def _node(node: NodeRef | None) -> Json | None:
    return None if node is None else {"node": node.node, "output": node.output}


def _figures(figures: BlockBuffering) -> Json:
    decision = figures.decision
    found = _block(decision.block) | {
        "status": decision.status,
        "reason": decision.reason,
        "reason_code": decision.refusal.code if decision.refusal else None,
        "tile": None if figures.tile is None else list(figures.tile),
        "descriptors": figures.descriptors,
        "buffer_before": figures.before,
        "buffer_after": figures.after,
        "buffer_before_bytes": figures.before_bytes,
        "buffer_after_bytes": figures.after_bytes,
        "buffer_after_streamed": figures.held,
        "macs_added": figures.macs_added,
        "tiling": None if decision.choice is None else tiling_json(decision.choice),
    }
    if figures.waits is not None:
        found["held"] = figures.waits
    if isinstance(form := decision.form, Carried):
        found["frames"] = {
            "input": form.gate_in,
            "output": form.gate_out,
            "shape": list(form.shape(decision.block)),
            "first": list(form.first),
        }
    return found


def tiling_json(choice: Choice) -> Json:
    """What is asked for a block, whatever it is: every setting that there is, and the name of the squeeze."""
    said = choice.fields()
    shown = _SETTINGS | {key: said[key] for key in _SETTINGS if key in said}
    if isinstance(choice, Tiling) and choice.squeeze == RUNNING:
        shown["step"] = choice.step
    divisors = {"divisors": True} if "divisors" in said else {}
    return shown | {"calibrated": "calibration" in said} | divisors


def _totals(totals: Totals) -> Json:
    return {
        "converted": totals.converted,
        "unchanged": totals.unchanged,
        "refused": totals.refused,
        "buffer_before": totals.before,
        "buffer_after": totals.after,
        "buffer_before_bytes": totals.before_bytes,
        "buffer_after_bytes": totals.after_bytes,
        "reduction": round(totals.reduction, 6),
        "macs_added": totals.macs_added,
    }


def verification_json(found: Verification) -> Json:
    """What was checked, as a report has it."""
    return {
        "passed": found.passed,
        "inputs": found.inputs,
        "samples": found.samples,
        "checks": [{"name": check.name, "passed": check.passed, "text": check.text} for check in found.checks],
        "blocks": [
            {
                "name": check.name,
                "passed": check.passed,
                "max_error": _number(check.max_error),
                "tolerance": _number(check.tolerance),
                "elements": check.elements,
                "not_finite": check.not_finite,
                "gate_spread": check.gate_spread,
                "told_apart": check.told_apart,
            }
            for check in found.blocks
        ],
        "drift": [
            {
                "output": drift.output,
                "max_abs": _number(drift.max_abs),
                "sqnr_db": None if drift.sqnr_db is None else _number(drift.sqnr_db),
                "top1_agreement": drift.top1_agreement,
            }
            for drift in found.drift
        ],
        "notes": list(found.notes),
    }


def _number(value: float) -> float | None:
    """JSON has no infinity; None stands for a difference without bound."""
    return value if math.isfinite(value) else None
