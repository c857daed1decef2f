"""Evaluations as tables, for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.errors import UsageError
from tse_onnx.evaluation.doubt import doubt
from tse_onnx.evaluation.result import Evaluation, ModelScores, StreamScores, loss_of, sums_of
from tse_onnx.passes.reasons import printable
from tse_onnx.passes.settings import setting
from tse_onnx.report.number import MINUS, decibels, number, percent, points
from tse_onnx.report.page import Table, say
from tse_onnx.report.verdict import distance
from tse_onnx.report.view import View
from tse_onnx.runtime.scores import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tse_onnx.evaluation.correlation import BlockCorrelation, Correlations
    from tse_onnx.report.page import Page

# Headings, what a cell of another model says, and what that of the original says.
_Column = tuple[str, Callable[[Score], str], Callable[[Score], str]]


@dataclass(frozen=True)
class EvaluateView(View):
    """What every model is like on the data, and every stage; where it was asked how well tiles stand for whole maps."""

    found: Evaluation
    correlations: Correlations | None = None

    @property
    def headline(self) -> str:
        mains = ((one.model, one.main) for one in self.found.models)
        said = "; ".join(f"{printable(name)}: {distance(main)}" for name, main in mains if main is not None)
        return f"{said} ({self.found.data})" if said else ""

    def json(self) -> dict[str, Any]:
        from tse_onnx.evaluation.schema import evaluation_json

        return evaluation_json(self.found, self.correlations)

    def csv(self) -> str:
        from tse_onnx.evaluation.schema import correlations_csv

        assert self.correlations is not None
        return correlations_csv(self.correlations)

    def figure(self) -> Figure:
        from tse_onnx.report.correlation_plot import draw_correlations

        if self.correlations is None:
            raise UsageError("there is a picture of correlations alone")
        return draw_correlations(self.correlations)

    def rows(self) -> list[dict[str, Any]]:
        return [{"model": one["model"]} | score for one in self.json()["models"] for score in one["outputs"]]

    def brief(self, page: Page) -> None:
        for model in self.found.models:
            if (main := model.main) is not None:
                say(page, f"{printable(model.model)}: {_right(main)}{distance(main)} ({self.found.data}).")
        _print_doubts(page, self.found)

    def print(self, page: Page) -> None:
        _print_evaluation(page, self.found)
        if self.correlations is not None:
            _print_correlations(page, self.correlations)


@dataclass(frozen=True)
class CorrelationsView(View):
    """How well tiles stand for whole maps."""

    found: Correlations

    @property
    def headline(self) -> str:
        return f"{len(self.found.blocks)} blocks of {printable(self.found.original)}, on {self.found.data}"

    def json(self) -> dict[str, Any]:
        from tse_onnx.evaluation.schema import correlations_json

        return correlations_json(self.found)

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"block": block["block"], "tile": number} | tile
            for block in self.json()["blocks"]
            for number, tile in enumerate(block["tiles"])
        ]

    def figure(self) -> Figure:
        from tse_onnx.report.correlation_plot import draw_correlations

        return draw_correlations(self.found)

    def print(self, page: Page) -> None:
        _print_correlations(page, self.found)


def _print_evaluation(page: Page, found: Evaluation) -> None:
    """What every model is like on the data, and every stage."""
    scores = [score for model in found.models for score in model.outputs]
    several = len({score.output for score in scores}) > 1
    columns = _columns(scores)
    rows: list[tuple[Sequence[str], str]] = []
    if any(score.accuracy for score in scores):
        for score in found.models[0].outputs:
            if score.accuracy is not None:
                name = [printable(score.output)] * several
                rows.append(
                    ([printable(found.original), *name, *(original(score) for _, _, original in columns)], "dim")
                )
    for model in found.models:
        for score in model.outputs:
            name = [printable(score.output)] * several
            rows.append(([printable(model.model), *name, *(cell(score) for _, cell, _ in columns)], ""))
    headings = ["model", *["output"] * several, *(heading for heading, _, _ in columns)]
    page.print(Table(headings, rows, right=range(1 + several, len(headings))))
    if found.stages is not None:
        _print_stages(page, found)
    if found.streams is not None:
        _print_streams(page, found, found.streams)
    prepared = "" if found.preprocess is None else f": {found.preprocess}"
    say(page, f"{found.data}{prepared}.")
    for title in found.first_frames:
        say(
            page,
            f"Note: every sample was a first frame to {printable(title)}: {setting('frames', True)} feeds gates "
            "on to the next one.",
        )
    _print_doubts(page, found)
    for skipped in found.skipped:
        say(page, f"Skipped: {skipped} cannot be read.")


def _right(score: Score) -> str:
    """How many samples are classified right, where they have labels that say so."""
    if score.accuracy is None or doubt(score):
        return ""
    before, after = score.accuracy.original_top1, score.accuracy.top1
    return f"top-1 {percent(before)} before, {percent(after)} after, "


def _print_doubts(page: Page, found: Evaluation) -> None:
    for text in found.doubts:
        say(page, f"Doubtful: {text}.", style="yellow")


def _print_streams(page: Page, found: Evaluation, streams: Sequence[StreamScores]) -> None:
    """Every model on every stream, and on the first frame of it, where the gates are those of no frame yet."""
    mains = [main for stream in streams for one in stream.models if (main := ModelScores("", one).main) is not None]
    columns = _columns(mains)
    rows: list[tuple[Sequence[str], str]] = []
    for stream in streams:
        for model, outputs, frames in zip(found.models, stream.models, stream.by_frame, strict=False):
            main, first = ModelScores("", outputs).main, ModelScores("", frames[0]).main
            if main is not None and first is not None:
                name, count = printable(stream.stream), str(len(stream.frames))
                cells = [cell(main) for _, cell, _ in columns]
                rows.append(([name, count, printable(model.model), *cells, decibels(first.sqnr_db)], ""))
    headings = ("stream", "frames", "model", *(heading for heading, _, _ in columns), "first frame")
    if rows:
        page.print(Table(headings, rows, right=(1, *range(3, len(headings)))))


def _print_stages(page: Page, found: Evaluation) -> None:
    assert found.stages is not None
    whole = found.models[0].main
    columns = _columns([main for stage in found.stages if (main := ModelScores("", stage.outputs).main)] or [])
    before = sum(stage.before for stage in found.stages)
    saved = [stage.before - stage.after for stage in found.stages]
    rows: list[tuple[Sequence[str], str]] = []
    for place, (stage, less) in enumerate(zip(found.stages, saved, strict=True), 1):
        main = ModelScores("", stage.outputs).main
        size = " × ".join(map(str, stage.extents))
        counts = [f"{stage.converted} of {len(stage.blocks)}", percent(less / before if before else 0)]
        cells = [cell(main) if main is not None else "" for _, cell, _ in columns]
        rows.append(([str(place), size, *counts, *cells], "" if stage.converted else "dim"))
    if whole is not None:
        blocks = f"{sum(one.converted for one in found.stages)} of {sum(len(one.blocks) for one in found.stages)}"
        cells = [cell(whole) for _, cell, _ in columns]
        rows.append((["all", "", blocks, percent(sum(saved) / before if before else 0), *cells], "bold"))
    headings = ("stage", "map", "converted", "buffer saved", *(heading for heading, _, _ in columns))
    page.print(Table(headings, rows, right=range(2, len(headings))))
    loss, kl = sums_of(found.stages)
    loss = None if whole is not None and doubt(whole) else loss
    if whole is None or whole.kl is None or kl is None:
        return
    lost = "" if loss is None else f"{loss:.1f} points of top-1 and "
    together = "" if loss is None else f"{loss_of(whole):.1f} points and "
    alone = f"{lost}a divergence of {number(kl)}"
    say(page, f"One by one the stages cost {alone}; all at once {together}{number(whole.kl)}.")


def _print_correlations(page: Page, found: Correlations) -> None:
    """How well tiles stand for whole maps, block by block."""
    rows = [
        (
            (
                printable(block.block),
                " × ".join(map(str, (block.channels, *block.extents))),
                block.tiling,
                *_correlation(block, "squeeze"),
                *_correlation(block, "excite"),
            ),
            "",
        )
        for block in found.blocks
    ]
    headings = ("block", "C × H × W", "", "r of means", "worst tile", "r of gates", "worst tile")
    if rows:
        page.print(Table(headings, rows, right=(3, 4, 5, 6)))
    else:
        say(page, "No block has tiles to correlate.")
    if any(block.excite is None for block in found.blocks):
        say(page, "No r: the gates do not vary, or cannot be computed from a mean alone.")


def _correlation(block: BlockCorrelation, name: str) -> tuple[str, str]:
    each = [value for tile in block.tiles if (value := getattr(tile, name)) is not None]
    whole = getattr(block, name)
    return "–" if whole is None else _three(whole), _three(min(each)) if each else "–"


def _three(correlation: float) -> str:
    return f"{correlation:.3f}".replace("-", MINUS)


def _columns(scores: Sequence[Score]) -> list[_Column]:
    """The columns for which there is anything to say."""
    columns: list[_Column] = []
    if any(score.accuracy for score in scores):
        columns += _accuracy("top-1", "top1")
        if any(score.accuracy and score.accuracy.top5 is not None for score in scores):
            columns += _accuracy("top-5", "top5")
        columns.append(("lost, gained", _changed, lambda score: ""))
    if any(score.agreement is not None for score in scores):
        columns.append(("agreement", lambda score: percent(score.agreement), lambda score: ""))
        columns.append(("KL", lambda score: "" if score.kl is None else number(score.kl), lambda score: ""))
    if any(score.differing is not None for score in scores):
        columns.append(("differing", lambda score: percent(score.differing), lambda score: ""))
    columns.append(("SQNR", lambda score: decibels(score.sqnr_db), lambda score: ""))
    columns.append(("max", lambda score: number(score.max_abs), lambda score: ""))
    return columns


def _accuracy(heading: str, name: str) -> list[_Column]:
    """The accuracy of either model, and by how many points it changes."""

    def value(score: Score, which: str) -> float | None:
        return None if score.accuracy is None else getattr(score.accuracy, which)

    def change(score: Score) -> str:
        now, was = value(score, name), value(score, f"original_{name}")
        return "" if now is None or was is None or doubt(score) else points(100 * (now - was))

    original = f"original_{name}"
    return [
        (heading, lambda score: percent(value(score, name)), lambda score: percent(value(score, original))),
        ("change", change, lambda score: ""),
    ]


def _changed(score: Score) -> str:
    return "" if score.accuracy is None or doubt(score) else f"{score.accuracy.lost}, {score.accuracy.gained}"
