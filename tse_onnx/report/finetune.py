"""What a fine-tuning came to, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tse_onnx.finetuning.result import FinetuneResult
from tse_onnx.passes.reasons import printable
from tse_onnx.report.convert import outcome, print_verification
from tse_onnx.report.distil import print_epochs, print_scores
from tse_onnx.report.number import number
from tse_onnx.report.page import say
from tse_onnx.report.verdict import print_verdict
from tse_onnx.report.view import View

if TYPE_CHECKING:
    from tse_onnx.report.page import Page

_GIVEN, _TRAINED = "the weights as given", "with trained weights"


@dataclass(frozen=True)
class FinetuneView(View):
    """A converted model with trained weights."""

    found: FinetuneResult

    def json(self) -> dict[str, Any]:
        from tse_onnx.finetuning.schema import finetune_json

        return finetune_json(self.found)

    def brief(self, page: Page) -> None:
        print_verdict(page, self.found.verdict)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["epochs"]
        return rows

    def print(self, page: Page) -> None:
        found = self.found
        where = "memory" if found.path is None else str(found.path)
        say(page, outcome(found.conversion, where), style="bold")
        print_verdict(page, found.verdict)
        say(page, "")
        tensors = len(found.weights)
        many = f"{found.numbers:,} numbers of {tensors} weight" + "s" * (tensors != 1)
        say(page, f"Trained {many} on views of {found.samples}, on {found.place}.")
        print_epochs(page, found)
        taken = f"epoch {found.best} was the best" if found.best else "no epoch was better than the weights as given"
        say(page, f"Of the samples that said when to stop ({found.stop_samples}), {taken}.")
        print_scores(page, found, _GIVEN, _TRAINED, labels=True)
        if found.metric is not None:
            was, before, after = map(number, (found.metric.original, *found.metric.models))
            values = f"{was} of the original, {before} of {_GIVEN}, {after} {_TRAINED}"
            say(page, f"Your {printable(found.metric.name)}: {values}.")
        if not found.improved:
            say(page, "Training made nothing better: the weights are those that were given.")
        if found.left_out:
            say(page, f"Not trained, as the conversion changes them itself: {_listed(found.left_out)}.")
        if (proof := found.conversion.verification) is not None:
            if found.improved:
                say(page, "Verified is the conversion of the model with the trained weights, on noise:")
            print_verification(page, replace(proof, drift=()))


def _listed(names: Sequence[str]) -> str:
    shown = [printable(name) for name in names[:3]]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
