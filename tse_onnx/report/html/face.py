"""How a result shows itself in a program and in a notebook: each kind by the view that its command prints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from tse_onnx.conversion.convert import ConvertResult
from tse_onnx.conversion.fold import FoldResult
from tse_onnx.conversion.inspect import Inspection
from tse_onnx.conversion.report import Report
from tse_onnx.costs.cycles import Cost, Costed
from tse_onnx.costs.layer import Profile
from tse_onnx.difference.diff import Diff
from tse_onnx.distillation.result import DistilResult
from tse_onnx.errors import UsageError
from tse_onnx.evaluation.correlation import Correlations
from tse_onnx.evaluation.result import Evaluation
from tse_onnx.evaluation.verify import Proof
from tse_onnx.finetuning.result import FinetuneResult
from tse_onnx.layerwise.result import Noise
from tse_onnx.quantisation.result import QuantiseResult
from tse_onnx.report.convert import InspectView, ReportView, VerificationView, outcome
from tse_onnx.report.diff import DiffView
from tse_onnx.report.distil import DistilView
from tse_onnx.report.evaluate import CorrelationsView, EvaluateView
from tse_onnx.report.finetune import FinetuneView
from tse_onnx.report.fold import FoldView
from tse_onnx.report.html.fragment import fragment
from tse_onnx.report.html.sheet import Line, Sheet
from tse_onnx.report.noise import NoiseView
from tse_onnx.report.profile import CostView, ProfileView
from tse_onnx.report.quantise import QuantiseView
from tse_onnx.report.stream import DataflowView
from tse_onnx.report.targets import CheckView
from tse_onnx.report.tune import SensitivityView, TuneView
from tse_onnx.report.verify import VerifyView
from tse_onnx.report.view import View
from tse_onnx.streaming.depths.result import Dataflow
from tse_onnx.targets.check import TargetCheck
from tse_onnx.tuning.result import Sensitivity, TuneResult
from tse_onnx.verification.result import Verification


@dataclass(frozen=True)
class Face:
    """A view, as text, HTML and rows."""

    view: View

    @property
    def line(self) -> str:
        """What is said first."""
        return self._said()[0]

    @property
    def text(self) -> str:
        """All that is printed."""
        page = _Text()
        self.view.print(page)
        return "\n".join(page.lines).strip("\n")

    @property
    def html(self) -> str:
        """What is said first, and a table."""
        return fragment(self.view, self._said())

    def frame(self) -> Any:
        """The rows as a `DataFrame`."""
        try:
            import pandas
        except ImportError as error:
            raise UsageError("a table of a result needs pandas: pip install pandas") from error
        return pandas.json_normalize(self.view.rows())

    def _said(self) -> list[str]:
        if self.view.headline:
            return [self.view.headline]
        sheet, most = Sheet(), None
        try:
            self.view.brief(sheet)
        except NotImplementedError:
            self.view.print(sheet)
            most = 1
        return [item.text for item in sheet.items if isinstance(item, Line)][:most] or [""]


class _Text:
    """A page of plain text that is kept."""

    is_terminal = False

    def __init__(self) -> None:
        self.lines: list[str] = []

    def print(self, what: object, style: str = "", **_: object) -> None:
        """Keep a line or a table."""
        self.lines.append(str(what))


def face_of(result: object) -> Face:
    """The face of a result."""
    return Face(view_of(result))


@singledispatch
def view_of(result: object) -> View:
    """The view of a result."""
    raise NotImplementedError(f"{type(result).__name__} has no view")


@view_of.register
def _(result: ConvertResult) -> View:
    where = "memory" if result.path is None else str(result.path)
    return ReportView(result.report, outcome(result, where), network=True)


@view_of.register
def _(result: Report) -> View:
    return ReportView(result, f"What the conversion of {result.model} comes to.", network=True)


@view_of.register
def _(result: Inspection) -> View:
    return InspectView(result)


@view_of.register
def _(result: Verification) -> View:
    return VerificationView(result)


@view_of.register
def _(result: Proof) -> View:
    return VerifyView(result)


@view_of.register
def _(result: Evaluation) -> View:
    return EvaluateView(result)


@view_of.register
def _(result: Correlations) -> View:
    return CorrelationsView(result)


@view_of.register
def _(result: Sensitivity) -> View:
    return SensitivityView(result)


@view_of.register
def _(result: TuneResult) -> View:
    return TuneView(result)


@view_of.register
def _(result: DistilResult) -> View:
    return DistilView(result)


@view_of.register
def _(result: FinetuneResult) -> View:
    return FinetuneView(result)


@view_of.register
def _(result: QuantiseResult) -> View:
    where = "memory" if result.path is None else str(result.path)
    return QuantiseView(result, f"The quantised model was written to {where}.")


@view_of.register
def _(result: Noise) -> View:
    return NoiseView(result)


@view_of.register
def _(result: Dataflow) -> View:
    return DataflowView(result)


@view_of.register
def _(result: Cost) -> View:
    return CostView(result)


@view_of.register
def _(result: TargetCheck) -> View:
    return CheckView(result)


@view_of.register
def _(result: Diff) -> View:
    return DiffView(result)


@view_of.register
def _(result: Profile) -> View:
    return ProfileView(Costed(result))


@view_of.register
def _(result: FoldResult) -> View:
    return FoldView(result, "memory" if result.path is None else str(result.path))
