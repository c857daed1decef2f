"""A quantised model as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.conversion.verdict import telling
from tse_onnx.passes.reasons import printable
from tse_onnx.quantisation.result import QuantisedLayer, QuantiseResult
from tse_onnx.report.number import percent
from tse_onnx.report.page import Table, say
from tse_onnx.report.tune import scored
from tse_onnx.report.verdict import distance
from tse_onnx.report.view import View

if TYPE_CHECKING:
    from tse_onnx.report.page import Page
    from tse_onnx.runtime.scores import Score

_WORST = 5  # layers of which it is said how far their means were


@dataclass(frozen=True)
class QuantiseView(View):
    """A model in eight bits; `outcome` says where it is."""

    found: QuantiseResult
    outcome: str = ""

    def json(self) -> dict[str, Any]:
        from tse_onnx.quantisation.schema import quantise_json

        return quantise_json(self.found)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["layers"]
        return rows

    def brief(self, page: Page) -> None:
        say(page, _verdict(self.found))

    def print(self, page: Page) -> None:
        found = self.found
        if self.outcome:
            say(page, self.outcome, style="bold")
        say(page, _verdict(found))
        say(page, "")
        done = [layer for layer in found.layers if layer.quantised]
        ranges = f"{len(found.ranges.by_value)} values ({found.ranges.calibration}, {found.samples})"
        say(page, f"Quantised {_layers(found, len(done))}, by the ranges of {ranges}.")
        for layer in found.layers:
            if not layer.quantised:
                share = "" if layer.share is None else f", {percent(layer.share)} of the noise of all"
                say(page, f"In float: {printable(layer.name)}, {layer.reason}{share}.")
        _print_scores(page, found)
        _print_biases(page, found)


def _layers(found: QuantiseResult, count: int) -> str:
    kind = "convolution" if found.operators == "convolutions" else "layer"
    return f"{count} of {len(found.layers)} {kind}s"


def _verdict(found: QuantiseResult) -> str:
    score = telling(found.scores)
    if score is None:
        return "What it loses is not known: no output holds numbers."
    top1 = ""
    if score.accuracy is not None:
        top1 = f"top-1 {percent(score.accuracy.original_top1)} in float, {percent(score.accuracy.top1)} in eight bits, "
    apart = "" if found.held_out else ", which it was calibrated on"
    return f"Accuracy: {top1}{distance(score)} ({found.judged}{apart})."


def _print_scores(page: Page, found: QuantiseResult) -> None:
    if found.uncorrected is None and len(found.scores) < 2:
        return
    labelled = any(score.accuracy is not None for score in found.scores)
    several = len(found.scores) > 1
    sides = [("quantised", found.uncorrected), ("biases corrected", found.scores)]
    if found.uncorrected is None:
        sides = [("quantised", found.scores)]
    rows: list[tuple[Sequence[str], str]] = []
    for title, scores in sides:
        for score in scores or ():
            output = (printable(score.output),) if several else ()
            rows.append(((title, *output, *((_top1(score),) if labelled else ()), *scored(score)), ""))
    headings = ("", *(("output",) if several else ()), *(("top-1",) if labelled else ()), "agreement", "KL", "SQNR")
    say(page, "")
    page.print(Table(headings, rows, right=tuple(range(1 + several, len(headings)))))


def _top1(score: Score) -> str:
    return "" if score.accuracy is None else percent(score.accuracy.top1)


def _print_biases(page: Page, found: QuantiseResult) -> None:
    moved = [layer for layer in found.layers if layer.correction is not None]
    for name, reason in found.uncorrectable:
        say(page, f"The bias of {printable(name)} was not corrected: {reason}.")
    if not moved:
        return
    say(page, "")
    say(page, f"Corrected {len(moved)} biases, and verified: each mean is within half a step of the float network's.")
    say(page, "The means that were furthest, as a part of what the layer's output is (root mean square):")
    worst = sorted(moved, key=_before, reverse=True)[:_WORST]
    rows = [((printable(layer.name), percent(_before(layer)), percent(_after(layer))), "") for layer in worst]
    page.print(Table(("layer", "before", "after"), rows, right=(1, 2)))
    if limited := sum(layer.correction.limited for layer in moved if layer.correction is not None):
        say(page, f"The biases of {limited} channels are beyond what int32 holds.")


def _before(layer: QuantisedLayer) -> float:
    return 0.0 if layer.correction is None else layer.correction.before


def _after(layer: QuantisedLayer) -> float:
    return 0.0 if layer.correction is None else layer.correction.after
