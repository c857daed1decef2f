"""Reports as tables, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tse_onnx.conversion.report import Report
from tse_onnx.decision.buffering import BlockBuffering
from tse_onnx.decision.decision import CONVERTED, REFUSED, UNCHANGED, Decision
from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.block import Block, NodeRef
from tse_onnx.passes.blocks.tiling import TILE, Tiling
from tse_onnx.passes.reasons import printable, quoted
from tse_onnx.passes.settings import setting
from tse_onnx.report.number import decibels, number, percent
from tse_onnx.report.page import Table, judge, say
from tse_onnx.report.size import size
from tse_onnx.report.verdict import print_verdict, verdict_lines
from tse_onnx.report.view import View
from tse_onnx.streaming.network.needs.axis import TOKENS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tse_onnx.conversion.convert import ConvertResult
    from tse_onnx.conversion.inspect import Inspection
    from tse_onnx.decision.explanation import Story
    from tse_onnx.report.page import Page
    from tse_onnx.report.stream_plot import Axes
    from tse_onnx.streaming.depths.stops import Stop
    from tse_onnx.verification.result import Verification


@dataclass(frozen=True)
class InspectView(View):
    """The blocks of a model, what was refused, and what else stops the stream."""

    found: Inspection

    def json(self) -> dict[str, Any]:
        from tse_onnx.conversion.schema import inspect_json

        return inspect_json(self.found)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["blocks"]
        return rows

    def print(self, page: Page) -> None:
        _print_inspection(page, self.found.title, self.found.blocks)
        _print_stops(page, self.found.stops or ())


@dataclass(frozen=True)
class ExplainView(View):
    """How candidates were read."""

    stories: Sequence[Story]

    def json(self) -> dict[str, Any]:
        from tse_onnx.conversion.schema import explain_json

        return explain_json(self.stories)

    def print(self, page: Page) -> None:
        for story in self.stories:
            _print_story(page, story)


@dataclass(frozen=True)
class ReportView(View):
    """A conversion, made or planned: `outcome` says which. With `network` what every tensor holds, where the report
    has it; its picture has these `axes`."""

    report: Report
    outcome: str
    network: bool = False
    axes: Axes | None = None

    def json(self) -> dict[str, Any]:
        from tse_onnx.conversion.schema import report_json

        return report_json(self.report, network=self.network)

    def csv(self) -> str:
        from tse_onnx.streaming.schema import stream_csv

        assert self.report.comparison is not None
        return stream_csv(before=self.report.comparison.before, after=self.report.comparison.after)

    def figure(self) -> Figure:
        from tse_onnx.report.stream_plot import Panel, draw
        from tse_onnx.report.title import choices_of, planned, title

        found = self.report.comparison
        if found is None:
            raise UsageError("there is a picture of the whole network alone, which is counted where a machine is named")
        before, after = found.timelines(None if self.axes is None else self.axes.images)
        as_it_is = title(choices_of(figures.decision.block for figures in self.report.buffering.blocks))
        token = TOKENS[found.axis]
        panels = (
            Panel(as_it_is, found.before, before, token),
            Panel(title(planned(self.report)), found.after, after, token),
        )
        return draw(Path(self.report.model).stem, panels, self.axes, verdict_lines(self.report.verdict))

    def brief(self, page: Page) -> None:
        print_verdict(page, self.report.verdict)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["blocks"]
        return rows

    def print(self, page: Page) -> None:
        say(page, self.outcome, style="bold")
        print_verdict(page, self.report.verdict)
        for judgement in self.report.judgements:
            said = "Passed" if judgement.passed else "Missed"
            judge(page, judgement.passed, f"{said}: {judgement.text} ({judgement.gate}).")
        _print_report(page, self.report)
        if self.network and self.report.comparison is not None:
            from tse_onnx.report.stream import print_change

            print_change(page, self.report.comparison)
        if self.report.trouble:
            say(page, f"No figures of the whole network: {self.report.trouble}")


@dataclass(frozen=True)
class VerificationView(View):
    """What was checked of a conversion."""

    found: Verification

    def json(self) -> dict[str, Any]:
        from tse_onnx.conversion.schema import verification_json

        return verification_json(self.found)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["blocks"]
        return rows

    def brief(self, page: Page) -> None:
        found, count = self.found, len(self.found.checks) + len(self.found.blocks)
        judge(page, found.passed, "; ".join(found.failures) or f"{_count(count, 'check')} passed")

    def print(self, page: Page) -> None:
        self.brief(page)
        print_verification(page, self.found)


def _print_inspection(page: Page, model: str, blocks: Sequence[Block]) -> None:
    """The blocks of a model and what was refused."""
    found = [block for block in blocks if block.refusal is None]
    if found:
        rows = [
            (
                (
                    printable(block.name),
                    block.kind + (f", {block.status}" if block.tiled is not None else ""),
                    _shape(block),
                    _node(block.squeeze),
                    _node(block.scale),
                ),
                "",
            )
            for block in found
        ]
        page.print(Table(("block", "kind", "C × H × W", "squeeze", "scale"), rows))
        say(page, f"{_count(len(found), 'block')} in {model}")
    else:
        say(page, f"{model}: no squeeze-and-excite block")
    for block in blocks:
        if block.refusal is not None:
            _say_refused(page, block.name, block.refusal.text)


def _print_report(page: Page, report: Report) -> None:
    """Every block's figures, the sums, the refusals and what was checked."""
    figures, totals = report.buffering.blocks, report.buffering.totals
    shown = [block for block in figures if block.decision.status != REFUSED or block.before is not None]
    if shown:
        rows = [(_row(block), "" if block.decision.status == CONVERTED else "dim") for block in shown]
        saved = percent(totals.reduction)
        sums = (f"{totals.before:,}", f"{totals.after:,}", saved, f"{totals.macs_added:,}")
        rows.append((["total", "", "", "", "", *sums], "bold"))
        headings = (
            "block",
            "becomes",
            "C × H × W",
            "tile",
            "descriptors",
            "buffer before",
            "after",
            "saved",
            "MACs added",
        )
        page.print(Table(headings, rows, right=(4, 5, 6, 7, 8)))
        before, after = size(totals.before_bytes), size(totals.after_bytes)
        say(page, f"Buffers in elements, for one image; in bytes {before} before, {after} after.")
    _print_unchanged(page, [block.decision for block in figures if block.decision.status == UNCHANGED])
    for block in figures:
        if block.decision.status == REFUSED:
            _say_refused(page, block.decision.block.name, block.decision.reason or "")
        elif block.decision.status == CONVERTED and block.decision.choice is not None and block.decision.note:
            done = block.decision.choice.done.capitalize()
            say(page, f"{done}: {block.decision.block.name}: {block.decision.note}")
    for name, dims in report.input_shapes.items():
        listed = ", ".join("?" if dim is None else str(dim) for dim in dims)
        if report.dynamic:
            say(page, f"Figures and checks are for {name} of [{listed}]; the model keeps its dynamic size.")
        else:
            say(page, f"Input {name} is bound to [{listed}].")
    if report.verification is not None:
        print_verification(page, report.verification)
    if report.certificate is not None:
        from tse_onnx.report.stream import print_certificate

        print_certificate(page, report.certificate)
        if report.plan.axis is None and any(report.plan.axes):
            say(page, "Note: some blocks are cut along columns, others along rows; this run went by rows.")


