"""`tse-onnx inspect`: the blocks of a model, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.display import Display, display_options
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import given_model, input_shape_option, kinds_option, model_argument

if TYPE_CHECKING:
    from tse_onnx.decision.inputs import InputShapes


@click.command(cls=Command)
@model_argument
@input_shape_option
@kinds_option
@display_options()
def inspect(model: Path, input_shapes: InputShapes, kinds: frozenset[str], display: Display) -> None:
    """Show the squeeze-and-excite blocks of MODEL, why other poolings are none, and what else stops a stream of rows.
    Nothing is written.

    MODEL is an ONNX file, or - for standard input.

    \b
    Examples:
      tse-onnx inspect model.onnx
      tse-onnx inspect model.onnx --format json | jq '.blocks[].status'
    """
    from tse_onnx.conversion.inspect import inspect as inspected
    from tse_onnx.report.convert import InspectView

    display.show(InspectView(inspected(given_model(model), input_shapes=input_shapes, kinds=kinds)))
