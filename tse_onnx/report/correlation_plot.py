"""A picture of how well tiles stand for whole maps, in the colours of the paper's Figure 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tse_onnx.passes.reasons import printable
from tse_onnx.report.picture import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tse_onnx.evaluation.correlation import BlockCorrelation, Correlations, TileCorrelation

_SERIES = (("squeeze", "means", "#6a4c93", -0.2), ("excite", "gates", "#3f8f4f", 0.2))
_INK, _GREY = "#30343b", "#8a8f99"
_DOTS: dict[str, Any] = {"s": 22, "linewidths": 0.9, "zorder": 3}
_WIDE = 8  # inches that the legend takes in one line
_NAME = 26  # letters of a block's name that fit below it


def draw_correlations(found: Correlations) -> Figure:
    """The correlations of every block and tile.

    Raises `UsageError` where matplotlib is missing, or there is nothing to draw.
    """
    figure = blank(max(6.4, 2 + 0.95 * len(found.blocks)), 4.9)
    axis = figure.subplots()
    for name, label, colour, shift in _SERIES:
        _series(axis, found, name, label, colour, shift)
    axis.set_xticks(range(len(found.blocks)))
    axis.set_xticklabels(
        [_label(block) for block in found.blocks],
        rotation=40, ha="right", rotation_mode="anchor", fontsize=8, parse_math=False,
    )  # fmt: skip
    axis.set_xlim(-0.6, len(found.blocks) - 0.4)
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]), top=1.02)
    axis.set_ylabel("correlation with the whole map", color=_INK)
    axis.set_title(f"Tiles against whole maps, {found.data}", fontsize=12, fontweight="bold", color=_INK, loc="left",
                   parse_math=False)  # fmt: skip
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.tick_params(colors=_INK)
    axis.grid(axis="y", color="#000000", alpha=0.08)
    axis.set_axisbelow(True)
    for label, face in (("a tile of the middle half", _GREY), ("a tile towards the edge", "white")):
        axis.scatter([], [], facecolors=face, edgecolors=_GREY, label=label, **_DOTS)
    columns = 4 if figure.get_figwidth() > _WIDE else 2
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    return figure


def _series(axis: Any, found: Correlations, name: str, label: str, colour: str, shift: float) -> None:
    """A bar for all tiles of a block together, and a dot for each: those of the middle half full, the others empty."""
    inner: list[tuple[float, float]] = []
    outer: list[tuple[float, float]] = []
    bars: list[tuple[float, float]] = []
    for number, block in enumerate(found.blocks):
        for place, tile in enumerate(block.tiles):
            value = getattr(tile, name)
            if value is not None:
                spread = 0.24 * ((place + 0.5) / len(block.tiles) - 0.5)
                (inner if _in_the_middle(place, block.tiles) else outer).append((number + shift + spread, value))
        if getattr(block, name) is not None:
            bars.append((number + shift, getattr(block, name)))
    axis.scatter(*_columns(outer), facecolors="white", edgecolors=colour, **_DOTS)
    axis.scatter(*_columns(inner), facecolors=colour, edgecolors=colour, **_DOTS)
    middle, heights = _columns(bars)
    left, right = [x - 0.16 for x in middle], [x + 0.16 for x in middle]
    axis.hlines(heights, left, right, colors=colour, linewidth=2.2, zorder=4, label=f"{label}: all tiles")


def _in_the_middle(place: int, tiles: Sequence[TileCorrelation]) -> bool:
    """Whether a tile is one of the half nearest to the middle."""
    return abs((place + 0.5) / len(tiles) - 0.5) <= 0.25


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _label(block: BlockCorrelation) -> str:
    name = printable(block.block)
    short = name if len(name) <= _NAME else "…" + name[1 - _NAME :]
    return f"{short}\n{' × '.join(map(str, block.extents))}, {len(block.tiles)} tiles"
