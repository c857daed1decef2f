"""`tse-onnx fold`: strides exchanged for a space-to-depth in front of a convolution, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.display import HTML, Display, display_options
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import given_model, input_shape_option, model_argument
from tse_onnx.cli.output import OutputPath, is_stdout, pour, refuse_terminal, words

if TYPE_CHECKING:
    from tse_onnx.decision.inputs import InputShapes


@click.command(cls=Command)
@model_argument
@click.argument("output", type=OutputPath(allow_dash=True))
@click.option(
    "--unfold", "back", is_flag=True,
    help="The way back: a convolution on a folded map becomes one with a stride on the map itself.",
)  # fmt: skip
@click.option(
    "--factor", type=click.IntRange(2), metavar="N",
    help="Fold by N; with --unfold, those alone that are folded by N.  [default: all that its strides have in common]",
)  # fmt: skip
@click.option(
    "--node", "nodes", multiple=True, metavar="NAME",
    help="Only this convolution, by its name or its output: one that cannot be changed is an error. May be repeated.",
)  # fmt: skip
@input_shape_option
@click.option(
    "--verify/--no-verify", default=True, show_default=True,
    help="Compare each convolution with the original's before anything is written.",
)  # fmt: skip
@display_options(html=HTML)
def fold(
    model: Path,
    output: Path,
    back: bool,
    factor: int | None,
    nodes: tuple[str, ...],
    input_shapes: InputShapes,
    verify: bool,
    display: Display,
) -> None:
    """Fold the maps that strided convolutions of MODEL read, so that pixels become channels, and write OUTPUT.

    A convolution with a stride is one without on a map folded by that stride, with its weights laid anew and filled up
    with zeros: the same products, added in another order. OUTPUT may be MODEL itself; - stands for standard input and
    output.

    \b
    Examples:
      tse-onnx fold model.onnx folded.onnx --node /stem/Conv
      tse-onnx fold folded.onnx model.onnx --unfold
    """
    from tse_onnx.conversion import fold as library
    from tse_onnx.report.fold import FoldView

    to_stdout = is_stdout(output)
    if to_stdout:
        refuse_terminal()
    run = library.unfold if back else library.fold
    with display.sharing() as share:
        result = run(
            given_model(model),
            None if to_stdout else output,
            factor=factor,
            nodes=nodes,
            input_shapes=input_shapes,
            verify=verify,
        )
        if to_stdout:
            pour(result.serialized())
        view = FoldView(result, words(output))
        share(view, None, None)
    display.show(view, err=to_stdout)
