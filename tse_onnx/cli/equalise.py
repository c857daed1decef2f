"""`tse-onnx equalise`: scales of channels exchanged between layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.help import Command
from tse_onnx.cli.options import given_model, input_shape_option, model_argument
from tse_onnx.cli.output import OutputPath, is_stdout, pour, refuse_terminal, words

if TYPE_CHECKING:
    from tse_onnx.decision.inputs import InputShapes


@click.command(cls=Command)
@model_argument
@click.argument("output", type=OutputPath(allow_dash=True))
@click.option(
    "--powers-of-two", is_flag=True,
    help="Exchange powers of two alone, which change no bit of what the network computes.",
)  # fmt: skip
@input_shape_option
@click.option(
    "--verify/--no-verify", default=True, show_default=True,
    help="Compare the network's outputs with the original's in onnxruntime before anything is written.",
)  # fmt: skip
def equalise(model: Path, output: Path, powers_of_two: bool, input_shapes: InputShapes, verify: bool) -> None:
    """Exchange scales of channels between layers of MODEL, so that each channel has the same range in the layer that
    makes it and in those that read it, and write OUTPUT.

    That changes nothing where all that lies between two layers is positively homogeneous, as Relu, pooling, residual
    additions and the multiplication with a gate are; a quantiser then loses less. restore is the way back. OUTPUT may
    be MODEL itself; - stands for standard input and output.

    \b
    Examples:
      tse-onnx equalise model.onnx equalised.onnx
      tse-onnx equalise model.onnx equalised.onnx --powers-of-two
      tse-onnx restore equalised.onnx model.onnx
    """
    from tse_onnx.conversion.equalise import equalise as run
    from tse_onnx.passes.reasons import printable
    from tse_onnx.report.equalise import told

    to_stdout = is_stdout(output)
    if to_stdout:
        refuse_terminal()
    result = run(
        given_model(model),
        None if to_stdout else output,
        powers_of_two=powers_of_two,
        input_shapes=input_shapes,
        verify=verify,
    )
    if to_stdout:
        pour(result.serialized())
    for line in told(result, words(output)):
        click.echo(printable(line), err=to_stdout)
