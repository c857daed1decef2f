"""The picture of what layers and blocks lose: a bar for each, the worst on top."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tse_onnx.layerwise.result import Level, Noise
from tse_onnx.passes.reasons import printable
from tse_onnx.report.picture import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#24282f"
_BAR, _WEIGHTS, _ACTIVATIONS, _TILES = "#9db4c8", "#c2571a", "#1f5f99", "#5b8c3a"
_MOST = 30
_LEAST = 1e-8  # of the joint noise: what is less, as rounding in float, would press all else together
_NAME = 38


def draw_noise(found: Noise) -> Figure:
    """Draw the noise of each layer alone as a part of that of the whole quantised network, and below it the noise of
    each block that is tiled, on one scale of decades. Those that lose most, thirty at the most; what loses less than a
    hundred-millionth of the joint noise has no mark.

    Raises `UsageError` where matplotlib is missing.
    """
    layers = found.layers[:_MOST]
    blocks = [one for one in found.blocks if one.tiles is not None][:_MOST]
    panels = [len(layers), len(blocks)] if blocks else [len(layers)]
    figure = blank(9.2, max(3.0, 1.1 * len(panels) + 0.27 * sum(panels)))
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=[1.5 + rows for rows in panels])[
        :, 0
    ]
    levels = [level for one in layers for level in (one.quantised, one.weights, one.activations)]
    levels += [level for one in blocks for level in (one.tiles, one.quantised, one.both)]
    shares = [share for level in levels if (share := _share(found, level)) > 0]
    least = max(min(shares, default=1e-6) / 2, _LEAST)
    axes[0].set_xscale("log")
    axes[0].set_xlim(least, 1.6 * max([*shares, 1.0]))
    _panel(
        axes[0], found, [one.node for one in layers],
        [("in eight bits", [one.quantised for one in layers], _BAR, "bar"),
         ("its weights alone", [one.weights for one in layers], _WEIGHTS, "^"),
         ("its activations alone", [one.activations for one in layers], _ACTIVATIONS, "o")],
        f"{printable(found.model)}: layers, each alone",
    )  # fmt: skip
    if blocks:
        _panel(
            axes[1], found, [one.block for one in blocks],
            [("tiled", [one.tiles for one in blocks], _TILES, "bar"),
             ("its excite in eight bits", [one.quantised for one in blocks], _ACTIVATIONS, "o"),
             ("both", [one.both for one in blocks], _INK, "D")],
            "Blocks, each alone",
        )  # fmt: skip
    said = "noise at the outputs, as a part of that of the whole network in eight bits (dotted)"
    axes[-1].set_xlabel(said, fontsize=8)
    return figure


def _panel(
    axis: Any,
    found: Noise,
    names: Sequence[str],
    series: Sequence[tuple[str, Sequence[Level | None], str, str]],
    title: str,
) -> None:
    places = range(len(names))
    shares = [[_share(found, level) for level in levels] for _, levels, _, _ in series]
    least = axis.get_xlim()[0]
    for (label, _, colour, mark), each in zip(series, shares, strict=True):
        if mark == "bar":
            axis.barh(places, [max(share - least, 0) for share in each], left=least, color=colour, label=label)
        else:
            spots = [(share, place) for share, place in zip(each, places, strict=True) if share >= least]
            axis.scatter(
                [share for share, _ in spots], [place for _, place in spots], s=26, marker=mark, color=colour,
                label=label, zorder=3, linewidths=1.4,
            )  # fmt: skip
    axis.axvline(1.0, color=_INK, linewidth=0.8, linestyle=":")
    axis.set_yticks(places, [_short(name) for name in names], fontsize=8)
    axis.margins(y=0.02)
    axis.invert_yaxis()
    axis.tick_params(axis="x", labelsize=8)
    axis.set_title(title, fontsize=10, color=_INK, loc="left", pad=22)
    axis.legend(
        fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.2,
        handletextpad=0.4, columnspacing=1.2,
    )  # fmt: skip
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _share(found: Noise, level: Level | None) -> float:
    """A level as a part of the joint noise; 0 where there is none."""
    share = None if level is None else found.share(level)
    return share if share is not None and math.isfinite(share) else 0.0


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= _NAME else f"…{shown[1 - _NAME :]}"
