"""What changed, as JSON. docs/ci.md documents every field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from tse_onnx.difference.diff import Diff, FigureChange
from tse_onnx.difference.told import Told
from tse_onnx.version import VERSION

DIFF_SCHEMA = "tse-onnx/diff/1"

Json = dict[str, Any]


def diff_json(found: Diff) -> Json:
    """The object that `tse-onnx diff --format json` prints."""
    return {
        "schema": DIFF_SCHEMA,
        "tse_onnx": VERSION,
        "a": _report(found.a),
        "b": _report(found.b),
        "same": found.same,
        "notes": list(found.notes),
        "verdict": _figures(found.verdict),
        "compared": found.compared,
        "blocks": [asdict(block) for block in found.blocks],
        "network": _figures(found.network),
        "tensors": _figures(found.tensors),
    }


def _report(report: Told) -> Json:
    return {"file": report.source, "schema": report.schema, "tse_onnx": report.version, "model": report.model}


def _figures(figures: Iterable[FigureChange]) -> list[Json]:
    return [asdict(figure) | {"change": figure.change} for figure in figures]
