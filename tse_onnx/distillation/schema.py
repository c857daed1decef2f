"""What a distillation came to as JSON. docs/distil.md documents every field."""

from __future__ import annotations

from typing import Any

from tse_onnx.conversion.verdict import distance_json, number_or_null, telling, verdict_json
from tse_onnx.distillation.result import DistilResult
from tse_onnx.tuning.schema import score_json
from tse_onnx.version import VERSION

DISTIL_SCHEMA = "tse-onnx/distil/1"

Json = dict[str, Any]


def distil_json(found: DistilResult) -> Json:
    """The object that `tse-onnx distil --format json` prints and `--report` writes."""
    return {
        "schema": DISTIL_SCHEMA,
        "tse_onnx": VERSION,
        "improved": found.improved,
        "verdict": _verdict(found),
        "scores": {
            "before": [score_json(score) for score in found.before],
            "after": [score_json(score) for score in found.after],
        },
        "trained": list(found.trained),
        "excites": list(found.excites),
        "numbers": found.numbers,
        "best_epoch": found.best,
        "start_loss": number_or_null(found.start),
        "epochs": [
            {"epoch": one.number, "loss": number_or_null(one.loss), "stop_loss": number_or_null(one.stop_loss)}
            for one in found.epochs
        ],
        "samples": found.samples,
        "stop_samples": found.stop_samples,
    }


def _verdict(found: DistilResult) -> Json:
    """The verdict, and the same measures of both plans."""
    both = {"before": telling(found.before), "after": telling(found.after)}
    apart = {name: distance_json(score) for name, score in both.items() if score is not None}
    return verdict_json(found.verdict) | apart