def _print_unchanged(page: Page, kept: Sequence[Decision]) -> None:
    """Why blocks stay as they are, each reason once."""
    for reason in dict.fromkeys(decision.reason for decision in kept):
        names = [printable(decision.block.name) for decision in kept if decision.reason == reason]
        if reason:
            say(page, f"Unchanged: {', '.join(names)}: {printable(reason)}")


def print_verification(page: Page, found: Verification) -> None:
    """What was checked, in a line each."""
    for drift in found.drift:
        ratio = "equal" if drift.sqnr_db is None else f"SQNR {decibels(drift.sqnr_db)}"
        agreement = ""
        if found.scores and drift.top1_agreement is not None:  # on noise it would look like accuracy
            agreement = f", top-1 agreement {percent(drift.top1_agreement)}"
        say(page, f"Drift of {drift.output}: max {number(drift.max_abs)}, {ratio}{agreement} ({found.inputs}).")
    exact = [check for check in found.blocks if check.exact]
    tiled = [check for check in found.blocks if not check.exact]
    if exact:
        nodes = f"{_count(len(exact), 'block')} against the original's own nodes, bit for bit"
        judge(page, True, f"Verified: {nodes}; everything else is byte for byte the input.")
    worst = max(tiled, key=lambda check: check.ratio, default=None)
    if worst is not None:
        tiles = f"{_count(len(tiled), 'block')} against the original run on every tile"
        moved = min((check.gate_spread for check in tiled if check.gate_spread is not None), default=None)
        gates = "" if moved is None else f", gates differ by {100 * moved:.2g} % or more between tiles"
        error = f"largest error {worst.ratio:.2g} of its tolerance{gates}"
        judge(page, True, f"Verified: {tiles} ({error}); everything else is byte for byte the input.")
    for note in found.notes:
        say(page, f"Note: {note}.")


