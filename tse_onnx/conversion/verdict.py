"""What a conversion is worth, in the same few numbers wherever it is asked: memory before and after, and its price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tse_onnx.runtime.scores import Score


@dataclass(frozen=True)
class Change:
    """Bytes before and after, for one image."""

    before: int
    after: int


@dataclass(frozen=True)
class Verdict:
    """What a plan comes to.

    * `scales`: what the scales of the blocks hold back, the paper's metric;
    * `network`: what the whole network holds by `figure` on `machine`, None where that was not counted;
    * `accuracy`: how far the output is that tells most, on the `samples` that these words describe and that nothing was
      chosen by; None where no data were given: noise says nothing of accuracy.
    """

    scales: Change
    network: Change | None
    machine: str | None
    figure: str
    accuracy: Score | None = None
    samples: str | None = None


def telling(scores: Sequence[Score]) -> Score | None:
    """The score that a verdict is about: of the first output that looks like classes, or else of the first."""
    return next((score for score in scores if score.kl is not None), scores[0] if scores else None)


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """The object that every command calls `verdict`; what scripts ask for most stands in it once more."""
    price = verdict.accuracy
    accuracy = None if price is None else {"output": price.output, "samples": verdict.samples, **distance_json(price)}
    return {
        **(accuracy or {}),
        "scales": _change(verdict.scales),
        "network": None if verdict.network is None else _change(verdict.network),
        "machine": verdict.machine,
        "figure": verdict.figure,
        "accuracy": accuracy,
    }


def distance_json(score: Score) -> dict[str, float | None]:
    """How far an output is from the original's, by three measures."""
    return {
        "agreement": score.agreement,
        "kl": number_or_null(score.kl),
        "sqnr_db": number_or_null(score.sqnr_db),
    }


def number_or_null(value: float | None) -> float | None:
    """A number; JSON has no infinity, and null stands for what has no bound, or is not there."""
    return value if value is not None and math.isfinite(value) else None


def _change(change: Change) -> dict[str, int]:
    return {"before": change.before, "after": change.after}
