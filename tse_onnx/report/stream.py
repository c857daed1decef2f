"""The dataflow model and its certificate as tables, for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tse_onnx.passes.reasons import printable, quoted
from tse_onnx.passes.settings import setting
from tse_onnx.report.kinds import KIND_NAMES
from tse_onnx.report.number import number, percent
from tse_onnx.report.page import Table, judge, say
from tse_onnx.report.size import size
from tse_onnx.report.view import View
from tse_onnx.streaming.depths.held import Sums
from tse_onnx.streaming.depths.result import BOUND, KINDS, Buffer, Dataflow, Spill
from tse_onnx.streaming.network.machine import PIXEL, SHARED
from tse_onnx.streaming.network.machines import words_of
from tse_onnx.streaming.network.needs.axis import TOKENS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tse_onnx.passes.blocks.block import Block
    from tse_onnx.report.page import Page
    from tse_onnx.report.stream_plot import Axes
    from tse_onnx.streaming.compare import Comparison
    from tse_onnx.streaming.execute.certificate import Certificate
    from tse_onnx.streaming.stream import Session


@dataclass(frozen=True)
class StreamView(View):
    """What a network holds, and what proves it; people see the `top` tensors that hold most, 0 for all. A picture has
    these `axes`, and says what the `blocks` are."""

    found: Session
    top: int = 0
    axes: Axes | None = None
    blocks: Sequence[Block] = ()

    def json(self) -> dict[str, Any]:
        from tse_onnx.streaming.schema import stream_json

        return stream_json(self.found.dataflow, self.found.certificate, self.found.axis)

    def csv(self) -> str:
        from tse_onnx.streaming.schema import stream_csv

        return stream_csv(network=self.found.dataflow)

    def figure(self) -> Figure:
        from tse_onnx.report.stream_plot import Panel, draw
        from tse_onnx.report.title import choices_of, title

        images = None if self.axes is None else self.axes.images
        panel = Panel(title(choices_of(self.blocks)), self.found.dataflow, self.found.timeline(images))
        return draw(Path(self.found.dataflow.model).stem, [panel], self.axes)

    def brief(self, page: Page) -> None:
        _print_least(page, self.found.dataflow, TOKENS[self.found.axis])
        if self.found.certificate is not None:
            _print_proofs(page, self.found.certificate)

    def print(self, page: Page) -> None:
        found, token = self.found.dataflow, TOKENS[self.found.axis]
        _print_least(page, found, token)
        if self.found.certificate is not None:
            print_certificate(page, self.found.certificate)
        _print_dataflow(page, found, self.top, token)
        if across := self.found.across:
            axis = 1 - self.found.axis
            blocks = f"{quoted(across[0])} and {len(across) - 1} more" if len(across) > 1 else quoted(across[0])
            say(
                page,
                f"Note: blocks are cut along {TOKENS[axis]}s, {blocks}: {setting('axis', axis)} streams the maps so.",
            )


@dataclass(frozen=True)
class DataflowView(View):
    """The same without a run; people see the `top` tensors that hold most."""

    found: Dataflow
    top: int = 12

    def json(self) -> dict[str, Any]:
        from tse_onnx.streaming.schema import stream_json

        return stream_json(self.found, None, self.found.axis)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["dataflow"]["tensors"]
        return rows

    def brief(self, page: Page) -> None:
        _print_least(page, self.found, TOKENS[self.found.axis])

    def print(self, page: Page) -> None:
        self.brief(page)
        _print_dataflow(page, self.found, self.top, TOKENS[self.found.axis])


def _print_dataflow(page: Page, found: Dataflow, top: int, token: str) -> None:
    """The buffers that hold most, why, and the sums; `top` of them, 0 for all."""
    ranked = found.contributors
    shown = ranked[:top] if top else ranked
    unit = "pixels" if found.machine.grain == PIXEL else f"{token}s"
    heads = ("tensor", "kind", "C × H × W", "window", "asap", "min", "no stall", f"elements ({unit} at min)", "bytes")
    rows = [(_row(buffer), "") for buffer in shown]
    hidden = ranked[len(shown) :]
    if hidden:
        sums = Sums(sum(each.min.elements for each in hidden), sum(each.min.bytes for each in hidden))
        rest = [f"{len(hidden)} more", "", "", "", "", "", "", f"{sums.elements:,}", size(sums.bytes)]
        rows.append((rest, "dim"))
    total = found.totals["min"]
    rows.append((["total", "", "", "", "", "", "", f"{total.elements:,}", size(total.bytes)], "bold"))
    page.print(Table(heads, rows, right=(3, 4, 5, 6, 7, 8)))
    say(page, f"Depths in {unit} of each tensor, for one image; {found.height} {token}s come in.")
    _print_terms(page, {buffer.kind for buffer in shown}, token)
    _print_reasons(page, shown, token)
    page.print(_sums_table(found))
    for output, rows_in in found.fill.items():
        say(page, f"The first {token} of {output} leaves after {rows_in} of {found.height} input {token}s.")
    if found.time is not None:
        often = f"An image can come every {found.time.interval:,} cycles: so long works {found.time.slowest} on it"
        say(page, f"{often}. It takes {found.time.latency:,} until all of it is done.")
    if found.spill is not None:
        _print_spill(page, found.spill)
    _print_payoffs(page, found)
    for stage in found.barriers:
        say(page, f"Barrier: {stage.label}: {stage.barrier}.")


def _print_least(page: Page, found: Dataflow, token: str) -> None:
    """What the network holds, in a line or two."""
    total = found.totals["min"]
    held = f"{total.elements:,} elements, {size(total.bytes)}"
    say(page, f"Held at the least while {token}s stream in: {held} ({words_of(found.machine)}).", style="bold")
    say(page, _least(found))


def _print_terms(page: Page, kinds: Iterable[str], token: str) -> None:
    """What the columns and the kinds of a table of tensors mean."""
    window = f"window: the {token}s that one {token} of a reader needs"
    held = "asap: held where each is made as soon as it can be; min: the fewest that the network runs with"
    say(page, f"{window}; {held}; no stall: held where no stage waits.")
    say(page, f"{'; '.join(f'{kind}: {KINDS[kind]}' for kind in KINDS if kind in kinds)}.")


def _print_reasons(page: Page, buffers: Sequence[Buffer], token: str) -> None:
    """Why tensors wait, once for each kind: at the one that holds most, beside which the others are named."""
    waiting = [buffer for buffer in buffers if buffer.why is not None]
    for kind in dict.fromkeys(buffer.kind for buffer in waiting):
        first, *others = [buffer for buffer in waiting if buffer.kind == kind]
        say(page, f"{first.name} holds {first.min.rows} of {first.height} {token}s: {first.why}.")
        if others:
            held = ", ".join(f"{each.name} ({each.min.rows} of {each.height})" for each in others)
            say(page, f"Of the same kind: {held}.")


def print_change(page: Page, comparison: Comparison) -> None:
    """The whole network before and after a conversion, the paper's figure first."""
    before, after, token = comparison.before, comparison.after, TOKENS[comparison.axis]
    rows = [(_change("paper's figure: scale buffers", before.totals["gate"], after.totals["gate"]), "bold")]
    rows += [
        (_change(name, before.kinds[kind]["min"], after.kinds[kind]["min"]), "") for kind, name in KIND_NAMES.items()
    ]
    rows.append((_change("whole network", before.totals["min"], after.totals["min"]), "bold"))
    rows.append((_change("accumulators beside it", before.accumulators, after.accumulators), ""))
    heads = (f"in a machine that streams {token}s", "before", "after", "saved", "bytes before", "after")
    page.print(Table(heads, rows, right=(1, 2, 3, 4, 5)))
    for name, count in after.fill.items():
        was = before.fill.get(name, count)
        if was != count:
            say(page, f"The first {token} of {name} leaves after {count} input {token}s instead of {was}.")
    if before.spill is not None and after.spill is not None:
        _print_spill(page, before.spill, "the network before")
        _print_spill(page, after.spill, "the network after")
    if before.time is not None and after.time is not None:
        slow = f"{after.time.interval:,} cycles, the time of {after.time.slowest}"
        say(page, f"An image can come every {slow}; before, every {before.time.interval:,}, that of "
                  f"{before.time.slowest}.")  # fmt: skip
    _print_payoffs(page, after)
    named = dict.fromkeys((*before.unknown, *after.unknown))
    for label in named:
        say(page, f"Not known to the dataflow model, and taken for a barrier: {label}.")


