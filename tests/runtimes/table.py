"""What was found, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from tests.runtimes.judge import FAULTS, Outcome
from tests.runtimes.latency import Latency
from tests.runtimes.networks import SETTINGS
from tests.runtimes.tool import Tool
from tests.runtimes.trial import ORIGINAL, Cell

_UNROLLED = 2.0
"""A tool that makes more than so many times as many operators as of the original has taken the tiles apart."""

_MARKS = {
    Outcome.RIGHT: "✓", Outcome.COMPILED: "compiled", Outcome.WRONG: "**wrong**", Outcome.REFUSED: "refused",
    Outcome.CRASHED: "crashed", Outcome.ORIGINAL: "o", Outcome.UNTRANSLATED: "u", Outcome.UNWRITTEN: "–",
}  # fmt: skip

_GOOD = frozenset({Outcome.RIGHT, Outcome.COMPILED})

LEGEND = (
    "✓: equal to unoptimised onnxruntime; **wrong** with the SQNR in dB; o: the original fails, too; –: not written in "
    "this setting, or as the first of its kind; u: not put before the tool, since the way there does not know it. Two marks: rows that divide the maps, "
    "and rows that do not. " + "; ".join(f"{one.name} from {one.least:g} dB" for one in SETTINGS) + "."
)


def markdown(
    tools: Sequence[Tool], cells: Sequence[Cell], missing: Mapping[str, str], latencies: Sequence[Latency]
) -> str:
    """A line for each tool; a table for each, a form to a line and a setting to a column; then the latencies."""
    parts = ["\n".join(_summary(tools, cells, missing)), LEGEND]
    for tool in tools:
        own = [cell for cell in cells if cell.tool == tool.name]
        parts.append(f"### {tool.title}\n")
        parts.append(f"{missing[tool.name]}\n" if tool.name in missing else "\n".join(_table(own)) + "\n")
    if latencies:
        parts.append("\n".join(_latencies(latencies)))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _summary(tools: Sequence[Tool], cells: Sequence[Cell], missing: Mapping[str, str]) -> Iterable[str]:
    yield "| tool | right | faults | the original fails |"
    yield "|---|---|---|---|"
    for tool in tools:
        own = [cell for cell in cells if cell.tool == tool.name]
        tried = [cell for cell in own if cell.form != ORIGINAL and cell.result.outcome in FAULTS | _GOOD]
        right = sum(cell.result.outcome in _GOOD for cell in tried)
        failing = [cell.setting for cell in own if cell.form == ORIGINAL and cell.result.outcome in FAULTS]
        said = missing.get(tool.name) or "; ".join(faults(tried))
        yield f"| {tool.title} | {right} of {len(tried)} | {said} | {', '.join(failing)} |"


def faults(cells: Sequence[Cell]) -> list[str]:
    """What is wrong with which forms, and where not everywhere: only ragged, or only in some settings."""
    found: dict[str, list[str]] = {}
    for form in dict.fromkeys(cell.form for cell in cells):
        own = [cell for cell in cells if cell.form == form]
        for outcome in dict.fromkeys(cell.result.outcome for cell in own if cell.result.outcome in FAULTS):
            faulty = [cell for cell in own if cell.result.outcome is outcome]
            found.setdefault(_MARKS[outcome] + _where(faulty, own), []).append(form)
    return [f"{'; '.join(forms)}: {told}" for told, forms in found.items()]


def _where(faulty: Sequence[Cell], cells: Sequence[Cell]) -> str:
    if len(faulty) == len(cells):
        return ""
    ragged = [cell for cell in cells if cell.rows == "ragged"]
    settings = list(dict.fromkeys(cell.setting for cell in faulty))
    only = " if ragged" if all(cell.rows == "ragged" for cell in faulty) else ""
    if only and len(faulty) == len(ragged):
        return only
    return f"{only} ({', '.join(settings)})"


def _table(cells: Sequence[Cell]) -> Iterable[str]:
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    yield f"| | {' | '.join(settings)} |"
    yield "|---" * (len(settings) + 1) + "|"
    for form in dict.fromkeys(cell.form for cell in cells):
        found = [[cell for cell in cells if (cell.form, cell.setting) == (form, setting)] for setting in settings]
        yield f"| {form} | {' | '.join(_marks(group, cells) for group in found)} |"


def _marks(group: Sequence[Cell], cells: Sequence[Cell]) -> str:
    marks = [mark(cell, cells) for cell in group]
    return " / ".join(dict.fromkeys(marks)) if len(set(marks)) < 2 else " / ".join(marks)


def mark(cell: Cell, cells: Sequence[Cell]) -> str:
    """What a table says of a cell."""
    result, text = cell.result, _MARKS[cell.result.outcome]
    if cell.form == ORIGINAL and result.outcome in FAULTS:
        text = result.outcome.value
    if result.outcome is Outcome.WRONG:
        text += f" {result.sqnr:.0f}"
    base = next((one for one in cells if (one.form, one.setting) == (ORIGINAL, cell.setting)), None)
    if base is not None and base.result.operators and result.operators:
        times = result.operators / base.result.operators
        text += f" ×{times:.1f}" if times > _UNROLLED else ""
    return text


def _latencies(latencies: Sequence[Latency]) -> Iterable[str]:
    yield "| tool | network | original ms | converted ms | ratio | |"
    yield "|---|---|---:|---:|---:|---|"
    for one in latencies:
        numbers = [
            "" if number is None else f"{number:{layout}}"
            for number, layout in ((one.original, ".1f"), (one.converted, ".1f"), (one.ratio, ".2f"))
        ]
        said = one.result.outcome.value if one.result.outcome is Outcome.RIGHT else one.result.why
        yield f"| {one.tool} | {one.network} | {' | '.join(numbers)} | {said} |"


def as_json(
    tools: Sequence[Tool], cells: Sequence[Cell], missing: Mapping[str, str], latencies: Sequence[Latency]
) -> dict[str, object]:
    """Everything that was found; SQNR in dB, latencies in milliseconds."""
    return {
        "tools": [
            {"name": tool.name, "title": tool.title, "requirements": [*tool.requirements, *tool.packages],
             "missing": missing.get(tool.name)}
            for tool in tools
        ],
        "cells": [_plain(asdict(cell)) for cell in cells],
        "latencies": [_plain(asdict(one)) | {"ratio": one.ratio} for one in latencies],
    }  # fmt: skip


def _plain(fields: dict[str, object]) -> dict[str, object]:
    result = fields.pop("result")
    assert isinstance(result, dict)
    return fields | result | {"outcome": result["outcome"].value}