def _print_stops(page: Page, stops: Sequence[Stop]) -> None:
    """What stops the stream and is not converted, and what could be done, each said once."""
    for stop in stops:
        name = f"{printable(stop.operator)} {quoted(stop.node)}"
        say(page, f"Stops the stream: {name} {stop.what}; {quoted(stop.tensor)} waits, {stop.rows} rows.")
    for advice in dict.fromkeys(stop.advice for stop in stops):
        names = [quoted(stop.node) for stop in stops if stop.advice == advice]
        listed = ", ".join(names if len(names) < 4 else [*names[:2], f"and {len(names) - 2} more"])
        say(page, f"What could be done about {listed}: {advice}.")


def _print_story(page: Page, story: Story) -> None:
    """How a candidate was read, a line for each step."""
    block = story.block
    say(page, f"{block.name} ({block.scope})" if block.scope else block.name, style="bold")
    for line in story.lines:
        said = line.text if not line.node or line.node in line.text else f"{line.node} {line.text}"
        say(page, f"  {said}  {line.axes}".rstrip())


def outcome(result: ConvertResult, where: str, retiled: bool = False) -> str:
    """What a conversion came to, in a sentence; `where` is what was written, `retiled` that it began with a restored
    model."""
    totals = result.report.buffering.totals
    if not totals.converted:
        written = "written as it was before any conversion" if retiled else "written unchanged"
        if result.report.input_shapes and not result.report.dynamic:
            written = "written with its inputs bound"
        if any(decision.block.tiled for decision in result.blocks):
            return (
                f"No block was left to tile; the model was {written} to {where}. {setting('retile', True)} "
                "converts its blocks anew."
            )
        refused = any(one.status == REFUSED and one.choice is not None for one in result.blocks)
        kept = (one for one in result.blocks if one.status == UNCHANGED and one.cover is None)
        left = next((one for one in kept if one.choice is not None or not refused), None)
        if left is not None:
            why = f"{printable(left.block.name)}: {printable(left.reason or '')}"
            return f"No block was converted ({why}); the model was {written} to {where}."
        if totals.unchanged and not refused:
            return f"No block is taller than a tile; the model was {written} to {where}."
        if any(decision.block.refusal is None for decision in result.blocks):
            return f"No block could be converted; the model was {written} to {where}."
        return f"No squeeze-and-excite block was found; the model was {written} to {where}."
    checked = "" if result.verification is not None else " without verification"
    blocks = _count(totals.converted, "block")
    return f"Converted {blocks}, buffer down by {percent(totals.reduction)}; written{checked} to {where}."


def _say_refused(page: Page, name: str, reason: str) -> None:
    text = f"Not converted: {name}: {reason}" if name not in reason else f"Not converted: {reason}"
    say(page, text, style="yellow")


def _row(figures: BlockBuffering) -> list[str]:
    block, tile = figures.decision.block, figures.tile
    before, after = figures.before or 0, figures.after or 0
    return [
        printable(block.name),
        _becomes(figures.decision),
        _shape(block),
        " × ".join(map(str, tile)) if tile else "",
        "" if figures.descriptors is None else f"{figures.descriptors:,}",
        f"{before:,}",
        f"{after:,}",
        percent(1 - after / before) if before else "",
        "" if figures.macs_added is None else f"{figures.macs_added:,}",
    ]


def _becomes(decision: Decision) -> str:
    """What is done to a block, in a word or two."""
    choice = decision.choice
    if decision.status != CONVERTED or choice is None:
        return "unchanged" if decision.status == UNCHANGED else "refused"
    if not isinstance(choice, Tiling) or choice.squeeze == TILE:
        return choice.done
    calibrated = "calibrated " if choice.calibration else ""
    return f"{calibrated}{choice.squeeze} {choice.rows or choice.cols}"


def _node(node: NodeRef | None) -> str:
    return "" if node is None else printable(node.node or node.output)


def _shape(block: Block) -> str:
    sizes = (block.channels, *block.extents) if block.extents else (block.shape or (None, None))[1:]
    return " × ".join("?" if size is None else str(size) for size in sizes)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
