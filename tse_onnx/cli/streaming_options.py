"""Options of the machine that a network streams through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.options import OutputPath

if TYPE_CHECKING:
    from tse_onnx.streaming.network.machine import Machine

grain_option = click.option(
    "--grain", type=click.Choice(["row", "pixel"]), default="row", show_default=True,
    help="What is stored: whole rows, or pixels in raster order.",
)  # fmt: skip
storage_option = click.option(
    "--storage", type=click.Choice(["shared", "per-reader"]), default="shared", show_default=True,
    help="A tensor with several readers is stored once, or in a FIFO for each of them.",
)  # fmt: skip
power_of_two_option = click.option("--power-of-two", is_flag=True, help="Round depths up to powers of two.")
bits_option = click.option(
    "--bits", type=click.IntRange(1, 1024), metavar="N", help="Bits of an element; the tensor's own type otherwise."
)
back_to_back_option = click.option(
    "--back-to-back", is_flag=True, help="Images follow each other without a gap; concerns the no-stall depths alone."
)
latency_option = click.option(
    "--latency",
    multiple=True,
    metavar="[NODE=]T",
    help="Row times from when a stage starts a row to when it is there, of all stages or of one node; 1 otherwise. "
    "Used for the no-stall depths. May be repeated.",
)
csv_option = click.option(
    "--csv", "csv_path", type=OutputPath(), metavar="FILE", help="Write a line per tensor as CSV."
)
plot_option = click.option(
    "--plot", "plot_path", type=OutputPath(), metavar="FILE",
    help="Draw the rows held against the input row, as .svg or .png (needs matplotlib).",
)  # fmt: skip

tolerance_option = click.option(
    "--tolerance", type=click.FloatRange(min=0), metavar="X",
    help="Largest difference of a tensor of the run from onnxruntime's, relative to its largest value. By default "
    "0.0001; 0.01 where the network has half precision, 0.06 where it has bfloat16.",
)  # fmt: skip


def machine_of(
    grain: str, storage: str, power_of_two: bool, bits: int | None, back_to_back: bool, latency: Iterable[str]
) -> Machine:
    """The machine that the options describe."""
    from tse_onnx.streaming.network.machine import Machine

    general, latencies = 1.0, {}
    for value in latency:
        node, _, text = value.rpartition("=")
        try:
            time = float(text)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not [NODE=]T", param_hint="--latency") from None
        if not 0 <= time < 1e9:
            raise click.BadParameter(f"{value!r}: a latency is a number of row times", param_hint="--latency")
        if node:
            latencies[node] = time
        else:
            general = time
    return Machine(grain, storage, power_of_two, bits, back_to_back, general, latencies)
