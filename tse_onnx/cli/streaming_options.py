"""Options of the machine that a network streams through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli import completion, values
from tse_onnx.cli.configuration import leave_out
from tse_onnx.cli.groups import given, group, names_of

if TYPE_CHECKING:
    from tse_onnx.cli.display import Display
    from tse_onnx.report.stream_plot import Axes
    from tse_onnx.streaming.network.machine import Machine

_STORES = (
    click.option(
        "--machine", "base", default="ideal", show_default=True, metavar="NAME|FILE",
        shell_complete=completion.machines,
        help="What the network streams through: ideal, hls4ml, finn, cascade, or a .toml file that says it. The "
        "options below change it.",
    ),
    click.option(
        "--grain", type=click.Choice(["row", "pixel"]),
        help="What is stored: whole rows, or pixels in raster order.",
    ),
    click.option(
        "--storage", type=click.Choice(["shared", "per-reader"]),
        help="A tensor with several readers is stored once, or in a FIFO for each of them.",
    ),
    click.option(
        "--replay", type=click.Choice(["shared", "separate"]),
        help="Where a recomputed block makes its map twice: the same stages and buffers are used again, or the copy "
        "has its own.",
    ),
    click.option(
        "--fusion/--no-fusion", default=None,
        help="A layer and the elementwise operators behind it are one stage, or one for each node.",
    ),
    click.option("--power-of-two/--no-power-of-two", default=None, help="Round depths up to powers of two, or not."),
    click.option(
        "--bits", type=click.IntRange(1, 1024), metavar="N", help="Bits of an element; the tensor's own type otherwise."
    ),
)  # fmt: skip

_PACE = (
    click.option(
        "--back-to-back/--no-back-to-back",
        default=None,
        help="Images follow each other without a gap, or not; concerns the no-stall depths alone.",
    ),
    click.option(
        "--latency",
        multiple=True,
        metavar="[NODE=]T",
        help="Row times from when a stage starts a row to when it is there, of all stages or of one node; 1 otherwise. "
        "Used for the no-stall depths. May be repeated.",
    ),
    click.option(
        "--memory", callback=values.size, metavar="SIZE",
        help="Room for the rows of all tensors, as 512KiB: where they need more, say which to keep in external memory, "
        "and the bandwidth that it takes.",
    ),
    click.option(
        "--macs-per-cycle",
        multiple=True,
        metavar="[NODE=]N",
        help="Multiply-accumulates that a stage does in a cycle, every one or that of one node: time is then counted "
        "by what there is to do. All stages take the same time otherwise. May be repeated.",
    ),
    click.option(
        "--elements-per-cycle", type=float, metavar="N",
        help="Elements in a cycle of the stages that multiply nothing; as many as multiply-accumulates otherwise.",
    ),
)  # fmt: skip

NETWORK_FILES = {
    "csv": "Write a line per tensor as CSV.",
    "plot": "Draw the rows held against the input row, as .svg or .png (needs matplotlib).",
}
"""The files that the rows of a network can be written into, with their help."""

_AXES = (
    click.option(
        "--plot-limit", callback=values.size, metavar="SIZE",
        help="Bytes at the upper end of the picture, as 16MiB, for pictures that are compared.",
    ),
    click.option(
        "--plot-images", type=click.IntRange(1, 10_000), metavar="N",
        help="Images that the picture goes over; as many as it takes until all is full otherwise.",
    ),
)  # fmt: skip

tolerance_option = click.option(
    "--tolerance", type=click.FloatRange(min=0), metavar="X",
    help="Largest difference of a tensor of the run from onnxruntime's, relative to its largest value. By default "
    "0.0001; 0.01 where the network has half precision, 0.06 where it has bfloat16.",
)  # fmt: skip


def _machine(
    base: str, latency: Iterable[str] = (), macs_per_cycle: Iterable[str] = (), **said: Any
) -> Mapping[str, Machine]:
    from dataclasses import replace

    from tse_onnx.streaming.network.machines import machine_of

    machine = machine_of(base)
    changes = {name: value for name, value in said.items() if value is not None}
    latencies, rates = dict(machine.latencies), dict(machine.rates)
    for node, time in _by_node(latency, "--latency"):
        if not 0 <= time < 1e9:
            raise click.BadParameter(f"{time:g}: a latency is a number of row times", param_hint="--latency")
        if node:
            latencies[node] = time
        else:
            changes["latency"] = time
    for node, rate in _by_node(macs_per_cycle, "--macs-per-cycle"):
        if node:
            rates[node] = rate
        else:
            changes["macs_per_cycle"] = rate
    if rates and changes.get("macs_per_cycle", machine.macs_per_cycle) is None:
        raise click.BadParameter(
            "a rate of one node goes with that of all others: add --macs-per-cycle N", param_hint="--macs-per-cycle"
        )
    return {"machine": replace(machine, latencies=latencies, rates=rates, **changes)}


def _by_node(values: Iterable[str], option: str) -> Iterator[tuple[str, float]]:
    """The name of a node, "" for all, and its number."""
    for value in values:
        node, _, text = value.rpartition("=")
        try:
            yield node, float(text)
        except ValueError:
            metavar = "[NODE=]T" if option == "--latency" else "[NODE=]N"
            raise click.BadParameter(f"{value!r} is not {metavar}", param_hint=option) from None


machine_options = group((*_STORES, *_PACE), _machine)
"""Give a command the options of a machine; it receives them as a `Machine`."""

stores_options = group(_STORES, _machine)
"""The same without those that concern time alone, for what counts the least that is held."""


def refuse_stores(ctx: click.Context) -> None:
    """Refuse the options of a machine where nothing is counted on it."""
    if asked := given(ctx, names_of(_STORES)):
        raise click.UsageError(f"{asked[0]} says what the whole network is counted on, which --dataflow asks for")
    leave_out(ctx, names_of(_STORES))


def _axes(plot_limit: int | None, plot_images: int | None) -> Mapping[str, Axes | None]:
    if plot_limit is None and plot_images is None:
        return {"axes": None}
    from tse_onnx.report.stream_plot import Axes

    return {"axes": Axes(plot_limit, plot_images)}


axes_options = group(_AXES, _axes)
"""Give a command the options of a picture's axes; it receives them as `Axes`, None where none is given."""


def require_plot(axes: Axes | None, display: Display) -> None:
    """Refuse axes where nothing is drawn."""
    if axes is not None and display.plot is None:
        raise click.UsageError(f"{'--plot-images' if axes.limit is None else '--plot-limit'} goes with --plot")
