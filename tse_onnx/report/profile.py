"""A network layer by layer, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.costs.array import DATAFLOWS, OS
from tse_onnx.costs.energy import PICOJOULE
from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import printable
from tse_onnx.report.page import Table, say
from tse_onnx.report.size import size
from tse_onnx.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tse_onnx.costs.array import Array
    from tse_onnx.costs.cycles import Cost, Costed
    from tse_onnx.costs.layer import Layer
    from tse_onnx.report.page import Page


@dataclass(frozen=True)
class ProfileView(View):
    """The layers of a network, or of one before and after a conversion. People see those that multiply or have
    parameters, and `every` other one where they ask for it."""

    found: Costed
    converted: Costed | None = None
    every: bool = False

    @property
    def headline(self) -> str:
        totals = self.found.profile.totals
        counts = f"{totals.layers:,} layers, {totals.parameters:,} parameters, {totals.macs:,} MACs"
        return f"{printable(self.found.profile.model)}: {counts}"

    def json(self) -> dict[str, Any]:
        from tse_onnx.costs.schema import profile_json

        return profile_json(self.found, self.converted)

    def csv(self) -> str:
        from tse_onnx.costs.schema import profile_csv

        return profile_csv(self.found.profile, self.found.cost)

    def figure(self) -> Figure:
        from tse_onnx.report.profile_plot import draw

        if self.found.cost is None:
            raise UsageError("there is a picture of cycles alone, which are counted where an array is named")
        return draw([each for each in (self.found, self.converted) if each is not None])

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["layers"]
        return rows

    def brief(self, page: Page) -> None:
        say(page, f"{self.headline}.")
        if self.converted is not None:
            say(page, f"{ProfileView(self.converted).headline}.")
        _print_uncounted(page, self.found, self.converted)

    def print(self, page: Page) -> None:
        if self.converted is None:
            _print_layers(page, self.found, self.every)
        else:
            _print_changed(page, self.found, self.converted)
        _print_totals(page, self.found, self.converted)
        _print_doubts(page, self.found, self.converted)


@dataclass(frozen=True)
class CostView(View):
    """The layers that multiply, on an array."""

    found: Cost

    def json(self) -> dict[str, Any]:
        from tse_onnx.costs.schema import cost_json

        return cost_json(self.found)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["layers"]
        return rows

    def brief(self, page: Page) -> None:
        found = self.found
        cycles = f"{found.cycles:,} cycles on {found.array.name}, utilisation {100 * found.utilisation:.0f} %"
        say(page, f"{len(found.layers)} layers that multiply: {cycles}.")

    def print(self, page: Page) -> None:
        self.brief(page)
        rows = [
            (
                (printable(name), f"{each.cycles:,}", each.dataflow, f"{100 * each.utilisation:.0f} %"),
                "",
            )
            for name, each in self.found.layers.items()
        ]
        page.print(Table(("layer", "cycles", "dataflow", "utilisation"), rows, right=(1, 3)))


def _print_layers(page: Page, found: Costed, every: bool) -> None:
    layers = found.profile.layers
    shown = [layer for layer in layers if every or layer.parameters or layer.macs != 0]
    timed = any(layer.seconds is not None for layer in layers)
    heads = ["layer", "operator", "input", "output", "kernel", "stride", "pads", "×", "parameters", "MACs"]
    heads += ["output size", "rows held"]
    heads += ["cycles", "dataflow", "utilisation"] if found.cost is not None else []
    heads += ["energy"] if _has_energy(found) else []
    heads += ["time"] if timed else []
    rows: list[tuple[Sequence[str], str]] = [(_row(layer, found.cost, timed), "") for layer in shown]
    if len(shown) < len(layers):
        hidden = [layer for layer in layers if layer not in shown]
        count = sum(layer.repeat for layer in hidden)
        rest = [f"{count} more, which multiply nothing", *[""] * (len(heads) - 1)]
        rest[10] = size(sum(layer.activation_bytes * layer.repeat for layer in hidden))
        if timed:
            rest[-1] = _milliseconds(sum((layer.seconds or 0.0) * layer.repeat for layer in hidden))
        rows.append((rest, "dim"))
    words = (0, 1, 2, 3, 4, 5, 6, *([13] if found.cost is not None else []))
    page.print(Table(heads, rows, right=[at for at in range(len(heads)) if at not in words]))


def _row(layer: Layer, cost: Cost | None, timed: bool) -> list[str]:
    cells = [
        printable(layer.name), printable(layer.operator), _dims(layer.input), _dims(layer.output), _dims(layer.kernel),
        _dims(layer.stride, same=True), _dims(layer.pads, same=True), str(layer.repeat), f"{layer.parameters:,}",
        "not counted" if layer.macs is None else f"{layer.macs:,}", size(layer.activation_bytes),
        "" if layer.rows_held is None else str(layer.rows_held),
    ]  # fmt: skip
    if cost is not None:
        on = cost.layers.get(layer.name)
        bound = " (memory)" if on is not None and on.memory_bound else ""
        cells += (
            ["", "", ""] if on is None else [f"{on.cycles:,}", on.dataflow + bound, f"{100 * on.utilisation:.0f} %"]
        )
        if cost.array.energy is not None:
            cells.append("" if on is None else _energy(on.energy, cost.array))
    if timed:
        cells.append("" if layer.seconds is None else _milliseconds(layer.seconds * layer.repeat))
    return cells


def _print_changed(page: Page, before: Costed, after: Costed) -> None:
    """The layers that a conversion changed, added or took away."""
    was, now = _by_node(before), _by_node(after)
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    heads = ["layer", "operator", "MACs before", "after", "rows held before", "after"]
    heads += ["cycles before", "after"] if before.cost is not None else []
    heads += ["energy before", "after"] if _has_energy(before) else []
    rows: list[tuple[Sequence[str], str]] = []
    for name in names:
        one, other = was.get(name), now.get(name)
        operator = (one or other or ("",))[0]
        pairs = zip((one or ("",) * len(other or ()))[1:], (other or ("",) * len(one or ()))[1:], strict=True)
        rows.append(([printable(name), operator, *(cell for pair in pairs for cell in pair)], ""))
    if rows:
        page.print(Table(heads, rows, right=range(2, len(heads))))
    same = len(now) - sum(name in now for name in names)
    say(page, f"{same} layers are as they were.")


def _by_node(found: Costed) -> dict[str, tuple[str, ...]]:
    """What each node is and costs, in words."""
    rows: dict[str, tuple[str, ...]] = {}
    for layer in found.profile.layers:
        on = None if found.cost is None else found.cost.layers.get(layer.name)
        cells = [
            printable(layer.operator),
            "" if not layer.macs else f"{layer.macs // layer.repeat:,}",
            "" if layer.rows_held is None else str(layer.rows_held),
        ]
        if found.cost is not None:
            cells.append("" if on is None else f"{on.cycles // layer.repeat:,}")
            if _has_energy(found):
                one = None if on is None or on.energy is None else on.energy / layer.repeat
                cells.append(_energy(one, found.cost.array))
        rows |= {name: tuple(cells) for name in layer.nodes}
    return {name: rows[name] for name in found.profile.order}


def _print_totals(page: Page, found: Costed, converted: Costed | None) -> None:
    rows: list[tuple[Sequence[str], str]] = []
    after = None if converted is None else dict(_totals(converted))
    for name, value in _totals(found):
        rows.append(([name, value] if after is None else [name, value, after[name]], ""))
    heads = ("in all", "") if after is None else ("in all", "before", "after")
    page.print(Table(heads, rows, right=range(1, len(heads))))


def _totals(found: Costed) -> Iterator[tuple[str, str]]:
    totals = found.profile.totals
    yield "layers", f"{totals.layers:,}"
    yield "parameters", f"{totals.parameters:,}"
    yield "MACs", f"{totals.macs:,}"
    yield "outputs of all layers", size(totals.activation_bytes)
    yield "forward and backward pass", size(totals.pass_bytes)
    yield "held while rows stream in", size(totals.held_bytes)
    if found.cost is not None:
        yield f"cycles on {printable(found.cost.array.name)}", f"{found.cost.cycles:,}"
        yield "utilisation", f"{100 * found.cost.utilisation:.0f} %"
        if found.cost.energy is not None:
            yield "energy of MACs, buffers and memory", _energy(found.cost.energy, found.cost.array)
    if totals.seconds is not None:
        yield "time, fused", _milliseconds(totals.seconds)


def _print_doubts(page: Page, found: Costed, converted: Costed | None) -> None:
    say(page, f"Counted by the convention {found.profile.convention.name}: {found.profile.convention.title}.")
    if found.cost is not None:
        words = " or ".join(f"{name}, {DATAFLOWS[name]}" for name in found.cost.array.dataflows)
        say(page, f"Each layer that multiplies takes the quicker of {words}." if len(found.cost.array.dataflows) > 1
            else f"Each layer that multiplies runs {words}.")  # fmt: skip
        if found.cost.array.sparsity and OS in found.cost.array.dataflows:
            zeros = f"{100 * found.cost.array.sparsity:.3g} % of weights that are zero"
            say(page, f"Output stationary skips the {zeros}, so that it can come to more than all elements.")
        if found.cost.array.energy is not None:
            say(page, f"Energies after {printable(found.cost.array.energy.source)}.")
            say(page, "Not in them: registers, wires and control of the array, and layers that multiply nothing.")
    _print_uncounted(page, found, converted)


def _print_uncounted(page: Page, found: Costed, converted: Costed | None) -> None:
    named = dict(found.profile.without_rule) | (dict(converted.profile.without_rule) if converted is not None else {})
    for operator, count in named.items():
        why = "there is no rule for what it multiplies, so the totals are too small"
        say(page, f"Not counted: {printable(operator)}, {count} of them: {why}.", style="yellow")


def _dims(dims: Sequence[int], same: bool = False) -> str:
    if same and len(set(dims)) == 1:
        return str(dims[0])
    return " × ".join(map(str, dims))


def _has_energy(found: Costed) -> bool:
    return found.cost is not None and found.cost.array.energy is not None


def _energy(value: float | None, array: Array) -> str:
    """In microjoules, or in those of a million multiply-accumulates."""
    if value is None or array.energy is None:
        return ""
    million = value / 1e6
    digits = f"{million:.3g}" if million < 1000 else f"{million:,.0f}"
    return f"{digits} {'µJ' if array.energy.unit == PICOJOULE else 'M MACs'}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
