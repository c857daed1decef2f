"""`tse-onnx noise`: what each layer and each block loses, alone and from there on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tse_onnx.cli.configuration import leave_out
from tse_onnx.cli.data_options import data_options
from tse_onnx.cli.display import HTML, Display, display_options, quiet_option
from tse_onnx.cli.groups import given
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import given_model, input_shape_option, kinds_option, model_argument, threads_option
from tse_onnx.cli.progress import stages_bar
from tse_onnx.cli.scheme_options import calibration_option, operators_option
from tse_onnx.cli.tiling import OPTION_NAMES, tiling_options

if TYPE_CHECKING:
    from tse_onnx.data.choice import Data
    from tse_onnx.decision.inputs import InputShapes
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection

_SCHEME = ("calibration", "operators")


@click.command(cls=Command)
@model_argument
@click.argument("converted", type=click.Path(path_type=Path, allow_dash=True), required=False)
@data_options
@calibration_option
@operators_option
@tiling_options
@input_shape_option
@kinds_option
@threads_option
@click.option(
    "--top", type=click.IntRange(min=0), default=20, show_default=True, metavar="N",
    help="Print the N layers that lose most; 0 for all.",
)  # fmt: skip
@display_options(
    quiet_option,
    report="Write everything as JSON.",
    csv="Write a line per layer as CSV.",
    plot="Draw layers and blocks, the worst on top, as .svg or .png (needs matplotlib).",
    html=HTML,
)
@click.pass_context
def noise(
    ctx: click.Context,
    model: Path,
    converted: Path | None,
    data: Data,
    calibration: str,
    operators: str,
    plan: Plan,
    selection: Selection,
    input_shapes: InputShapes,
    kinds: frozenset[str],
    threads: int,
    top: int,
    display: Display,
) -> None:
    """Measure what each layer of MODEL loses where it alone is quantised, its weights, its activations and both, and
    what each block loses where it alone is tiled: at the outputs and on the spot, the worst first.

    Layers are quantised as CONVERTED is, where that is a quantised model (QDQ) made of MODEL; else as quantise would do
    it, with ranges from the same data. Blocks are tiled where CONVERTED is, or as the options of a tiling say. Nothing
    is written.

    \b
    Examples:
      tse-onnx noise model.onnx --data images/ --limit 50
      tse-onnx noise model.onnx eight.onnx --data images/ --plot noise.svg
      tse-onnx noise model.onnx --data images/ --rows 7
    """
    from tse_onnx.files.source import open_model
    from tse_onnx.layerwise.noise import noise as run
    from tse_onnx.layerwise.quantisers import is_quantised
    from tse_onnx.quantisation.qdq.scheme import Scheme
    from tse_onnx.report.noise import NoiseView

    if converted is not None and str(model) == str(converted) == "-":
        raise click.UsageError("one of the models comes from standard input; name a file for the other")
    source = open_model(given_model(model))
    other = None if converted is None else open_model(given_model(converted))
    scheme: Scheme | None = Scheme(calibration, operators)
    if other is not None and is_quantised(other.model):
        if said := given(ctx, _SCHEME):
            raise click.UsageError(f"{said[0]} says how to quantise MODEL; {other.title} has quantisers already")
        leave_out(ctx, _SCHEME)
        scheme = None
    asked = _asked(ctx, converted)
    if not asked:
        leave_out(ctx, OPTION_NAMES)
    with stages_bar() as progress:
        found = run(
            source, other, data=data, scheme=scheme, plan=plan if asked else None, selection=selection,
            input_shapes=input_shapes, kinds=kinds, threads=threads, progress=progress,
        )  # fmt: skip
    view = NoiseView(found, top)
    display.write(view)
    display.show(view)


def _asked(ctx: click.Context, converted: Path | None) -> bool:
    """Whether a tiling was asked for: beside a model that may say its own, by somebody who typed it."""
    if converted is not None:
        return bool(given(ctx, OPTION_NAMES))
    return any(ctx.get_parameter_source(name) != ParameterSource.DEFAULT for name in OPTION_NAMES)
