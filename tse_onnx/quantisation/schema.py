"""What a quantised model loses as JSON. docs/quantisation.md documents every field."""

from __future__ import annotations

from typing import Any

from tse_onnx.conversion.verdict import number_or_null, telling
from tse_onnx.quantisation.result import QuantisedLayer, QuantiseResult
from tse_onnx.tuning.schema import score_json
from tse_onnx.version import VERSION

QUANTISE_SCHEMA = "tse-onnx/quantise/1"

Json = dict[str, Any]


def quantise_json(found: QuantiseResult) -> Json:
    """The object that `tse-onnx quantise --format json` prints and `--report` writes."""
    main = telling(found.scores)
    return {
        "schema": QUANTISE_SCHEMA,
        "tse_onnx": VERSION,
        "model": found.original,
        "verdict": None if main is None else score_json(main),
        "calibration": {
            "method": found.ranges.calibration,
            "samples": found.samples,
            "values": len(found.ranges.by_value),
        },
        "operators": found.operators,
        "judged": {"samples": found.judged, "held_out": found.held_out},
        "scores": {
            "quantised": [score_json(score) for score in found.scores],
            "uncorrected": None if found.uncorrected is None else [score_json(score) for score in found.uncorrected],
        },
        "layers": [_layer(layer) for layer in found.layers],
        "uncorrectable": [{"node": name, "reason": reason} for name, reason in found.uncorrectable],
    }


def _layer(layer: QuantisedLayer) -> Json:
    moved = layer.correction
    return {
        "node": layer.name,
        "operator": layer.operator,
        "quantised": layer.quantised,
        "reason": layer.reason or None,
        "share": layer.share,
        "bias": None
        if moved is None
        else {
            "before": number_or_null(moved.before),
            "after": number_or_null(moved.after),
            "limited": moved.limited,
        },
    }