def _print_spill(page: Page, spill: Spill, network: str = "the network") -> None:
    """What goes into external memory, and what that costs."""
    room = f"In {size(spill.memory)}"
    if not spill.tensors:
        fits = "fits" if spill.fits else "does not fit, and nothing of it can be spilled"
        say(page, f"{room} {network} {fits}: it needs {size(spill.needed)}.")
        return
    rows = [
        ([printable(each.tensor if each.reader is None else f"{each.tensor} for {each.reader}"),
          size(each.before.bytes), size(each.kept.bytes), size(each.written), size(each.read)], "")
        for each in spill.tensors
    ]  # fmt: skip
    rows.append((["together", "", "", size(spill.written), size(spill.read)], "bold"))
    heads = ("in external memory", "held at min", "still held", "written per image", "read per image")
    page.print(Table(heads, rows, right=(1, 2, 3, 4)))
    how = "With these it holds" if spill.fits else "Even with all that can be spilled it holds"
    end = f", for {size(spill.written + spill.read)} per image" if spill.fits else " and does not fit"
    say(page, f"{room} {network} does not fit: it needs {size(spill.needed)}. {how} {size(spill.held)}{end}.")


def _print_payoffs(page: Page, found: Dataflow) -> None:
    """What each recomputed block is worth in the whole network, on this machine."""
    if not found.payoffs:
        return
    how = "the same stages go over it again" if found.machine.replay == SHARED else "the copy has stages of its own"
    rows = [
        ([printable(each.block), printable(each.held), f"{each.before.elements:,}", f"{each.after.elements:,}",
          "yes" if each.pays else "no"], "")
        for each in found.payoffs
    ]  # fmt: skip
    heads = ("made twice", "held instead", "network with its map held", "as it is", "pays")
    page.print(Table(heads, rows, right=(2, 3)))
    weights = f"{found.weights.elements:,} elements, {size(found.weights.bytes)}"
    say(
        page,
        f"On this machine {how} ({setting('replay', found.machine.replay)}); the weights of all stages are {weights}.",
    )


