"""`tse-onnx profile`: what a network costs, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.display import HTML, Display, display_options, quiet_option
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import given_model, input_shape_option, model_argument

if TYPE_CHECKING:
    from tse_onnx.decision.inputs import InputShapes


@click.command(cls=Command)
@model_argument
@click.argument("converted", required=False, type=click.Path(path_type=Path))
@input_shape_option
@click.option(
    "--convention", type=click.Choice(["onnx", "squeezenext"]), default="onnx", show_default=True,
    help="What is counted: every layer as the model states it, or convolutions and products alone, each with a bias "
    "that counts, and single precision, as the SqueezeNext paper has it.",
)  # fmt: skip
@click.option(
    "--array", metavar="NAME|FILE",
    help="Count the cycles on an array of processing elements: squeezelerator8, squeezelerator16, or a .toml file that "
    "says it.",
)  # fmt: skip
@click.option(
    "--energy", metavar="NAME",
    help="Count the energy of these accesses by a published table: horowitz2014 or eyeriss2016, in place of what the "
    "array's file says (needs --array).",
)  # fmt: skip
@click.option("--time", "timed", is_flag=True, help="Measure each layer in onnxruntime, on one thread.")
@click.option(
    "--runs", type=click.IntRange(min=1), default=11, show_default=True, metavar="N",
    help="How often; medians are kept.",
)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Show the layers that multiply nothing and have no parameters, too.")
@display_options(
    quiet_option,
    csv="Write a line per layer as CSV.",
    plot="Draw the layers' cycles and their utilisation, as .svg or .png (needs matplotlib and --array).",
    html=HTML,
)
def profile(
    model: Path,
    converted: Path | None,
    input_shapes: InputShapes,
    convention: str,
    array: str | None,
    energy: str | None,
    timed: bool,
    runs: int,
    every: bool,
    display: Display,
) -> None:
    """Show what MODEL costs, layer by layer: parameters, multiply-accumulates, the size of its output, the rows that
    are held of it, and cycles on an array of processing elements. With CONVERTED, what a conversion changed.

    Nothing is run but with --time. Equal layers that follow each other, as the blocks of a stage, are one row.

    \b
    Examples:
      tse-onnx profile model.onnx
      tse-onnx profile model.onnx tiled.onnx --array squeezelerator16
      tse-onnx profile model.onnx --format json | jq .totals
      tse-onnx profile model.onnx --array board.toml --plot layers.svg
      tse-onnx profile model.onnx --time --csv layers.csv
    """
    if display.plot is not None and array is None:
        raise click.UsageError("--plot draws cycles: it goes with --array")
    if energy is not None and array is None:
        raise click.UsageError("--energy counts the accesses of an array: it goes with --array")
    from tse_onnx.costs.cycles import Costed, cost_on
    from tse_onnx.costs.profile import profile as profiled
    from tse_onnx.report.profile import ProfileView

    known = None
    if array is not None:
        from tse_onnx.costs.arrays import array_of

        known = array_of(array)
        if energy is not None:
            known = known.with_energy(energy)

    def costed(path: Path) -> Costed:
        found = profiled(given_model(path), convention=convention, input_shapes=input_shapes, runs=runs if timed else 0)
        return Costed(found, None if known is None else cost_on(found, known))

    before = costed(model)
    view = ProfileView(before, None if converted is None else costed(converted), every)
    display.write(view)
    display.show(view)
