"""What each view has for a document beside what it prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch

from onnx import ModelProto

from tse_onnx.decision.decision import CONVERTED
from tse_onnx.report.convert import ReportView
from tse_onnx.report.evaluate import EvaluateView
from tse_onnx.report.fold import FoldView
from tse_onnx.report.html.block import block_figure
from tse_onnx.report.html.figure import Figure
from tse_onnx.report.html.front import front_figure
from tse_onnx.report.html.neighbourhood import Graph, graph_figure
from tse_onnx.report.html.occupancy import occupancy_figure
from tse_onnx.report.noise import NoiseView
from tse_onnx.report.profile import ProfileView
from tse_onnx.report.stream import StreamView
from tse_onnx.report.tune import TuneView
from tse_onnx.report.view import View
from tse_onnx.streaming.network.needs.axis import TOKENS


@dataclass(frozen=True)
class Models:
    """The model that a view is about, and what was made of it, for pictures of their graphs."""

    before: ModelProto | None = None
    after: ModelProto | None = None


@dataclass(frozen=True)
class Told:
    """The name of the model, pictures, and a plan as text."""

    model: str
    figures: Sequence[Figure] = ()
    plan: str = ""


@singledispatch
def told(view: View, models: Models) -> Told:
    """What there is for a kind of view."""
    raise NotImplementedError(f"{type(view).__name__} makes no document")


@told.register
def _(view: ReportView, models: Models) -> Told:
    return Told(view.report.model, tuple(_report_figures(view, models)), view.report.plan.dumps())


@told.register
def _(view: TuneView, models: Models) -> Told:
    return Told(view.found.sensitivity.model, tuple(_there([front_figure(view.found)])), view.found.plan.dumps())


@told.register
def _(view: StreamView, models: Models) -> Told:
    held = view.found.timeline(None if view.axes is None else view.axes.images)
    title = view.found.dataflow.model
    return Told(title, (occupancy_figure([title], [held], TOKENS[view.found.axis]),))


@told.register
def _(view: EvaluateView, models: Models) -> Told:
    return Told(view.found.original)


@told.register
def _(view: ProfileView, models: Models) -> Told:
    return Told(view.found.profile.model)


@told.register
def _(view: NoiseView, models: Models) -> Told:
    return Told(view.found.model)


@told.register
def _(view: FoldView, models: Models) -> Told:
    return Told(view.result.title)


def _report_figures(view: ReportView, models: Models) -> Iterator[Figure]:
    found = view.report.comparison
    if found is not None:
        held = found.timelines(None if view.axes is None else view.axes.images)
        yield occupancy_figure(["before", "after"], held, TOKENS[found.axis])
    before = None if models.before is None else Graph.of(models.before)
    after = None if models.after is None else Graph.of(models.after)
    for figures in view.report.buffering.blocks:
        if figures.decision.status == CONVERTED:
            yield from _there([block_figure(figures)])
            if before is not None:
                yield from _there([graph_figure(figures.decision.block, before, after)])


def _there(figures: Iterable[Figure | None]) -> Iterator[Figure]:
    return (figure for figure in figures if figure is not None)
