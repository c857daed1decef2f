"""What came of a model in a tool, beside what unoptimised onnxruntime makes of it, and of the original in the same tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

# What fits no float is said to be this far away, so that every figure can be written as JSON.
_SAME, _APART = 999.0, -999.0


class Outcome(Enum):
    """How a cell comes out. The last four are no fault of a form."""

    RIGHT = "right"
    WRONG = "wrong"
    REFUSED = "refused"
    CRASHED = "crashed"
    COMPILED = "compiled"
    ORIGINAL = "original fails"
    UNTRANSLATED = "untranslated"
    UNWRITTEN = "not written"


FAULTS = frozenset({Outcome.WRONG, Outcome.REFUSED, Outcome.CRASHED})


@dataclass(frozen=True)
class Result:
    """What a tool made of one model: `sqnr` in dB where it ran, `why` where it did not, `operators` that it made."""

    outcome: Outcome
    sqnr: float | None = None
    why: str = ""
    operators: int | None = None


def judged(answer: Mapping[str, Any], outputs: Path, expected: Sequence[np.ndarray], least: float) -> Result:
    """What a server's answer comes to, where `least` is the SQNR of outputs that count as equal."""
    if "crashed" in answer:
        return Result(Outcome.CRASHED, why=answer["crashed"])
    if "refused" in answer:
        known = answer["kind"] == "Untranslated"
        return Result(Outcome.UNTRANSLATED if known else Outcome.REFUSED, why=answer["refused"])
    operators = answer["operators"]
    if not answer["ran"]:
        return Result(Outcome.COMPILED, operators=operators)
    with np.load(outputs) as made:
        values = [made[name] for name in made.files]
    if [value.shape for value in values] != [value.shape for value in expected]:
        shapes = ", ".join(str(value.shape) for value in values)
        return Result(Outcome.WRONG, _APART, f"outputs of shape {shapes}", operators)
    worst = min(sqnr(right, value) for right, value in zip(expected, values, strict=True))
    return Result(Outcome.RIGHT if worst >= least else Outcome.WRONG, worst, operators=operators)


def beside(converted: Result, original: Result) -> Result:
    """A cell: what the original fails at, too, is no fault of the form."""
    if converted.outcome not in FAULTS or original.outcome in (Outcome.RIGHT, Outcome.COMPILED):
        return converted
    told = original.why or f"{original.sqnr:.0f} dB"
    return Result(Outcome.ORIGINAL, converted.sqnr, f"{original.outcome.value}: {told}", converted.operators)


def sqnr(right: np.ndarray, found: np.ndarray) -> float:
    """The signal to quantisation noise ratio in dB, between -999 and 999."""
    signal, noise = right.astype(np.float64), right.astype(np.float64) - found.astype(np.float64)
    if not np.isfinite(noise).all():
        return _APART
    powers = float((signal**2).sum()), float((noise**2).sum())
    if powers[1] == 0:
        return _SAME
    return float(np.clip(10 * np.log10(powers[0] / powers[1]), _APART, _SAME)) if powers[0] else _APART


def reference(model: ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What onnxruntime computes node by node, without an optimisation."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))
