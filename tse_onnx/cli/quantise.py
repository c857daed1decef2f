"""`tse-onnx quantise`: a network in eight bits, its biases corrected, and what that loses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.data_options import calibration_options
from tse_onnx.cli.display import Display, display_options, quiet_option
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import given_model, input_shape_option, model_argument, threads_option
from tse_onnx.cli.output import OutputPath, is_stdout, pour, refuse_terminal, words
from tse_onnx.cli.progress import stages_bar
from tse_onnx.cli.scheme_options import calibration_option, operators_option

if TYPE_CHECKING:
    from tse_onnx.data.choice import Data
    from tse_onnx.decision.inputs import InputShapes


@click.command(cls=Command)
@model_argument
@click.argument("output", type=OutputPath(allow_dash=True))
@calibration_options
@calibration_option
@operators_option
@click.option(
    "--keep", multiple=True, metavar="N|NODE",
    help="Leave the N layers in float that lose most where they alone are quantised, or this layer, by the name of its "
    "node or of its output. May be repeated.",
)  # fmt: skip
@click.option(
    "--keep-loss", type=click.FloatRange(min=0), metavar="X",
    help="Leave as few of those that lose most in float as keep the divergence from the float network (or the noise, "
    "where outputs are no classes) within X, on the samples of the ranges.",
)  # fmt: skip
@click.option(
    "--correct", type=click.Choice(["bias"]),
    help="Move the bias of each convolution so that the mean of its output is what it was.",
)  # fmt: skip
@input_shape_option
@threads_option
@display_options(quiet_option, report="Write everything as JSON.")
def quantise(
    model: Path,
    output: Path,
    data: Data,
    calibration: str,
    operators: str,
    keep: tuple[str, ...],
    keep_loss: float | None,
    correct: str | None,
    input_shapes: InputShapes,
    threads: int,
    display: Display,
) -> None:
    """Quantise MODEL to eight bits by onnxruntime's tools, and write OUTPUT, with QuantizeLinear and DequantizeLinear.

    Activations become uint8 with one scale for each value, weights int8 with one for each output channel. Samples that
    were not calibrated on say what is lost. A model that is tiled already is quantised as any other, and restore undoes
    corrected biases. OUTPUT may be MODEL itself; - stands for standard input and output.

    \b
    Examples:
      tse-onnx quantise model.onnx eight.onnx --data images/ --correct bias
      tse-onnx quantise model.onnx eight.onnx --data images/ --keep 2
      tse-onnx quantise model.onnx eight.onnx --data images/ --keep /stem/Conv
      tse-onnx quantise model.onnx eight.onnx --data images/ --keep-loss 0.01
    """
    from tse_onnx.quantisation.quantise import quantise as run
    from tse_onnx.report.quantise import QuantiseView

    to_stdout = is_stdout(output)
    if to_stdout:
        refuse_terminal()
    with stages_bar() as progress:
        result = run(
            given_model(model),
            None if to_stdout else output,
            data=data,
            calibration=calibration,
            operators=operators,
            keep=keep,
            keep_loss=keep_loss,
            correct=correct,
            input_shapes=input_shapes,
            threads=threads,
            progress=progress,
        )
    view = QuantiseView(result, f"The quantised model was written to {words(output)}.")
    display.write(view)
    if to_stdout:
        pour(result.serialized())
    display.show(view, err=to_stdout)
