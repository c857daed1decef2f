"""The occupancy picture: what is held while images stream in, before beside after."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto

from tse_onnx.errors import UsageError
from tse_onnx.passes.graph.types import bits_of
from tse_onnx.passes.reasons import printable
from tse_onnx.report.kinds import KIND_NAMES
from tse_onnx.report.labels import Heights, spot, spread
from tse_onnx.report.picture import blank
from tse_onnx.report.size import size
from tse_onnx.streaming.depths.occupancy import Occupancy, settled
from tse_onnx.streaming.depths.result import GATE, LINE, SKIP, STREAM, Dataflow

if TYPE_CHECKING:
    from matplotlib.axes import Axes as MatplotlibAxes
    from matplotlib.figure import Figure

# From the bottom of the stack: what no conversion changes first, so that what does change lies on top. From light to
# dark, in steps that are still told apart without their hues.
COLOURS: Mapping[str, str] = {STREAM: "#e9ecf1", LINE: "#aac1dd", SKIP: "#c98233", GATE: "#7d2218"}
_ON_DARK = (GATE,)
_INK = "#24282f"

# Inches: the panels, and what is around them.
_WIDE, _HIGH, _LEFT, _BETWEEN, _BELOW, _LINE = 4.9, 3.3, 0.75, 0.6, 0.55, 0.22
_SIZES = (10.0, 8.0)  # of a text inside a band, in points; where the smaller does not fit, it stands beside the panel
_LETTERS = 46  # of a panel's title in a line
_LINE_LETTERS = 140  # of a verdict's lines
_LONGEST = 100  # letters of a model's name
_COLUMNS = 800  # more than can be seen


@dataclass(frozen=True)
class Panel:
    """A network as it is drawn: its title, its figures, and what it holds against time, which goes by rows or by
    columns: one `token` after the other comes in."""

    title: str
    dataflow: Dataflow
    held: Occupancy
    token: str = "row"


@dataclass(frozen=True)
class Axes:
    """How far a picture goes, so that pictures of several runs can be laid side by side: up to so many bytes, and over
    so many images; as far as it has to where nothing is said."""

    limit: int | None = None
    images: int | None = None


def draw(model: str, panels: Sequence[Panel], axes: Axes | None = None, verdict: Iterable[str] = ()) -> Figure:
    """A panel per network, side by side on the same axes, with the lines of a verdict below them.

    Raises `UsageError` where matplotlib is missing or the `axes` are too short.
    """
    top = _top(panels, axes or Axes())
    titles = [textwrap.wrap(panel.title, _LETTERS) for panel in panels]
    above = _LINE * (max(map(len, titles)) + 3.6)
    said = [part for line in verdict for part in textwrap.wrap(printable(line), _LINE_LETTERS)]
    below = _BELOW + (_LINE * (len(said) + 0.5) if said else 0)
    figure = blank(10, below + _HIGH + above, layout=None)
    drawn, left = [], _LEFT
    for panel, title in zip(panels, titles, strict=True):
        axis = figure.add_axes((left / 10, below / figure.get_figheight(), _WIDE / 10, _HIGH / figure.get_figheight()))
        before = panels[0].held.peak if panel is not panels[0] else None
        beside = _panel(axis, panel, top, before)
        _head(axis, panel, title, before)
        drawn.append((axis, left))
        left += _WIDE + beside + _BETWEEN
    width = left - _BETWEEN + 0.3
    figure.set_figwidth(width)
    for axis, start in drawn:
        box = axis.get_position()
        axis.set_position((start / width, box.y0, _WIDE / width, box.height))
    unit, _ = _unit(top)
    drawn[0][0].set_ylabel(f"held at once ({unit})", color=_INK)
    _name(figure, model, panels)
    for row, words in enumerate(said):
        height = (len(said) - row - 0.6) * _LINE / figure.get_figheight()
        figure.text(_LEFT / width, height, words, fontsize=10, color=_INK, parse_math=False, gid="verdict")
    return figure


def _top(panels: Sequence[Panel], axes: Axes) -> float:
    """Bytes at the upper end."""
    peak = max(panel.held.peak for panel in panels)
    if axes.limit is not None and axes.limit < peak:
        raise UsageError(f"a picture up to {size(axes.limit)} ends below the {size(peak)} that are held")
    images = max(settled(panel.held.latency, panel.held.rows) for panel in panels)
    if axes.images is not None and axes.images < images:
        raise UsageError(f"a picture of {axes.images} images is too short: it takes {images} until all is full")
    return axes.limit or 1.04 * max(peak, 1)


def _panel(axis: MatplotlibAxes, panel: Panel, top: float, before: int | None) -> float:
    """The bands with their names; the inches that are taken beside it."""
    held = panel.held
    _, scale = _unit(top)
    layers = np.array([held.held[kind] for kind in COLOURS], dtype=np.float64) / scale
    edges = np.vstack([np.zeros(layers.shape[1]), np.cumsum(layers, axis=0)])
    ticks = layers.shape[1]
    axis.set_xlim(0, ticks)
    axis.set_ylim(0, top / scale)
    stride = -(-ticks // _COLUMNS)
    starts = np.arange(0, ticks, stride)
    # The tick of each column at which most is held, so that no peak is lost.
    shown = np.array([start + int(np.argmax(edges[-1, start : start + stride])) for start in starts])
    for number, kind in enumerate(COLOURS):
        low, high = edges[number, shown], edges[number + 1, shown]
        axis.fill_between([*starts, ticks], [*low, low[-1]], [*high, high[-1]], step="post", linewidth=0,
                          facecolor=COLOURS[kind], gid=f"band {kind}")  # fmt: skip
    out = min(held.latency, ticks)
    _line(axis, [out, out], [0, 1.04], axis.get_xaxis_transform(), (1, 2))
    across = None if before is None else before / scale
    beside: list[tuple[float, float, str]] = []
    for number, kind in enumerate(COLOURS):
        lower = np.maximum.reduceat(edges[number], starts)
        upper = np.minimum.reduceat(edges[number + 1], starts)
        if layers[number].any() and not _inside(axis, kind, lower, upper, stride, out, across):
            thick = layers[number]
            where = int(np.flatnonzero(thick >= thick.max() / 2)[-1])
            beside.append((float(edges[number, where] + thick[where] / 2), where + 0.5, KIND_NAMES[kind]))
    if across is not None:
        _line(axis, [0, 1], [across, across], axis.get_yaxis_transform(), (4, 3))
        beside.append((across, ticks, "before"))
    axis.set_xlabel(f"input {panel.token}s that have come, images of {held.rows:,} right behind each other", color=_INK)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.tick_params(colors=_INK)
    axis.grid(axis="y", color="#000000", alpha=0.08)
    axis.set_axisbelow(True)
    return _beside(axis, beside)


def _line(axis: MatplotlibAxes, x: Sequence[float], y: Sequence[float], where: Any, dashes: tuple[int, int]) -> None:
    """A dashed line that is seen on light and on dark."""
    for style in ({"color": "white", "alpha": 0.7}, {"color": _INK, "linestyle": (0, dashes)}):
        axis.plot(x, y, linewidth=1, clip_on=False, transform=where, **style)


def _inside(
    axis: MatplotlibAxes, kind: str, lower: Heights, upper: Heights, stride: int, out: float, across: float | None
) -> bool:
    """Write the name of a band into it, clear of the lines at `out` and `across`; False where there is no room."""
    lower = lower.copy()
    column = int(out // stride)
    lower[max(column - 1, 0) : column + 2] = np.inf
    parts = [(lower, upper)]
    if across is not None:
        parts = [(lower, np.minimum(upper, across)), (np.maximum(lower, across), upper)]
    for points in _SIZES:
        text = axis.text(0, 0, KIND_NAMES[kind], fontsize=points, ha="center", va="center", gid=f"name {kind}",
                         color="white" if kind in _ON_DARK else _INK)  # fmt: skip
        wide, high = _extent(axis, text)
        for part in parts:
            found = spot(*part, int(1.06 * wide / stride) + 2, 1.1 * high)
            if found is not None:
                text.set_position((found[0] * stride, found[1]))
                return True
        text.remove()
    return False


def _beside(axis: MatplotlibAxes, notes: Sequence[tuple[float, float, str]]) -> float:
    """Write texts to the right of a panel, each with a line to its height and place; the inches that they take."""
    listed = sorted(notes, key=lambda note: note[0])
    room = 0.0
    for place, (height, where, words) in zip(
        spread([height for height, _, _ in listed], 0.062 * axis.get_ylim()[1], axis.get_ylim()[1]), listed, strict=True
    ):
        text = axis.annotate(
            words, (where, height), xytext=(1.05, place), textcoords=axis.get_yaxis_transform(), va="center",
            annotation_clip=False, fontsize=9, color=_INK, gid="beside",
            arrowprops={"arrowstyle": "-", "color": _INK, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0,
                        "relpos": (0, 0.5)},
        )  # fmt: skip
        wide, _ = _extent(axis, text)
        room = max(room, _WIDE * (0.05 + wide / axis.get_xlim()[1]))
    return room


def _head(axis: MatplotlibAxes, panel: Panel, title: Sequence[str], before: int | None) -> None:
    """The title of a panel, how much is held, and when the first image is out."""
    held = panel.held
    change = ""
    if before:
        saved = 100 * (1 - held.peak / before)
        change = f", {abs(saved):.1f} % {'less' if saved > 0 else 'more'}" if saved else ", as before"
    lines: tuple[tuple[float, str, dict[str, Any]], ...] = (
        (2.1, "\n".join(title), {"fontsize": 12, "fontweight": "bold"}),
        (1.2, f"{size(held.peak)} at most{change}", {"fontsize": 11}),
    )
    for row, words, style in lines:
        axis.text(0, 1 + row * _LINE / _HIGH, words, transform=axis.transAxes, va="bottom", color=_INK,
                  parse_math=False, gid="head", **style)  # fmt: skip
    ticks = axis.get_xlim()[1]
    out = min(held.latency, ticks)
    late = out > ticks / 2
    axis.text(out, 1 + 0.2 * _LINE / _HIGH, f" first image out after {held.latency:,.0f} {panel.token}s ",
              fontsize=9, transform=axis.get_xaxis_transform(), ha="right" if late else "left", va="bottom", color=_INK,
              gid="head")  # fmt: skip


def _name(figure: Figure, model: str, panels: Sequence[Panel]) -> None:
    """What is drawn: the model, the figure whose pace it has, and the bits of an element."""
    machine = panels[0].dataflow.machine
    types = {buffer.dtype for panel in panels for buffer in panel.dataflow.buffers}
    bits = {machine.bits or bits_of(TensorProto.DataType.Value(name.upper())) for name in types}
    words = f"no stall, {' or '.join(map(str, sorted(bits)))} bits an element"
    width, height = figure.get_size_inches()
    name = printable(model)
    text = figure.text(_LEFT / width, 1 - 0.12 / height, f"{name}: {words}", va="top", fontsize=11, color=_INK,
                       parse_math=False, gid="head")  # fmt: skip
    for letters in range(min(len(name), _LONGEST), 0, -1):
        if text.get_window_extent().x1 <= figure.bbox.x1:
            break
        text.set_text(f"{name[:letters]}…: {words}")


def _extent(axis: MatplotlibAxes, text: Any) -> tuple[float, float]:
    """Width and height of a text, as the axes count."""
    from matplotlib.text import Text

    box = Text.get_window_extent(text)
    (left, low), (right, high) = axis.transData.inverted().transform([(box.x0, box.y0), (box.x1, box.y1)])
    return float(right - left), float(high - low)


def _unit(most: float) -> tuple[str, float]:
    for unit, scale in (("MiB", 2.0**20), ("KiB", 2.0**10)):
        if most >= scale:
            return unit, scale
    return "B", 1.0
