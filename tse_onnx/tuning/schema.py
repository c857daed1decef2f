"""What tuning found as JSON and CSV. docs/tune.md documents every field."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import Any

from tse_onnx.conversion.schema import tiling_json
from tse_onnx.conversion.verdict import distance_json, number_or_null, verdict_json
from tse_onnx.passes.blocks.choice import GLOBAL, Choice
from tse_onnx.passes.blocks.recompute import Recompute
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.runtime.scores import Score
from tse_onnx.tuning.choices import label
from tse_onnx.tuning.result import Judged, Point, Sensitivity, TuneResult
from tse_onnx.version import VERSION

TUNE_SCHEMA = "tse-onnx/tune/1"
SENSITIVITY_SCHEMA = "tse-onnx/sensitivity/1"

Json = dict[str, Any]


def sensitivity_json(found: Sensitivity) -> Json:
    """The object that `tse-onnx sensitivity --format json` prints."""
    return {"schema": SENSITIVITY_SCHEMA, "tse_onnx": VERSION} | _sensitivity(found)


def tune_json(found: TuneResult) -> Json:
    """The object that `tse-onnx tune --format json` prints and `--report` writes."""
    return {
        "schema": TUNE_SCHEMA,
        "tse_onnx": VERSION,
        "budget": found.budget,
        "max_loss": found.max_loss,
        "max_macs": found.max_macs,
        **({} if found.sensitivity.array is None else {"max_cycles": found.max_cycles}),
        "least": found.least,
        "axis": found.axis,
        "tried": [{"axis": axis} | _point(point) for axis, point in found.tried],
        "reduction": round(found.reduction, 6),
        "chosen": _point(found.chosen),
        "held_out": found.held_out,
        "verdict": verdict_json(found.verdict),
        "judged": [_judged(verdict) for verdict in found.judged],
        "pareto": [_point(point) for point in found.pareto],
        "sensitivity": _sensitivity(found.sensitivity),
    }


def sensitivity_csv(found: Sensitivity) -> str:
    """A line for each candidate of each block."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((
        "block", "choice", "squeeze", "rows", "step", "bytes", "saved", "loss", "error", "gate_moved", "macs_added",
        "held", "cycles_added",
    ))  # fmt: skip
    for entry in found.blocks:
        moved = "" if entry.gate is None else f"{entry.gate.moved:.6g}"
        for one in entry.candidates:
            about = _choice(one.choice)
            writer.writerow((
                entry.block.name, label(one.choice), about["squeeze"], about["rows"] or "", about["step"] or "",
                one.bytes, one.saved, f"{one.loss:.9g}", f"{one.error:.6g}", moved, one.macs_added, about["held"] or "",
                "" if one.cycles_added is None else one.cycles_added,
            ))  # fmt: skip
    return text.getvalue()


def _sensitivity(found: Sensitivity) -> Json:
    said: Json = {} if found.target is None else {"target": found.target.name}
    if found.target is not None and found.target.note:
        said["target_note"] = found.target.note
    if found.array is not None:
        said |= {"array": found.array.name, "cycles": found.cycles}
    if found.quantised is not None:
        said["quantised"] = {
            "operators": found.quantised.operators,
            "calibration": found.quantised.calibration,
            "percentile": found.quantised.percentile,
        }
    if found.streams:
        said |= {"streams": found.streams, "settled": found.settled}
    return {
        "model": found.model,
        "samples": found.samples,
        "loss": found.loss,
        "figure": found.figure,
        "bits": found.machine.bits,
        "replay": found.machine.replay,
        "machine": asdict(found.machine),
        "bytes_before": found.before,
        "macs": found.macs,
        "axis": found.axis,
        **said,
        "blocks": [
            {
                "name": entry.block.name,
                "shape": None if entry.block.shape is None else list(entry.block.shape),
                "gate_moved": None if entry.gate is None else entry.gate.moved,
                "gate_moved_most": None if entry.gate is None else entry.gate.largest,
                "why": entry.why,
                "candidates": [
                    _choice(one.choice)
                    | {
                        "bytes": one.bytes,
                        "saved": one.saved,
                        "macs_added": one.macs_added,
                        **_cycles(one.cycles_added),
                        "loss": number_or_null(one.loss),
                        "error": one.error,
                    }
                    for one in entry.candidates
                ],
            }
            | (
                {}
                if found.target is None and not found.streams
                else {"outside": [_choice(one) | {"reason": why} for one, why in entry.outside]}
            )
            for entry in found.blocks
        ],
    }


def _point(point: Point) -> Json:
    return {
        "bytes": point.bytes,
        "macs_added": point.macs_added,
        **_cycles(point.cycles_added),
        "predicted": number_or_null(point.predicted),
        "measured": number_or_null(point.measured),
        "choices": [{"block": name} | _choice(choice) for name, choice in point.combination],
    }


def _cycles(added: int | None) -> Json:
    return {} if added is None else {"cycles_added": added}


def _judged(verdict: Judged) -> Json:
    return (
        {"title": verdict.title} | _point(verdict.point) | {"scores": [score_json(score) for score in verdict.scores]}
    )


def score_json(score: Score) -> Json:
    """How far an output is from the original's."""
    accuracy = score.accuracy
    return {
        "output": score.output,
        "samples": score.samples,
        **distance_json(score),
        "noise": number_or_null(score.noise),
        "top1": None if accuracy is None else accuracy.top1,
        "original_top1": None if accuracy is None else accuracy.original_top1,
    }


def _choice(choice: Choice | None) -> Json:
    said = {"squeeze": GLOBAL} if choice is None else tiling_json(choice)
    found = {key: said.get(key) for key in ("squeeze", "rows", "step")}
    return found | {
        "calibrated": said.get("calibrated", False),
        "axis": choice.axis if isinstance(choice, Tiling) else None,
        "held": choice.held if isinstance(choice, Recompute) else None,
    }
