"""What changed between two reports, as tables: for a terminal, or for a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.difference.told import BYTES, COUNT, DECIBELS, PART
from tse_onnx.passes.reasons import printable
from tse_onnx.report.page import Table, say
from tse_onnx.report.size import size
from tse_onnx.report.view import View

if TYPE_CHECKING:
    from tse_onnx.difference.diff import BlockChange, Diff, FigureChange
    from tse_onnx.difference.told import Told, ToldBlock
    from tse_onnx.report.page import Page

_WORDS = {
    "scales_before": "scales of the blocks, before",
    "scales": "scales of the blocks",
    "network_before": "whole network, before",
    "network": "whole network",
    "converted": "blocks converted",
    "macs_added": "MACs added",
    "agreement": "agreement",
    "kl": "KL",
    "sqnr_db": "SQNR",
    "asap": "as soon as it can be",
    "no_stall": "without a stall",
    "gate_min": "held for a gate",
    "skip_min": "skip connections",
    "line_min": "line buffers",
    "stream_min": "rows on their way",
    "accumulators": "accumulators",
    "weights": "weights",
}
_TENSORS = 12
_NONE = "–"


@dataclass(frozen=True)
class DiffView(View):
    """What changed from one report to another."""

    found: Diff

    def json(self) -> dict[str, Any]:
        from tse_onnx.difference.schema import diff_json

        return diff_json(self.found)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["blocks"]
        return rows

    def print(self, page: Page) -> None:
        found = self.found
        for side, report in (("A", found.a), ("B", found.b)):
            say(page, f"{side}: {_title(report)}")
        for note in found.notes:
            say(page, f"Note: {note}.")
        shown = [figure for figure in found.verdict if figure.changed or not figure.name.endswith("_before")]
        _print_figures(page, "verdict", shown)
        if found.blocks:
            headings = ("block", "A", "B", "buffer A", "B", "change")
            page.print(Table(headings, [(_row(block), "") for block in found.blocks], right=(3, 4, 5)))
        _print_figures(page, "whole network", found.network)
        _print_figures(page, "tensor", found.tensors[:_TENSORS])
        if (rest := len(found.tensors) - _TENSORS) > 0:
            say(page, f"… and {rest} more {'tensor' if rest == 1 else 'tensors'} that hold another number of bytes.")
        self.brief(page)

    def brief(self, page: Page) -> None:
        say(page, _outcome(self.found), style="bold")


def _title(report: Told) -> str:
    model = "" if report.model is None else f" of {report.model}"
    return f"{report.source}, {report.schema.split('/')[1]}{model}"


def _print_figures(page: Page, heading: str, figures: Sequence[FigureChange]) -> None:
    if figures:
        rows = [
            (
                (
                    printable(_WORDS.get(figure.name, figure.name)),
                    _value(figure.a, figure.unit),
                    _value(figure.b, figure.unit),
                    _change(figure.a, figure.b, figure.unit),
                ),
                "",
            )
            for figure in figures
        ]
        page.print(Table((heading, "A", "B", "change"), rows, right=(1, 2, 3)))


def _row(block: BlockChange) -> Sequence[str]:
    a, b = (None if side is None else side.bytes for side in (block.a, block.b))
    return (
        printable(block.name),
        _choice(block.a),
        _choice(block.b),
        _value(a, BYTES),
        _value(b, BYTES),
        "" if block.a and block.b and None in (a, b) else _change(a, b, BYTES),
    )


def _choice(block: ToldBlock | None) -> str:
    return _NONE if block is None else printable(block.choice)


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return _NONE
    if unit == BYTES:
        return size(value)
    if unit == COUNT:
        return f"{value:,}".replace("-", "−")
    if unit == PART:
        return f"{100 * value:.1f} %"
    return f"{value:.1f} dB".replace("-", "−") if unit == DECIBELS else f"{value:.2g}"


def _change(a: float | None, b: float | None, unit: str) -> str:
    """How much more, and by which part of what it was where that is a size."""
    if a is None or b is None:
        return "" if a == b else "new" if a is None else "gone"
    if a == b:
        return "="
    sign = "+" if b > a else "−"
    if unit == PART:
        return f"{sign}{100 * abs(b - a):.1f} points"
    part = f" ({sign}{100 * abs(b - a) / a:,.1f} %)" if a and unit in (BYTES, COUNT) else ""
    return f"{sign}{_value(abs(b - a), unit)}{part}"


def _outcome(found: Diff) -> str:
    if found.same:
        return "Nothing changed."
    figures = {figure.name: figure for figure in found.verdict}
    said = [
        f"{words} {_change(figure.a, figure.b, BYTES)}"
        for name, words in (("scales", "scales of the blocks"), ("network", "whole network"))
        if (figure := figures.get(name)) is not None and figure.change
    ]
    if found.a.blocks and found.b.blocks:
        said.append(f"{len(found.blocks)} {'block' if len(found.blocks) == 1 else 'blocks'} changed")
    text = "; ".join(said) or "the figures changed"
    return f"{text[0].upper()}{text[1:]}."
