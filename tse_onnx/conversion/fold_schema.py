"""Foldings as JSON. docs/costs.md documents every field."""

from __future__ import annotations

from typing import Any

from tse_onnx.conversion.fold import FoldResult, Rows
from tse_onnx.passes.data_folding.fold import Folded
from tse_onnx.passes.data_folding.taps import Taps
from tse_onnx.version import VERSION

FOLD_SCHEMA = "tse-onnx/fold/1"

Json = dict[str, Any]


def fold_json(result: FoldResult) -> Json:
    """The object that `tse-onnx fold --format json` prints."""
    before, after = result.before, result.after
    held = None if before is None or after is None else {"before": before.bytes, "after": after.bytes}
    return {
        "schema": FOLD_SCHEMA,
        "tse_onnx": VERSION,
        "model": result.title,
        "direction": "unfold" if result.back else "fold",
        "changed": [_changed(one, result) for one in result.changed],
        "left": [{"name": left.name, "reason": left.reason} for left in result.left],
        "held_bytes": held,
        "unread": result.unread or None,
        "verified": bool(result.checks) or not result.changed,
    }


def _changed(one: Folded, result: FoldResult) -> Json:
    return {
        "name": one.name,
        "factor": one.factor,
        "input": one.input,
        "map": one.map,
        "output": one.output,
        "before": _window(one.before, one, result.before),
        "after": _window(one.after, one, result.after),
        "error": next((check.error for check in result.checks if check.name == one.name), None),
    }


def _window(taps: Taps, one: Folded, rows: Rows | None) -> Json:
    held = None if rows is None else rows.by_tensor
    return {
        "kernel": list(taps.kernel),
        "stride": list(taps.stride),
        "pads": list(taps.pads),
        "rows_held": None if held is None else {name: held[name] for name in (one.input, one.map) if name in held},
    }
