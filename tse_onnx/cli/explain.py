"""`tse-onnx explain`: how a candidate was read, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli import completion
from tse_onnx.cli.display import Display, display_options
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import given_model, input_shape_option, model_argument

if TYPE_CHECKING:
    from tse_onnx.decision.inputs import InputShapes


@click.command(cls=Command)
@model_argument
@click.argument("node", required=False, shell_complete=completion.nodes)
@input_shape_option
@display_options()
def explain(model: Path, node: str | None, input_shapes: InputShapes, display: Display) -> None:
    """Tell how the poolings of MODEL were read: what matched, and where it stopped.

    NODE is a block's name, or a node or tensor of it; without it every candidate is told. All kinds of blocks are
    looked for. MODEL is an ONNX file, or - for standard input.

    \b
    Examples:
      tse-onnx explain model.onnx
      tse-onnx explain model.onnx /features/1/avgpool/GlobalAveragePool
    """
    from tse_onnx.decision.explanation import explain as stories
    from tse_onnx.report.convert import ExplainView

    display.show(ExplainView(stories(given_model(model), node, input_shapes=input_shapes)))
