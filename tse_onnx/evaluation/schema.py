"""Evaluations as JSON, described by docs/evaluate.schema.json, and correlations as CSV."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from tse_onnx.conversion.schema import report_json
from tse_onnx.evaluation.correlation import BlockCorrelation, Correlations
from tse_onnx.evaluation.doubt import doubt
from tse_onnx.evaluation.result import Evaluation, StageScores, StreamScores
from tse_onnx.evaluation.verify import Proof
from tse_onnx.runtime.scores import Score
from tse_onnx.version import VERSION

Json = dict[str, Any]

SCHEMA = "tse-onnx/evaluate/1"
VERIFY_SCHEMA = "tse-onnx/verify/1"


def evaluation_json(found: Evaluation, correlations: Correlations | None = None) -> Json:
    """An evaluation as one JSON object; see docs/report.md."""
    streams = {} if found.streams is None else {"streams": list(map(_stream, found.streams))}
    return {
        "schema": SCHEMA,
        "tse_onnx": VERSION,
        "original": found.original,
        "data": {
            "text": found.data,
            "samples": found.samples,
            "labelled": found.labelled,
            "preprocess": found.preprocess,
            "skipped": list(found.skipped),
        },
        "models": [{"model": model.model, "outputs": list(map(_score, model.outputs))} for model in found.models],
        "stages": None if found.stages is None else list(map(_stage, found.stages)),
        "correlations": None if correlations is None else list(map(_block, correlations.blocks)),
    } | streams


def correlations_json(found: Correlations) -> Json:
    """The correlations of every block and tile."""
    return {
        "tse_onnx": VERSION,
        "original": found.original,
        "data": found.data,
        "samples": found.samples,
        "blocks": list(map(_block, found.blocks)),
    }


def proof_json(proof: Proof) -> Json:
    """What became of a converted model as one JSON object; see docs/report.md."""
    return {
        "schema": VERIFY_SCHEMA,
        "tse_onnx": VERSION,
        "original": proof.original,
        "converted": proof.converted,
        "passed": proof.passed,
        "identical": proof.identical,
        "samples": proof.samples,
        "min_sqnr_db": proof.bound,
        "outputs": list(map(_score, proof.outputs)),
        "blocks": [{"block": name} | _score(score) for name, score in proof.blocks],
        "not_compared": list(proof.hidden),
        "report": report_json(proof.report),
    }


def _score(score: Score) -> Json:
    accuracy = score.accuracy
    return {
        "output": score.output,
        "samples": score.samples,
        "equal": score.sqnr_db is None,
        "max_abs": _number(score.max_abs),
        "sqnr_db": _number(score.sqnr_db),
        "noise": _number(score.noise),
        "differing": score.differing,
        "agreement": score.agreement,
        "kl": _number(score.kl),
        "accuracy": None
        if accuracy is None
        else {
            "original_top1": accuracy.original_top1,
            "top1": accuracy.top1,
            "original_top5": accuracy.original_top5,
            "top5": accuracy.top5,
            "lost": accuracy.lost,
            "gained": accuracy.gained,
            "doubt": doubt(score),
        },
    }


def _stage(stage: StageScores) -> Json:
    return {
        "extents": list(stage.extents),
        "blocks": list(stage.blocks),
        "converted": stage.converted,
        "buffer_before": stage.before,
        "buffer_after": stage.after,
        "outputs": list(map(_score, stage.outputs)),
    }


def _stream(stream: StreamScores) -> Json:
    return {
        "stream": stream.stream,
        "frames": list(stream.frames),
        "models": [
            {"outputs": list(map(_score, outputs)), "by_frame": [list(map(_score, frame)) for frame in frames]}
            for outputs, frames in zip(stream.models, stream.by_frame, strict=True)
        ],
    }


def _block(block: BlockCorrelation) -> Json:
    return {
        "block": block.block,
        "channels": block.channels,
        "extents": list(block.extents),
        "tiling": block.tiling,
        "squeeze": block.squeeze,
        "excite": block.excite,
        "tiles": [
            {"region": [list(span) for span in tile.region], "squeeze": tile.squeeze, "excite": tile.excite}
            for tile in block.tiles
        ],
    }


def correlations_csv(found: Correlations) -> str:
    """A line for each tile of each block; empty where there is no correlation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("block", "channels", "map", "tile", "region", "squeeze", "excite"))
    for block in found.blocks:
        for number, tile in enumerate(block.tiles):
            region = " x ".join(f"{first}:{behind}" for first, behind in tile.region)
            size = "x".join(map(str, block.extents))
            writer.writerow((block.block, block.channels, size, number, region, tile.squeeze, tile.excite))
    return text.getvalue()


def _number(value: float | None) -> float | None:
    """JSON has no infinity; None stands for a difference without bound."""
    return value if value is not None and math.isfinite(value) else None
