"""What a conversion is worth, in the same few numbers wherever it is asked: memory before and after, and its price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.runtime.scores import Score

if TYPE_CHECKING:
    from tse_onnx.decision.buffering import Buffering
    from tse_onnx.streaming.compare import Comparison
    from tse_onnx.streaming.network.machine import Machine
    from tse_onnx.verification.result import Verification

GATE, MIN = "gate", "min"
"""Figures: what the scales hold back, and the least that the whole network completes with."""


@dataclass(frozen=True)
class Change:
    """Bytes before and after, for one image."""

    before: int
    after: int


@dataclass(frozen=True)
class Verdict:
    """What a plan comes to.

    * `scales`: what the scales of the blocks hold back, the paper's metric;
    * `network`: what the whole network holds at the least on `machine`, None where that was not counted;
    * `accuracy`: how far the output is that tells most, on the `samples` that these words describe: the user's, and if
      some were chosen by, the others; None where no data were given, for noise says nothing of accuracy: `unknown` then
      says why.
    """

    scales: Change
    network: Change | None = None
    machine: Machine | None = None
    accuracy: Score | None = None
    samples: str | None = None
    unknown: str = "nothing was run"

    @property
    def figure(self) -> str:
        """The name of the figure that most was counted by."""
        return GATE if self.network is None else MIN


def verdict_of(
    buffering: Buffering, comparison: Comparison | None = None, proof: Verification | None = None
) -> Verdict:
    """The verdict of a conversion, made or planned; `comparison` is that of the whole network."""
    network, machine = None, None
    if comparison is not None:
        before, after = comparison.least
        network, machine = Change(before.bytes, after.bytes), comparison.machine
    scales = _scales(buffering, machine.bits if machine is not None else None)
    if proof is None:
        return Verdict(scales, network, machine)
    accuracy = telling(proof.scores)
    return Verdict(scales, network, machine, accuracy, proof.inputs if accuracy else None, proof.unknown)


def _scales(buffering: Buffering, bits: int | None) -> Change:
    """What the scales hold back, at the tensors' own types or at `bits` bits to an element."""
    if bits is None:
        return Change(buffering.totals.before_bytes, buffering.totals.after_bytes)
    sides = ([getattr(block, side) or 0 for block in buffering.blocks] for side in ("before", "after"))
    return Change(*(sum(-(-elements * bits // 8) for elements in side) for side in sides))


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
        "machine": None if verdict.machine is None else asdict(verdict.machine),
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
