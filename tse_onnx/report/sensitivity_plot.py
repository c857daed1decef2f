"""The picture of what blocks bear: a field for each choice of each block, the darker the more it loses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.reasons import printable
from tse_onnx.report.number import number
from tse_onnx.report.picture import blank
from tse_onnx.tuning.result import Sensitivity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#24282f"
_NAME = 34  # letters of a block's name
_MOST = 120  # fields with their number in them


def draw_sensitivity(found: Sensitivity) -> Figure:
    """Draw a row for each block and a column for each choice that is offered. A choice that a block does not have is
    left blank, one without a loss is white.

    Raises `UsageError` where matplotlib is missing, or nothing was offered.
    """
    choices = _columns(found)
    if not choices:
        raise UsageError("there is nothing to draw: no choice is offered for any block")
    losses = np.full((len(found.blocks), len(choices)), np.nan)
    for row, entry in enumerate(found.blocks):
        for one in entry.candidates:
            if one.choice is not None:
                losses[row, choices.index(_name(one.choice))] = one.loss
    wide, high = 3.4 + 0.62 * len(choices), 1.9 + 0.34 * len(found.blocks)
    figure = blank(max(7.0, wide), max(3.2, high))
    axis = figure.subplots()
    _fields(axis, losses)
    axis.set_xticks(range(len(choices)), choices, rotation=40, ha="left", fontsize=8)
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(found.blocks)), [_short(entry.block.name) for entry in found.blocks], fontsize=8)
    axis.set_title(
        f"{printable(found.model)}: {found.loss} of each choice for one block alone ({printable(found.samples)})",
        fontsize=10, color=_INK, loc="left", pad=14,
    )  # fmt: skip
    return figure


def _columns(found: Sensitivity) -> list[str]:
    """The choices that blocks have, each once, kind by kind and from few rows to many; what is recomputed from differs
    by block, and is one column."""
    choices = [one.choice for entry in found.blocks for one in entry.candidates if one.choice is not None]
    kinds = list(dict.fromkeys(choice.kind for choice in choices))
    choices.sort(key=lambda choice: (kinds.index(choice.kind), *_size(choice)))
    return list(dict.fromkeys(map(_name, choices)))


def _name(choice: Choice) -> str:
    rows, step = _size(choice)
    return f"{choice.kind} {rows}{f', step {step}' if step > 1 else ''}" if rows else choice.kind


def _size(choice: Choice) -> tuple[int, int]:
    """The rows of a tile and the step of a running squeeze; 0 of what has none."""
    return (choice.rows or 0, choice.step) if isinstance(choice, Tiling) else (0, 0)


def _fields(axis: Any, losses: np.ndarray) -> None:
    from matplotlib.colors import LogNorm

    there = losses[np.isfinite(losses) & (losses > 0)]
    low, high = (float(there.min()), float(there.max())) if there.size else (1e-6, 1.0)
    norm = LogNorm(max(low, high * 1e-6), max(high, low * 10))
    shown = np.where(losses > 0, np.minimum(losses, norm.vmax or high), np.nan)
    drawn = axis.imshow(shown, norm=norm, cmap="YlOrRd", aspect="auto")
    for row, column in zip(*np.nonzero(~np.isnan(losses)), strict=True) if losses.size <= _MOST else ():
        loss = float(losses[row, column])
        said = number(loss) if math.isfinite(loss) else "∞"
        dark = loss > 0 and float(norm(min(loss, norm.vmax or loss))) > 0.6
        axis.text(column, row, said, ha="center", va="center", fontsize=7, color="white" if dark else _INK)
    bar = axis.figure.colorbar(drawn, ax=axis, fraction=0.03, pad=0.02)
    bar.ax.tick_params(labelsize=8)
    axis.set_xticks(np.arange(-0.5, losses.shape[1]), minor=True)
    axis.set_yticks(np.arange(-0.5, losses.shape[0]), minor=True)
    axis.grid(which="minor", color="white", linewidth=1.5)
    axis.tick_params(which="both", length=0)
    for side in axis.spines.values():
        side.set_visible(False)


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= _NAME else f"…{shown[1 - _NAME :]}"
