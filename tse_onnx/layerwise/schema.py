"""What layers and blocks lose as JSON and CSV. docs/noise.md documents every field."""

from __future__ import annotations

import csv
import io
from typing import Any

from tse_onnx.conversion.verdict import number_or_null
from tse_onnx.layerwise.result import Joint, LayerNoise, Level, Noise
from tse_onnx.tuning.schema import score_json
from tse_onnx.version import VERSION

NOISE_SCHEMA = "tse-onnx/noise/1"

Json = dict[str, Any]

_COLUMNS = ("node", "operator", "sqnr", "share", "of_sum", "weights", "activations", "local_sqnr")


def noise_json(found: Noise) -> Json:
    """The object that `tse-onnx noise --format json` prints and `--report` writes."""
    return {
        "schema": NOISE_SCHEMA,
        "tse_onnx": VERSION,
        "model": found.model,
        "quantised_by": found.quantised_by,
        "data": found.data,
        "samples": found.samples,
        "outputs": list(found.outputs),
        "joint": _joint(found.joint),
        "weights": _joint(found.weights),
        "activations": _joint(found.activations),
        "tiles": None if found.tiles is None else _joint(found.tiles),
        "both": None if found.both is None else _joint(found.both),
        "sum_to_joint": found.sum_to_joint,
        "layers": [_layer(found, one) for one in found.layers],
        "blocks": [
            {
                "block": one.block,
                "tiling": one.tiling,
                "tiles": _level(found, one.tiles),
                "quantised": _level(found, one.quantised),
                "both": _level(found, one.both),
            }
            for one in found.blocks
        ],
    }


def noise_csv(found: Noise) -> str:
    """A line for each layer: SQNRs in decibels, shares as fractions; nothing where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in found.layers:
        said = _layer(found, one)
        said |= {name: None if said[name] is None else said[name]["sqnr"] for name in ("weights", "activations")}
        writer.writerow(["" if said[name] is None else said[name] for name in _COLUMNS])
    return text.getvalue()


def _layer(found: Noise, one: LayerNoise) -> Json:
    whole = _level(found, one.quantised)
    assert whole is not None
    return {
        "node": one.node,
        "operator": one.operator,
        **whole,
        "of_sum": found.of_sum(one.quantised),
        "weights": _level(found, one.weights),
        "activations": _level(found, one.activations),
    }


def _level(found: Noise, level: Level | None) -> Json | None:
    if level is None:
        return None
    return {
        "sqnr": number_or_null(level.sqnr_db),
        "share": found.share(level),
        "noise": number_or_null(level.noise),
        "local_sqnr": number_or_null(level.local_sqnr_db),
        "outputs": [number_or_null(noise) for noise in level.outputs],
    }


def _joint(joint: Joint) -> Json:
    return {
        "sqnr": number_or_null(joint.level.sqnr_db),
        "noise": number_or_null(joint.level.noise),
        "outputs": [number_or_null(noise) for noise in joint.level.outputs],
        "scores": [score_json(score) for score in joint.scores],
    }
