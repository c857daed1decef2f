"""`tse-onnx report`: what the blocks of a model buffer, before and after, without writing anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.options import (
    format_option,
    given_model,
    input_shape_option,
    kinds_option,
    model_argument,
    parse_kinds,
    parse_shapes,
    print_json,
)
from tse_onnx.cli.tiling import tiling_options

if TYPE_CHECKING:
    from tse_onnx.plan import Plan
    from tse_onnx.selection import Selection


@click.command()
@model_argument
@tiling_options
@input_shape_option
@kinds_option
@format_option
def report(model: Path, plan: Plan, selection: Selection, input_shapes: tuple[str, ...], kinds: str, form: str) -> None:
    """Show what the squeeze-and-excite blocks of MODEL buffer, and what they would with tiles.

    MODEL is an ONNX file, or - for standard input. Nothing is written.

    \b
    Examples:
      tse-onnx report model.onnx --rows 7
      tse-onnx report model.onnx --rows 3 --input-shape images:1,3,384,384
      tse-onnx report model.onnx --squeeze running --rows 3
      tse-onnx report model.onnx --format json | jq .totals
    """
    from tse_onnx.conversion import preview

    shapes = parse_shapes(input_shapes)
    made = preview(given_model(model), plan=plan, selection=selection, input_shapes=shapes, kinds=parse_kinds(kinds))
    if form == "json":
        from tse_onnx.report.json import report_json

        print_json(report_json(made))
    else:
        from tse_onnx.report.page import page
        from tse_onnx.report.terminal import print_report

        print_report(page(), made, "Nothing was written: this is what a conversion would do.")
