"""The picture of a tuning: what is lost for how much buffer, and what each block bears."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.frozen import FROZEN
from tse_onnx.passes.blocks.previous import PREVIOUS
from tse_onnx.passes.blocks.recompute import RECOMPUTE
from tse_onnx.passes.blocks.tiling import CALIBRATED, RUNNING, TILE, Tiling
from tse_onnx.passes.reasons import printable
from tse_onnx.report.picture import blank
from tse_onnx.report.size import size
from tse_onnx.report.verdict import verdict_lines
from tse_onnx.tuning.result import BlockSensitivity, Point, TuneResult, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK, _MEASURED, _PREDICTED, _CHOSEN = "#30343b", "#c8553d", "#8fa3bf", "#2a6f5e"
_KINDS = (
    (CALIBRATED, "#2a6f5e", "o"),
    (RUNNING, "#e0a458", "s"),
    (TILE, "#8fa3bf", "^"),
    (RECOMPUTE, "#7a5ba6", "P"),
    (FROZEN, "#c8553d", "D"),
    (PREVIOUS, "#3f7cac", "v"),
)
_OTHERS = ("x", "+")  # for the uniform choices that the plan is compared with
_ROOM = 100  # times the largest loss: the legend is above the points
# Losses below this are drawn on the axis: single precision knows none.
_FLOOR = 1e-6
_NAME = 22  # letters of a block's name for which there is room


def draw_tuning(found: TuneResult) -> Figure:
    """The Pareto curve beside what each block bears. Raises `UsageError` where matplotlib is missing."""
    blocks = found.sensitivity.blocks
    columns = min(4, len(blocks))
    rows = -(-len(blocks) // columns)
    figure = blank(12.5, max(4.6, 1.9 * rows + 1.0))
    parts: Any = figure.subfigures(1, 2, width_ratios=(1, 1.35), wspace=0.04)
    _curve(parts[0].subplots(), found)
    axes = parts[1].subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    handles: dict[str, Any] = {}
    for number, axis in enumerate(axes.flat):
        if number < len(blocks):
            _block(axis, blocks[number], found)
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        else:
            axis.set_visible(False)
    worst = max(one.loss for entry in blocks for one in entry.candidates if math.isfinite(one.loss))
    axes[0][0].set_ylim(_FLOOR / 2, max(worst, 10 * _FLOOR) * 2)
    axes[0][0].set_xlim(-0.06, 1.06)
    parts[1].supxlabel("part of the block's buffer that is left", fontsize=10, color=_INK)
    parts[1].supylabel(f"{found.sensitivity.loss} of the block alone", fontsize=10, color=_INK)
    parts[1].legend(handles.values(), handles, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    return figure


def _curve(axis: Any, found: TuneResult) -> None:
    before, name = found.sensitivity.before, found.sensitivity.loss
    points = [point for point in found.pareto if point.measured is None or math.isfinite(point.measured)]
    saved = [100 * (1 - share(point.bytes, before)) for point in points]
    if found.sensitivity.cycles is None:
        axis.plot(
            saved,
            [point.predicted for point in points],
            "--",
            color=_PREDICTED,
            linewidth=1.5,
            label="sum of the blocks alone",
        )
        axis.plot(
            saved, [_measured(point) for point in points], "o-", color=_MEASURED, linewidth=2, label="measured together"
        )
    else:
        # Three figures: no line joins what differs in two of them.
        more = [100 * share(point.cycles_added or 0, found.sensitivity.cycles) for point in points]
        losses = [_measured(point) for point in points]
        drawn = axis.scatter(saved, losses, c=more, cmap="viridis", s=34, label="nothing better in all three")
        bar = axis.figure.colorbar(drawn, ax=axis, orientation="horizontal", pad=0.12, shrink=0.8)
        of = "" if found.sensitivity.array is None else f" on {printable(found.sensitivity.array.name)}"
        bar.set_label(f"cycles added{of} (%)", fontsize=9)
    chosen = found.chosen
    where = 100 * (1 - share(chosen.bytes, before)), _measured(chosen)
    # All text is in the legend: beside points that lie as close as these it would lie upon itself.
    macs = f"{100 * share(chosen.macs_added, found.sensitivity.macs):+.0f} % MACs"
    label = f"the plan: {size(chosen.bytes)} of {size(before)}, {name} {where[1]:.3g}, {macs}"
    axis.plot(*where, "*", markersize=16, color=_CHOSEN, label=label, linestyle="", zorder=5)
    others = [one for one in found.judged if one.title != "chosen" and one.point.measured is not None]
    for verdict, marker in zip(others, _OTHERS, strict=False):
        spot = 100 * (1 - share(verdict.point.bytes, before)), verdict.point.measured
        axis.plot(*spot, marker, markersize=8, markeredgewidth=2, color=_INK, label=verdict.title, linestyle="")
    *_, judged = verdict_lines(found.verdict)
    axis.set_xlabel("\n".join(["buffer saved (%)", *wrap(f"Held out: {judged}", 70)]), fontsize=10, color=_INK,
                    parse_math=False)  # fmt: skip
    axis.set_ylabel(f"{name}, mean of the samples to choose by", fontsize=10, color=_INK)
    title = f"{printable(Path(found.sensitivity.model).stem)}: what a smaller buffer costs"
    axis.set_title(title, fontsize=12, fontweight="bold", color=_INK, loc="left", parse_math=False)
    # Losses of small savings differ as much as those of large ones: by decades, down to nothing at all.
    least = min((loss for loss in map(_measured, points) if loss > _FLOOR), default=_FLOOR)
    axis.set_yscale("symlog", linthresh=least)
    axis.set_ylim(0, axis.get_ylim()[1] * _ROOM)
    axis.legend(loc="upper left", frameon=False, fontsize=9)
    _plain(axis)


def _block(axis: Any, entry: BlockSensitivity, found: TuneResult) -> None:
    most = max(entry.candidates[0].bytes - min(one.bytes for one in entry.candidates), 1)
    whole = max(most, _whole(entry, found))
    for label, colour, marker in _KINDS:
        chosen = [one for one in entry.candidates if _kind(one.choice) == label]
        if not chosen:
            continue
        left = [1 - one.saved / whole for one in chosen]
        losses, line = [max(one.loss, _FLOOR) for one in chosen], "" if label in (FROZEN, PREVIOUS, RECOMPUTE) else "-"
        axis.plot(left, losses, line, marker=marker, color=colour, label=label, markersize=4, linewidth=1.2)
    mine = next(one for one in entry.candidates if one.choice == found.chosen.of(entry.block.name))
    axis.plot(1 - mine.saved / whole, max(mine.loss, _FLOOR), "o", markersize=11, markerfacecolor="none",
              markeredgecolor=_INK, markeredgewidth=1.6, linestyle="", label="the plan")  # fmt: skip
    axis.set_yscale("log")
    sizes = " × ".join(str(number) for number in (entry.block.channels, *entry.block.extents))
    name = printable(entry.block.name)
    short = name if len(name) <= _NAME else "…" + name[1 - _NAME :]
    axis.set_title(f"{short}\n{sizes}", fontsize=8, color=_INK, loc="left", parse_math=False)
    _plain(axis)


def _whole(entry: BlockSensitivity, found: TuneResult) -> int:
    """The bytes that the block's own map takes, where that is what is counted."""
    if found.sensitivity.figure != "gate":
        return 0
    rows = [one for one in entry.candidates if isinstance(one.choice, Tiling) and one.choice.rows]
    if not rows or not entry.block.extents or not entry.block.extents[0]:
        return 0
    one, height = rows[0], entry.block.extents[0]
    assert isinstance(one.choice, Tiling)
    return one.saved * height // max(height - (one.choice.rows or 0), 1)


def _kind(choice: Choice | None) -> str:
    return "" if choice is None else choice.kind


def _measured(point: Point) -> float:
    return point.predicted if point.measured is None else point.measured


def _plain(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.tick_params(colors=_INK, labelsize=8)
    axis.grid(axis="y", color="#000000", alpha=0.08)
    axis.set_axisbelow(True)
