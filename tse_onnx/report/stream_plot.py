"""The occupancy picture: what is held while images stream in, before beside after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tse_onnx.report.picture import blank, save
from tse_onnx.report.stream import size
from tse_onnx.streaming.depths.result import GATE, LINE, SKIP, STREAM

if TYPE_CHECKING:
    from tse_onnx.streaming.depths.occupancy import Occupancy

# From the bottom of the stack: what no conversion changes first, so that what does change lies on top.
_LAYERS = (
    (STREAM, "rows on their way to the next layer", "#c9ced6"),
    (LINE, "line buffers of convolutions", "#8fa3bf"),
    (SKIP, "skip connections, waiting for their branch", "#e0a458"),
    (GATE, "maps waiting for their squeeze-and-excite gate", "#c8553d"),
)
_INK = "#30343b"


def draw(path: Path, panels: Sequence[tuple[str, Occupancy]]) -> None:
    """Draw a panel per network, side by side on one scale, into an .svg or .png file.

    Raises `UsageError` where matplotlib is missing or the suffix is another.
    """
    figure = blank(path, 5.6 * len(panels) + 0.6, 4.9)
    unit, scale = _unit(max(found.peak for _, found in panels))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for number, (axis, (title, found)) in enumerate(zip(axes, panels, strict=True)):
        _panel(axis, title, found, scale)
        axis.set_ylabel(f"held at once ({unit})" if number == 0 else "")
    axes[0].set_ylim(0, 1.12 * max(found.peak for _, found in panels) / scale)
    if len(panels) == 2:
        _compare(axes[1], panels[0][1], panels[1][1], scale)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save(figure, path)


def _panel(axis: Any, title: str, found: Occupancy, scale: float) -> None:
    layers = [[value / scale for value in found.held[kind]] for kind, _, _ in _LAYERS]
    ticks = len(layers[0])
    axis.stackplot(
        range(ticks + 1), [[*layer, layer[-1]] for layer in layers], labels=[name for _, name, _ in _LAYERS],
        colors=[colour for _, _, colour in _LAYERS], step="post", linewidth=0,
    )  # fmt: skip
    axis.set_title(title, fontsize=12, fontweight="bold", color=_INK, loc="left")
    axis.set_xlabel(f"input rows that have come (an image of {found.rows} rows right behind the other)")
    axis.set_xlim(0, ticks)
    totals = [sum(each) for each in zip(*layers, strict=True)]
    peak, where = max(totals), min(found.latency, ticks)
    axis.annotate(
        f"{size(peak * scale)} held", (ticks, peak), xytext=(-4, 5), textcoords="offset points", ha="right",
        fontsize=11, fontweight="bold", color=_INK, zorder=6,
        bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85},
    )  # fmt: skip
    axis.axvline(where, color=_INK, linewidth=1, linestyle=(0, (1, 2)))
    early = where < ticks * 0.6
    axis.annotate(
        f"the first image has left\nafter {found.latency:,.0f} rows", (where, 0.03),
        xycoords=("data", "axes fraction"), xytext=(5 if early else -5, 0), textcoords="offset points",
        ha="left" if early else "right", fontsize=9, color=_INK,
        bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85},
    )  # fmt: skip
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.tick_params(colors=_INK, labelleft=True)
    axis.grid(axis="y", color="#000000", alpha=0.08)
    axis.set_axisbelow(True)


def _compare(axis: Any, before: Occupancy, after: Occupancy, scale: float) -> None:
    was = before.peak / scale
    axis.axhline(was, color=_INK, linestyle=(0, (4, 3)), linewidth=1)
    saved = 100 * (1 - after.peak / before.peak) if before.peak else 0
    axis.annotate(
        f"held before; now {saved:.0f} % less",
        (0, was), xytext=(4, 5), textcoords="offset points", fontsize=10, color=_INK,
    )  # fmt: skip


def _unit(peak: float) -> tuple[str, float]:
    for unit, scale in (("MiB", 2.0**20), ("KiB", 2.0**10)):
        if peak >= scale:
            return unit, scale
    return "B", 1.0
