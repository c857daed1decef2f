"""The picture of a profile: the cycles of each layer, and how well the array is used, after Figure 6 of the SqueezeNext
paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tse_onnx.costs.array import DATAFLOWS, OS, WS
from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import printable
from tse_onnx.report.picture import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tse_onnx.costs.cycles import Costed

_COLOURS = {WS: "#31588c", OS: "#c98233"}
_INK = "#24282f"
_MOST_NAMES = 45
_LONGEST = 24


def draw(found: Sequence[Costed]) -> Figure:
    """A panel for each network, one below the other, on the same axes. Raises `UsageError` where matplotlib is missing
    or nothing multiplies."""
    figure = blank(11, 3.4 * len(found) + 0.6)
    panels = figure.subplots(len(found), 1, squeeze=False)[:, 0]
    top = 0.0
    for each, axis in zip(found, panels, strict=True):
        cost = each.cost
        assert cost is not None
        if not cost.layers:
            raise UsageError("there is nothing to draw: no layer multiplies")
        by_node = {name: on for on in cost.layers.values() for name in on.layer.nodes}
        names = [name for name in each.profile.order if name in by_node]
        layers = [by_node[name] for name in names]
        cycles = [on.cycles / on.layer.repeat for on in layers]
        top = max(top, *cycles)
        for dataflow, colour in _COLOURS.items():
            bars = [size if on.dataflow == dataflow else 0 for on, size in zip(layers, cycles, strict=True)]
            if any(bars):
                axis.bar(range(len(bars)), bars, width=0.85, color=colour, label=DATAFLOWS[dataflow])
        bound = [at for at, on in enumerate(layers) if on.memory_bound]
        if bound:
            axis.plot(bound, [cycles[at] for at in bound], "v", color="#7d2218", markersize=4, label="waits for memory")
        beside = axis.twinx()
        beside.plot(range(len(layers)), [on.utilisation for on in layers], ".:", color=_INK, label="utilisation")
        beside.set_ylim(0, max(1.0, *(on.utilisation for on in layers)) * 1.05)
        beside.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        beside.set_ylabel("MACs / (cycles × elements)")
        # The legend lies between the title and the panel.
        axis.set_title(
            f"{printable(each.profile.model)} on {printable(cost.array.name)}: {cost.cycles:,} cycles, utilisation "
            f"{100 * cost.utilisation:.0f} %", loc="left", fontsize=10, pad=20,
        )  # fmt: skip
        axis.set_ylabel("cycles")
        axis.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
        ticks = range(0, len(names), -(-len(names) // _MOST_NAMES))
        axis.set_xticks(ticks, [_short(names[at]) for at in ticks], rotation=90, fontsize=7)
        axis.set_xlim(-1, len(names))
        handles = [*axis.get_legend_handles_labels()[0], *beside.get_legend_handles_labels()[0]]
        axis.legend(
            handles=handles, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, borderpad=0.2
        )
    for axis in panels:
        axis.set_ylim(0, top * 1.05)
    return figure


def _short(name: str) -> str:
    shown = printable(name).replace("$", r"\$")
    return shown if len(shown) <= _LONGEST else f"…{shown[1 - _LONGEST :]}"
