"""What layers and blocks lose, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.conversion.verdict import telling
from tse_onnx.layerwise.result import Joint, LayerNoise, Level, Noise
from tse_onnx.passes.reasons import printable
from tse_onnx.report.number import decibels, number, percent
from tse_onnx.report.page import Table, say
from tse_onnx.report.tune import scored
from tse_onnx.report.verdict import distance
from tse_onnx.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tse_onnx.report.page import Page


@dataclass(frozen=True)
class NoiseView(View):
    """What each layer and each block loses; people see the `top` layers that lose most, 0 for all."""

    found: Noise
    top: int = 0

    def json(self) -> dict[str, Any]:
        from tse_onnx.layerwise.schema import noise_json

        return noise_json(self.found)

    def csv(self) -> str:
        from tse_onnx.layerwise.schema import noise_csv

        return noise_csv(self.found)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["layers"]
        return rows

    def figure(self) -> Figure:
        from tse_onnx.report.noise_plot import draw_noise

        return draw_noise(self.found)

    def brief(self, page: Page) -> None:
        for line in _verdict(self.found):
            say(page, line)

    def print(self, page: Page) -> None:
        found = self.found
        self.brief(page)
        say(page, "")
        say(page, f"Quantised: {printable(found.quantised_by)}. All together, told from the float network:")
        page.print(_joint_table(found))
        say(page, "")
        say(page, _layers_said(found))
        page.print(_layers_table(found, self.top))
        if self.top and len(found.layers) > self.top:
            say(page, f"{len(found.layers) - self.top} layers that lose less are not shown.")
        if found.blocks:
            say(page, "")
            say(page, "Each block alone: its tiles, the layers between its squeeze and its gate in eight bits, both.")
            page.print(_blocks_table(found))


def _verdict(found: Noise) -> Iterator[str]:
    whole = found.both or found.joint
    yield f"{'Tiled and quantised' if found.both else 'Quantised'}: {_told(whole)} ({printable(found.data)})."
    if found.tiles is not None and found.both is not None:
        yield f"Tiles alone: {_told(found.tiles)}. Eight bits alone: {_told(found.joint)}."
    elif found.tiles is not None:
        yield f"Tiles alone: {_told(found.tiles)}. Both meet in one node: quantise the tiled model to see their loss."
    worst = found.layers[0]
    line = f"Worst layer: {printable(worst.node)}, SQNR {decibels(worst.quantised.sqnr_db)} where it alone is quantised"
    if (share := found.share(worst.quantised)) is not None and (total := found.sum_to_joint) is not None:
        line += f", {percent(share)} of the joint noise; all layers alone add up to {percent(total)} of it"
    yield f"{line}."


def _told(joint: Joint) -> str:
    score = telling(joint.scores)
    return f"SQNR {decibels(joint.level.sqnr_db)}" if score is None else distance(score)


def _joint_table(found: Noise) -> Table:
    several = len(found.outputs) > 1
    named = (
        ("all layers in eight bits", found.joint),
        ("their weights alone", found.weights),
        ("their activations alone", found.activations),
        ("all blocks tiled", found.tiles),
        ("tiled, in eight bits", found.both),
    )
    rows: list[tuple[Sequence[str], str]] = []
    labelled = any(score.accuracy is not None for score in found.joint.scores)
    for title, joint in named:
        for score in () if joint is None else joint.scores:
            output = (printable(score.output),) if several else ()
            top1 = "" if score.accuracy is None else percent(score.accuracy.top1)
            rows.append(((title, *output, *scored(score), *((top1,) if labelled else ())), ""))
    headings = ("", *(("output",) if several else ()), "agreement", "KL", "SQNR", *(("top-1",) if labelled else ()))
    return Table(headings, rows, right=tuple(range(1 + several, len(headings))))


def _layers_said(found: Noise) -> str:
    over = f", the mean of {len(found.outputs)} outputs" if len(found.outputs) > 1 else ""
    return (
        f"Each layer alone in eight bits: the SQNR at the end{over}, its share of the joint noise, the SQNR by its "
        "weights and by its activations alone, and that of what it makes, on the spot:"
    )


def _layers_table(found: Noise, top: int) -> Table:
    several, kinds = len(found.outputs) > 1, len({one.operator for one in found.layers}) > 1
    rows: list[tuple[Sequence[str], str]] = []
    for one in found.layers[: top or None]:
        kind, most = (one.operator,) if kinds else (), (_most(found, one),) if several else ()
        cells = (_sqnr(one.quantised), _share(found, one.quantised), _sqnr(one.weights), _sqnr(one.activations))
        rows.append(((printable(one.node), *kind, *cells, decibels(one.quantised.local_sqnr_db), *most), ""))
    headings = ("layer", *(("operator",) if kinds else ()), "SQNR", "share", "weights", "activations", "on the spot")
    return Table((*headings, *(("most at",) if several else ())), rows, right=tuple(range(1 + kinds, 6 + kinds)))


def _blocks_table(found: Noise) -> Table:
    rows: list[tuple[Sequence[str], str]] = []
    for one in found.blocks:
        levels = (_sqnr(one.tiles), _sqnr(one.quantised), _sqnr(one.both))
        rows.append(((printable(one.block), one.tiling or "whole map", *levels), ""))
    return Table(("block", "squeeze", "tiles", "eight bits", "both"), rows, right=(2, 3, 4))


def _sqnr(level: Level | None) -> str:
    return "" if level is None else decibels(level.sqnr_db)


def _share(found: Noise, level: Level) -> str:
    share = found.share(level)
    return "" if share is None else percent(share) if share >= 0.0005 or not share else f"{number(100 * share)} %"


def _most(found: Noise, one: LayerNoise) -> str:
    """The output that loses most by a layer."""
    place = max(range(len(found.outputs)), key=lambda output: one.quantised.outputs[output])
    return printable(found.outputs[place])
