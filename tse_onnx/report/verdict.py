"""A verdict in the same few lines, whichever command it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tse_onnx.report.number import decibels, number, percent
from tse_onnx.report.page import say
from tse_onnx.report.size import size
from tse_onnx.streaming.network.machines import words_of

if TYPE_CHECKING:
    from tse_onnx.conversion.verdict import Change, Verdict
    from tse_onnx.report.page import Page
    from tse_onnx.runtime.scores import Score


def print_verdict(page: Page, verdict: Verdict) -> None:
    """What is held before and after, and what that costs."""
    for line in verdict_lines(verdict):
        say(page, line)


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """The same, for pictures too."""
    yield f"Scales of the blocks: {_change(verdict.scales)} (the paper's figure)."
    if verdict.network is not None and verdict.machine is not None:
        yield f"Whole network: {_change(verdict.network)} (the least that it runs with, {words_of(verdict.machine)})."
    if verdict.accuracy is None:
        yield f"Accuracy: unknown, {verdict.unknown}."
    else:
        yield f"Accuracy: {distance(verdict.accuracy)} ({verdict.samples})."


def _change(change: Change) -> str:
    saved = ""
    if change.before:
        part = 1 - change.after / change.before
        saved = f", {percent(abs(part))} {'less' if part >= 0 else 'more'}"
    return f"{size(change.before)} before, {size(change.after)} after{saved}"


def distance(score: Score) -> str:
    """How far an output is from the original's, in words."""
    agreement = [] if score.agreement is None else [f"agreement {percent(score.agreement)}"]
    divergence = [] if score.kl is None else [f"KL {number(score.kl)}"]
    noise = ["equal"] if score.sqnr_db is None else [f"SQNR {decibels(score.sqnr_db)}"]
    return ", ".join([*agreement, *divergence, *noise])
