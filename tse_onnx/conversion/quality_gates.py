"""Bounds on the figures of a verdict, for a job that has to stop where a conversion is not worth enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.errors import CheckFailed, ModelError, UsageError

if TYPE_CHECKING:
    from tse_onnx.conversion.verdict import Change, Verdict

SCALES, NETWORK = "scales", "network"
"""What a gate looks at: a figure of the verdict."""


@dataclass(frozen=True)
class QualityGates:
    """What a conversion has to come to; None asks for nothing.

    * `max_buffer`: bytes that the scales of the blocks may hold back after it;
    * `max_memory`: bytes that the whole network may hold at the least, on the machine that it is counted on;
    * `min_saved`: per cent of what the whole network holds that have to be saved, 0 to 100, or of what the scales hold
      back where the network was not counted; where nothing is held, nothing is saved.

    Raises `UsageError` for a bound that makes no sense.
    """

    max_buffer: int | None = None
    max_memory: int | None = None
    min_saved: float | None = None

    def __post_init__(self) -> None:
        for bound in (self.max_buffer, self.max_memory):
            if bound is not None and not 0 <= bound < math.inf:
                raise UsageError(f"a bound on memory is a number of bytes from zero on, not {bound}")
        if self.min_saved is not None and not 0 <= self.min_saved <= 100:
            raise UsageError(f"what has to be saved is 0 to 100 per cent, not {self.min_saved}")

    @property
    def asked(self) -> bool:
        """Whether there is any."""
        return self != NO_GATES

    @property
    def of_network(self) -> bool:
        """Whether one looks at the whole network, so that it has to be counted."""
        return self.max_memory is not None or self.min_saved is not None

    def judge(self, verdict: Verdict) -> tuple[Judgement, ...]:
        """Each gate that is there, with what it found. Raises `ModelError` where the verdict lacks its figure."""
        found = []
        if self.max_buffer is not None:
            found.append(Judgement("max-buffer", SCALES, self.max_buffer, verdict.scales.after))
        if self.max_memory is not None:
            if verdict.network is None:
                raise ModelError("the whole network was not counted, which the bound on its memory needs")
            found.append(Judgement("max-memory", NETWORK, self.max_memory, verdict.network.after))
        if self.min_saved is not None:
            figure, change = (SCALES, verdict.scales) if verdict.network is None else (NETWORK, verdict.network)
            found.append(Judgement("min-saved", figure, self.min_saved, _saved(change), least=True))
        return tuple(found)


NO_GATES = QualityGates()


@dataclass(frozen=True)
class Judgement:
    """What one gate found: the `bound` that was asked for, and the `value` of the figure, both bytes, or both per cent
    where the bound is the `least` that is accepted."""

    gate: str
    figure: str
    bound: float
    value: float
    least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the value keeps the bound."""
        return self.value >= self.bound if self.least else self.value <= self.bound

    @property
    def text(self) -> str:
        """What was found, in words."""
        if self.least:
            held = "the scales hold back" if self.figure == SCALES else "the whole network holds"
            saved = f"{_apart(self.value, self.bound)} % of what {held} is saved"
            return f"{saved}, {'no less' if self.passed else 'less'} than the {self.bound:g} % asked for"
        holds = "the scales of the blocks hold back" if self.figure == SCALES else "the whole network holds"
        against = "within" if self.passed else "more than"
        return f"{holds} {self.value:,} bytes, {against} the bound of {self.bound:,}"


def require(judgements: tuple[Judgement, ...], report: Any) -> None:
    """Raise `CheckFailed` with the `report`, where a gate was missed."""
    if missed := [judgement.text for judgement in judgements if not judgement.passed]:
        raise CheckFailed("; ".join(missed), report=report)


def gate_json(judgement: Judgement) -> dict[str, Any]:
    """A gate as an object."""
    return {
        "gate": judgement.gate,
        "figure": judgement.figure,
        "unit": "percent" if judgement.least else "bytes",
        "bound": judgement.bound,
        "value": judgement.value,
        "passed": judgement.passed,
    }


def _saved(change: Change) -> float:
    """Per cent; the quotient comes last, so that what is saved exactly is."""
    return 100 * (change.before - change.after) / change.before if change.before else 0.0


def _apart(value: float, bound: float) -> str:
    """A number in as few digits as tell it from the bound, and three at the least."""
    digits = range(3, 17)
    return next((text for n in digits if (text := f"{value:.{n}g}") != f"{bound:.{n}g}" or value == bound), f"{value}")
