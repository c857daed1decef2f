"""What tuning found as tables, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.conversion.verdict import GATE
from tse_onnx.evaluation.doubt import doubt
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.blocks.previous import Previous
from tse_onnx.passes.blocks.recompute import Recompute
from tse_onnx.passes.blocks.tiling import CALIBRATED, RUNNING, TILE, Tiling
from tse_onnx.passes.reasons import printable
from tse_onnx.report.number import decibels, number, percent, points
from tse_onnx.report.page import Table, say
from tse_onnx.report.size import size
from tse_onnx.report.verdict import print_verdict
from tse_onnx.report.view import View
from tse_onnx.runtime.scores import Score
from tse_onnx.streaming.network.machines import words_of
from tse_onnx.tuning.figures import FIGURES
from tse_onnx.tuning.losses import LOSSES
from tse_onnx.tuning.result import BlockSensitivity, Sensitivity, TuneResult, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tse_onnx.report.page import Page

_KINDS = {
    CALIBRATED: "calibrated running squeeze",
    RUNNING: "running squeeze",
    TILE: "tile",
}
_ALONG = ("rows", "columns")
_QUANTISED = {"convolutions": "the inputs and weights of convolutions", "all": "all that onnxruntime quantises"}


@dataclass(frozen=True)
class SensitivityView(View):
    """What every block bears."""

    found: Sensitivity

    @property
    def headline(self) -> str:
        found = self.found
        return f"{printable(found.model)}: what {len(found.blocks)} blocks bear, {found.loss} on {found.samples}"

    def json(self) -> dict[str, Any]:
        from tse_onnx.tuning.schema import sensitivity_json

        return sensitivity_json(self.found)

    def csv(self) -> str:
        from tse_onnx.tuning.schema import sensitivity_csv

        return sensitivity_csv(self.found)

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"block": block["name"]} | candidate for block in self.json()["blocks"] for candidate in block["candidates"]
        ]

    def figure(self) -> Figure:
        from tse_onnx.report.sensitivity_plot import draw_sensitivity

        return draw_sensitivity(self.found)

    def print(self, page: Page) -> None:
        _print_sensitivity(page, self.found)


@dataclass(frozen=True)
class TuneView(View):
    """A plan that was found; `outcome` says where it is."""

    found: TuneResult
    outcome: str = ""

    def json(self) -> dict[str, Any]:
        from tse_onnx.tuning.schema import tune_json

        return tune_json(self.found)

    def csv(self) -> str:
        return SensitivityView(self.found.sensitivity).csv()

    def figure(self) -> Figure:
        from tse_onnx.report.tune_plot import draw_tuning

        return draw_tuning(self.found)

    def brief(self, page: Page) -> None:
        print_verdict(page, self.found.verdict)

    def rows(self) -> list[dict[str, Any]]:
        return SensitivityView(self.found.sensitivity).rows()

    def print(self, page: Page) -> None:
        say(page, self.outcome, style="bold")
        print_verdict(page, self.found.verdict)
        say(page, "")
        _print_tuning(page, self.found)


def _print_sensitivity(page: Page, found: Sensitivity) -> None:
    """What every block bears: a table for each kind of squeeze."""
    meaning = LOSSES.get(found.loss, "the user's function")
    say(page, f"Loss of one block at a time ({found.loss}: {meaning}), on {found.samples}.")
    _print_quantised(page, found)
    for kind, title in _KINDS.items():
        columns = sorted({_column(one.choice) for entry in found.blocks for one in entry.candidates
                          if _kind(one.choice) == kind})  # fmt: skip
        if not columns:
            continue
        rows = []
        for entry in found.blocks:
            by_column = {_column(one.choice): one for one in entry.candidates if _kind(one.choice) == kind}
            cells = [number(by_column[column].loss) if column in by_column else "" for column in columns]
            rows.append(([printable(entry.block.name), _shape(entry), *cells], ""))
        say(page, "")
        say(page, f"{title} of so many {_ALONG[found.axis]}:")
        headings = ("block", "C × H × W", *(f"{rows}" + (f"/{step}" if step > 1 else "") for rows, step in columns))
        page.print(Table(headings, rows, right=tuple(range(2, 2 + len(columns)))))
    _print_recomputes(page, found)
    kinds: dict[str, type[Choice]] = {"frozen": Frozen} | ({"frame before": Previous} if found.streams else {})
    gates: list[tuple[Sequence[str], str]] = [
        ((printable(entry.block.name), _moves(entry), *(_alone(entry, kind) for kind in kinds.values())), "")
        for entry in found.blocks
        if entry.gate
    ]
    if gates:
        say(page, "")
        say(page, "gates:")
        page.print(Table(("block", "moves by", *kinds), gates, right=tuple(range(1, 2 + len(kinds)))))
    say(page, "")
    _print_outside(page, found)
    say(page, f"Buffers: {size(found.before)} before ({_counted(found)}).")


def _print_quantised(page: Page, found: Sensitivity) -> None:
    """That the network was in eight bits, and what a loss means then."""
    if found.quantised is not None:
        what, how = _QUANTISED[found.quantised.operators], found.quantised.calibration
        adds = "A loss is what a choice adds to the quantised network's, both told from the float one."
        say(page, f"In eight bits: {what}, by {how} ranges. {adds}")


def _print_outside(page: Page, found: Sensitivity) -> None:
    """What a target takes in no form, in a line for each block, with the first reason."""
    for entry in found.blocks:
        if entry.outside:
            (choice, why), count = entry.outside[0], len(entry.outside)
            offered = count + len(entry.candidates) - 1
            name = printable(entry.block.name)
            say(page, f"Not offered: {name}: {count} of {offered} choices, as {printable(choice.words)}: {why}")


def _print_recomputes(page: Page, found: Sensitivity) -> None:
    """What may be held instead of each map, and what it takes to make the map twice."""
    rows: list[tuple[Sequence[str], str]] = [
        ((printable(entry.block.name), _shape(entry), printable(one.choice.held or ""), size(one.saved),
          f"{one.macs_added:,}", percent(share(one.macs_added, found.macs))), "")
        for entry in found.blocks
        for one in entry.candidates
        if isinstance(one.choice, Recompute)
    ]  # fmt: skip
    if rows:
        say(page, "")
        say(page, "recompute, which loses nothing:")
        headings = ("block", "C × H × W", "held instead", "saves", "MACs added", "of all")
        page.print(Table(headings, rows, right=(3, 4, 5)))


def _print_tuning(page: Page, found: TuneResult) -> None:
    """The plan block by block, the curve, and the verdict of the held-out samples."""
    sensitivity = found.sensitivity
    rows: list[tuple[Sequence[str], str]] = []
    for entry in sensitivity.blocks:
        choice = found.chosen.of(entry.block.name)
        one = next(one for one in entry.candidates if one.choice == choice)
        rows.append((
            (printable(entry.block.name), _shape(entry), printable(_words(choice)), size(one.saved),
             f"{one.macs_added:,}", _moves(entry), number(one.loss)),
            "dim" if choice is None else "",
        ))  # fmt: skip
    predicted, measured = number(found.chosen.predicted), number(found.chosen.measured or 0.0)
    macs = found.chosen.macs_added
    saved = size(sensitivity.before - found.chosen.bytes)
    rows.append((("total", "", "", saved, f"{macs:,}", "", predicted), "bold"))
    headings = ("block", "C × H × W", "plan", "saves", "MACs added", "gate moves", f"{sensitivity.loss} alone")
    page.print(Table(headings, rows, right=(3, 4, 5, 6)))
    say(page, f"Multiply-accumulates of the network: {points(100 * share(macs, sensitivity.macs))} %.")
    if sensitivity.array is not None and sensitivity.cycles is not None:
        added = found.chosen.cycles_added or 0
        more = f"{points(100 * share(added, sensitivity.cycles))} % of {sensitivity.cycles:,}"
        say(page, f"Cycles on {printable(sensitivity.array.name)}: {added:+,}, {more}.")
    if len(found.tried) > 1:
        losses = [f"{sensitivity.loss} {number(one.measured or 0.0)} by {_ALONG[axis]}" for axis, one in found.tried]
        say(page, f"Maps stream by {_ALONG[found.axis]}: {', '.join(losses)}.")
    _print_quantised(page, sensitivity)
    say(page, f"Together they cost {measured}, where {predicted} was predicted ({sensitivity.samples}).")
    _print_outside(page, sensitivity)
    _print_curve(page, found)
    _print_verdict(page, found)
    least = f"{size(found.least)} of {size(sensitivity.before)}, {100 * found.most:.1f} % less"
    say(page, f"The smallest buffer of any plan: {least} ({_counted(sensitivity)}).")


def _print_curve(page: Page, found: TuneResult) -> None:
    cycles = found.sensitivity.cycles
    rows: list[tuple[Sequence[str], str]] = []
    for point in found.pareto:
        saved = percent(1 - share(point.bytes, found.sensitivity.before))
        measured = "" if point.measured is None else number(point.measured)
        mine = point.combination == found.chosen.combination
        macs = f"{points(100 * share(point.macs_added, found.sensitivity.macs))} %"
        more = () if cycles is None else (f"{points(100 * share(point.cycles_added or 0, cycles))} %",)
        plan = "the plan" if mine else ""
        cells = (saved, size(point.bytes), macs, *more, number(point.predicted), measured, plan)
        rows.append((cells, "bold" if mine else ""))
    say(page, "")
    headings = ("saved", "buffer", "MACs", *(() if cycles is None else ("cycles",)), "predicted", "measured", "")
    page.print(Table(headings, rows, right=tuple(range(len(headings) - 1))))


def _print_verdict(page: Page, found: TuneResult) -> None:
    """How the plan does on samples that it was not chosen by, beside one tiling for all."""
    before = found.sensitivity.before
    rows: list[tuple[Sequence[str], str]] = []
    scores = [score for verdict in found.judged for score in verdict.scores]
    accurate, several = any(score.accuracy for score in scores), len({score.output for score in scores}) > 1
    for verdict in found.judged:
        for score in verdict.scores:
            output = (printable(score.output),) if several else ()
            saved = percent(1 - share(verdict.point.bytes, before))
            title = "the plan" if verdict.title == "chosen" else verdict.title
            cells = [title, *output, saved, *scored(score), *(_accuracy(score) if accurate else ())]
            rows.append((cells, "bold" if verdict.title == "chosen" else ""))
    say(page, "")
    say(page, f"On samples that nothing was chosen by ({found.held_out}):")
    headings = (
        "",
        *(("output",) if several else ()),
        "saved",
        "agreement",
        "KL",
        "SQNR",
        *(("top-1", "change") if accurate else ()),
    )
    page.print(Table(headings, rows, right=tuple(range(1 + several, len(headings)))))
    for text in dict.fromkeys(map(doubt, scores)):
        if text is not None:
            say(page, f"Doubtful: {text}.", style="yellow")


def _counted(found: Sensitivity) -> str:
    """What counts as buffer, in words."""
    words, machine = FIGURES[found.figure], found.machine
    if found.figure != GATE:
        return f"{words}, {words_of(machine)}"
    return words if machine.bits is None else f"{words}, at {machine.bits} bits"


def scored(score: Score) -> tuple[str, str, str]:
    """Agreement, divergence and signal-to-noise ratio of an output, for a table."""
    return (
        percent(score.agreement),
        "" if score.kl is None else number(score.kl),
        decibels(score.sqnr_db),
    )


def _accuracy(score: Score) -> tuple[str, str]:
    if score.accuracy is None:
        return "", ""
    change = score.accuracy.top1 - score.accuracy.original_top1
    return percent(score.accuracy.top1), "" if doubt(score) else points(100 * change)


def _words(choice: Choice | None) -> str:
    """A choice as a table has it."""
    return "keep" if choice is None else choice.words


def _kind(choice: Choice | None) -> str:
    return "" if choice is None else choice.kind


def _column(choice: Choice | None) -> tuple[int, int]:
    assert isinstance(choice, Tiling)
    return choice.rows or 0, choice.step


def _alone(entry: BlockSensitivity, kind: type[Choice]) -> str:
    found = next((one for one in entry.candidates if isinstance(one.choice, kind)), None)
    return "not offered" if found is None else number(found.loss)


def _moves(entry: BlockSensitivity) -> str:
    return "" if entry.gate is None else f"{number(100 * entry.gate.moved)} %"


def _shape(entry: BlockSensitivity) -> str:
    block = entry.block
    sizes = (block.channels, *block.extents) if block.extents else (block.shape or (None, None))[1:]
    return " × ".join("?" if number is None else str(number) for number in sizes)
