"""`tse-onnx inspect`: the blocks of a model, and what is refused."""

from __future__ import annotations

from pathlib import Path

import click

from tse_onnx.cli.options import (  # fmt: skip
    format_option,
    given_model,
    input_shape_option,
    kinds_option,
    model_argument,
    parse_kinds,
    parse_shapes,
    print_json,
)


@click.command()
@model_argument
@input_shape_option
@kinds_option
@format_option
def inspect(model: Path, input_shapes: tuple[str, ...], kinds: str, form: str) -> None:
    """Show the squeeze-and-excite blocks of MODEL, and why other poolings are none. Nothing is written.

    MODEL is an ONNX file, or - for standard input.

    \b
    Examples:
      tse-onnx inspect model.onnx
      tse-onnx inspect model.onnx --format json | jq '.blocks[] | select(.status == "refused")'
    """
    from tse_onnx.decision.analysis import analyse
    from tse_onnx.files.source import open_model

    source = open_model(given_model(model))
    blocks = analyse(source, parse_shapes(input_shapes), parse_kinds(kinds)).blocks
    if form == "json":
        from tse_onnx.conversion.schema import inspect_json

        print_json(inspect_json(source.title, source.opset, blocks))
    else:
        from tse_onnx.report.convert import print_inspection
        from tse_onnx.report.page import page

        print_inspection(page(), source.title, blocks)
