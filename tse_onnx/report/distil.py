"""What a distillation came to, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tse_onnx.distillation.result import DistilResult, Epoch
from tse_onnx.passes.reasons import printable
from tse_onnx.report.number import number, percent
from tse_onnx.report.page import Table, say
from tse_onnx.report.tune import scored
from tse_onnx.report.verdict import print_verdict
from tse_onnx.report.view import View
from tse_onnx.runtime.scores import Score

if TYPE_CHECKING:
    from tse_onnx.report.page import Page


@dataclass(frozen=True)
class DistilView(View):
    """A plan with trained numbers; `outcome` says where it is."""

    found: DistilResult
    outcome: str = ""

    def json(self) -> dict[str, Any]:
        from tse_onnx.distillation.schema import distil_json

        return distil_json(self.found)

    def brief(self, page: Page) -> None:
        print_verdict(page, self.found.verdict)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["epochs"]
        return rows

    def print(self, page: Page) -> None:
        say(page, self.outcome, style="bold")
        print_verdict(page, self.found.verdict)
        say(page, "")
        _print_distillation(page, self.found)


def _print_distillation(page: Page, found: DistilResult) -> None:
    """How the training went, and the verdict on samples that had no part in it."""
    blocks = f"{len(found.trained)} block" + "s" * (len(found.trained) != 1)
    if found.excites:
        blocks += f", the weights of {len(found.excites)} excite{'s' * (len(found.excites) != 1)} among them,"
    say(page, f"Trained {found.numbers:,} numbers of {blocks} on views of {found.samples}.")
    print_epochs(page, found)
    taken = f"epoch {found.best} was the best" if found.best else "no epoch was better than the plan that was given"
    say(page, f"Of the samples that said when to stop ({found.stop_samples}), {taken}.")
    print_scores(page, found, "the plan as given", "with trained numbers")
    if not found.improved:
        say(page, "Training made nothing better: the plan is the one that was given.")


class Training(Protocol):
    """What every training has to show."""

    @property
    def start(self) -> float: ...
    @property
    def epochs(self) -> Sequence[Epoch]: ...
    @property
    def best(self) -> int: ...
    @property
    def before(self) -> Sequence[Score]: ...
    @property
    def after(self) -> Sequence[Score]: ...
    @property
    def scores(self) -> Sequence[Score]: ...
    @property
    def held_out(self) -> str: ...


def print_epochs(page: Page, found: Training) -> None:
    """The losses, epoch by epoch."""
    rows: list[tuple[Sequence[str], str]] = [(("0", "", number(found.start)), "bold" if found.best == 0 else "")]
    rows += [
        ((str(one.number), number(one.loss), number(one.stop_loss)), "bold" if one.number == found.best else "")
        for one in found.epochs
    ]
    page.print(Table(("epoch", "loss", "set aside"), rows, right=(0, 1, 2)))


def print_scores(page: Page, found: Training, given: str, trained: str, labels: bool = False) -> None:
    """How far the outputs are before and after, of what is called `given` and `trained`; by `labels`, where there are
    any, how many samples are classified right."""
    several = len(found.before) > 1
    labelled = labels and any(score.accuracy is not None for score in found.before)
    rows: list[tuple[Sequence[str], str]] = []
    for title, scores in ((given, found.before), (trained, found.after)):
        for score in scores:
            output = (printable(score.output),) if several else ()
            right = (_right(score),) if labelled else ()
            rows.append(((title, *output, *scored(score), *right), "bold" if scores is found.scores else ""))
    say(page, "")
    say(page, f"On samples that had no part in it ({found.held_out}):")
    headings = ("", *(("output",) if several else ()), "agreement", "KL", "SQNR", *(("top-1",) if labelled else ()))
    page.print(Table(headings, rows, right=tuple(range(1 + several, len(headings)))))


def _right(score: Score) -> str:
    if score.accuracy is None:
        return ""
    return f"{percent(score.accuracy.top1)} (original {percent(score.accuracy.original_top1)})"
