"""What a distillation came to as JSON. docs/distil.md documents every field."""

from __future__ import annotations

from typing import Any

from tse_onnx.distillation.result import DistilResult
from tse_onnx.runtime.scores import Score
from tse_onnx.tuning.schema import number_or_null, score_json
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
    """Of the output that looks like classes, or else the first, what scripts ask for."""
    if not found.verdict:
        return {}
    place = next((place for place, score in enumerate(found.verdict) if score.kl is not None), 0)
    return {
        "output": found.verdict[place].output,
        "samples": found.held_out,
        **_short(found.verdict[place]),
        "before": _short(found.before[place]),
        "after": _short(found.after[place]),
    }


def _short(score: Score) -> Json:
    whole = score_json(score)
    return {key: whole[key] for key in ("agreement", "kl", "sqnr_db")}
