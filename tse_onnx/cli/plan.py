"""`tse-onnx plan`: the choices for every block of a model, as a file to edit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.options import (
    given_model,
    input_shape_option,
    kinds_option,
    model_argument,
    parse_kinds,
    parse_shapes,
)
from tse_onnx.cli.tiling import tiling_options

if TYPE_CHECKING:
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection


@click.command("plan")
@model_argument
@tiling_options
@input_shape_option
@kinds_option
def write_plan(model: Path, plan: Plan, selection: Selection, input_shapes: tuple[str, ...], kinds: str) -> None:
    """Print a plan for MODEL: a TOML file with a line for every block, to edit by hand and give to --plan.

    The options are those of convert, and say what the plan begins with. MODEL is an ONNX file, or - for standard input.

    \b
    Examples:
      tse-onnx plan model.onnx --rows 7 > plan.toml
      tse-onnx plan model.onnx --plan plan.toml --exclude '*stage4*' > other.toml
    """
    from tse_onnx.conversion.convert import draft
    from tse_onnx.decision.plan_file import plan_text

    shapes = parse_shapes(input_shapes)
    made = draft(
        given_model(model), plan=plan, selection=selection, input_shapes=shapes, kinds=parse_kinds(kinds)
    ).report
    decisions = (block.decision for block in made.buffering.blocks)
    # TOML is UTF-8, whatever the terminal's encoding.
    sys.stdout.buffer.write(plan_text(made.plan, decisions).encode())
