"""`tse-onnx check`: what of a model is outside a target's limits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli import completion
from tse_onnx.cli.display import Display, display_options, quiet_option
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import given_model, input_shape_option, model_argument

if TYPE_CHECKING:
    from tse_onnx.decision.inputs import InputShapes


@click.command(cls=Command)
@model_argument
@click.option(
    "--target", required=True, metavar="NAME|FILE", shell_complete=completion.targets,
    help="What it is checked for: a name that tse-onnx targets lists, or a .toml file with limits of your own.",
)  # fmt: skip
@input_shape_option
@display_options(quiet_option)
def check(model: Path, target: str, input_shapes: InputShapes, display: Display) -> None:
    """Say what of MODEL, converted or not, is outside the limits of a compiler or a device, node by node.

    Where a node is outside, or its size is not known, the exit code is 1. Nothing is written or run. MODEL is an ONNX
    file, or - for standard input.

    \b
    Examples:
      tse-onnx check tiled.onnx --target ascend
      tse-onnx check tiled.onnx --target board.toml --format json | jq .violations
    """
    from tse_onnx.report.targets import CheckView
    from tse_onnx.targets.check import check as checked

    found = checked(given_model(model), target, input_shapes=input_shapes)
    display.show(CheckView(found))
    found.require()