def print_certificate(page: Page, found: Certificate) -> None:
    """What was proved, a line each, and what the run took."""
    _print_proofs(page, found)
    skew = f"{found.seconds / found.reference_seconds:.1f} times" if found.reference_seconds else "not compared with"
    say(
        page,
        f"Stored at most {size(found.peak_bytes)} at once, of {size(found.bound_bytes)} predicted room; "
        f"{found.firings:,} firings in {found.seconds:.2f} s, {skew} onnxruntime's time with one thread.",
    )


def _print_proofs(page: Page, found: Certificate) -> None:
    for proof in found.proofs:
        verdict = "Proved" if proof.passed else "FAILED" if proof.decided else "Not decided"
        judge(page, proof.passed if proof.decided else None, f"{verdict}: {proof.text}.")


def _least(found: Dataflow) -> str:
    """Whether `min` is the least that there is."""
    least, bound = found.totals["min"].elements, found.totals[BOUND].elements
    if least == bound:
        return f"No schedule holds less than these {least:,} elements."
    away = 100 * (least / bound - 1)
    return f"No schedule holds less than {bound:,} elements; min is {number(away)} % above it."


def _sums_table(found: Dataflow) -> Table:
    rows = [(_sums_row("paper's figure: scale buffers", [found.totals["gate"]] * 1), "")]
    for kind, name in KIND_NAMES.items():
        rows.append((_sums_row(name, [found.kinds[kind][figure] for figure in ("asap", "min", "no_stall")]), ""))
    rows.append((_sums_row("accumulators", [found.accumulators] * 3), ""))
    rows.append((_sums_row("total without accumulators", [found.totals[each] for each in ("asap", "min", "no_stall")]),
                 "bold"))  # fmt: skip
    return Table(("elements", "asap", "min", "no stall", "bytes at min"), rows, right=(1, 2, 3, 4))


def _sums_row(name: str, sums: Sequence[Sums]) -> list[str]:
    if len(sums) == 1:
        return [name, "", f"{sums[0].elements:,}", "", size(sums[0].bytes)]
    return [name, *(f"{each.elements:,}" for each in sums), size(sums[1].bytes)]


def _change(name: str, before: Sums, after: Sums) -> list[str]:
    saved = percent(1 - after.elements / before.elements) if before.elements else ""
    return [name, f"{before.elements:,}", f"{after.elements:,}", saved, size(before.bytes), size(after.bytes)]


def _row(buffer: Buffer) -> list[str]:
    return [
        printable(buffer.name),
        buffer.kind,
        " × ".join(map(str, buffer.shape[1:])),
        str(buffer.window),
        str(buffer.asap.depth),
        str(buffer.min.depth),
        str(buffer.no_stall.depth),
        f"{buffer.min.elements:,}",
        size(buffer.min.bytes),
    ]
