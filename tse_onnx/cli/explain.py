"""`tse-onnx explain`: how a candidate was read, step by step."""

from __future__ import annotations

from pathlib import Path

import click

from tse_onnx.cli.options import (
    format_option,
    given_model,
    input_shape_option,
    model_argument,
    parse_shapes,
    print_json,
)


@click.command()
@model_argument
@click.argument("node", required=False)
@input_shape_option
@format_option
def explain(model: Path, node: str | None, input_shapes: tuple[str, ...], form: str) -> None:
    """Tell how the poolings of MODEL were read: what matched, and where it stopped.

    NODE is a block's name, or a node or tensor of it; without it every candidate is told. All kinds of blocks are
    looked for. MODEL is an ONNX file, or - for standard input.

    \b
    Examples:
      tse-onnx explain model.onnx
      tse-onnx explain model.onnx /features/1/avgpool/GlobalAveragePool
    """
    from tse_onnx.decision.explanation import explain as stories

    told = stories(given_model(model), node, input_shapes=parse_shapes(input_shapes))
    if form == "json":
        from tse_onnx.conversion.schema import explain_json

        print_json(explain_json(told))
        return
    from tse_onnx.report.convert import print_story
    from tse_onnx.report.page import page

    out = page()
    for story in told:
        print_story(out, story)
