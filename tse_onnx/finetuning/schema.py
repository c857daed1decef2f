"""What a fine-tuning came to as JSON. docs/finetune.md documents every field."""

from __future__ import annotations

from typing import Any

from tse_onnx.conversion.schema import report_json
from tse_onnx.conversion.verdict import distance_json, number_or_null, telling, verdict_json
from tse_onnx.evaluation.metric import Measured
from tse_onnx.finetuning.result import FinetuneResult
from tse_onnx.tuning.schema import score_json
from tse_onnx.version import VERSION

FINETUNE_SCHEMA = "tse-onnx/finetune/1"

Json = dict[str, Any]


def finetune_json(found: FinetuneResult) -> Json:
    """The object that `tse-onnx finetune --format json` prints and `--report` writes."""
    return {
        "schema": FINETUNE_SCHEMA,
        "tse_onnx": VERSION,
        "improved": found.improved,
        "verdict": _verdict(found),
        "scores": {
            "before": [score_json(score) for score in found.before],
            "after": [score_json(score) for score in found.after],
        },
        "metric": None if found.metric is None else _metric(found.metric),
        "weights": list(found.weights),
        "left_out": list(found.left_out),
        "numbers": found.numbers,
        "place": found.place,
        "best_epoch": found.best,
        "start_loss": number_or_null(found.start),
        "epochs": [
            {"epoch": one.number, "loss": number_or_null(one.loss), "stop_loss": number_or_null(one.stop_loss)}
            for one in found.epochs
        ],
        "samples": found.samples,
        "stop_samples": found.stop_samples,
        "conversion": report_json(found.conversion.report),
    }


def _verdict(found: FinetuneResult) -> Json:
    """The verdict, and the same measures with the weights that were given and with the trained ones."""
    both = {"before": telling(found.before), "after": telling(found.after)}
    apart = {name: distance_json(score) for name, score in both.items() if score is not None}
    return verdict_json(found.verdict) | apart


def _metric(found: Measured) -> Json:
    before, after = found.models
    return {
        "name": found.name,
        "original": number_or_null(found.original),
        "before": number_or_null(before),
        "after": number_or_null(after),
    }
