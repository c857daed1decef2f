"""`tse-onnx restore`: the model as it was before it was tiled."""

from __future__ import annotations

from pathlib import Path

import click

from tse_onnx.cli.help import Command
from tse_onnx.cli.options import given_model, model_argument
from tse_onnx.cli.output import OutputPath, is_stdout, pour, refuse_terminal, words


@click.command(cls=Command)
@model_argument
@click.argument("output", type=OutputPath(allow_dash=True))
def restore(model: Path, output: Path) -> None:
    """Undo the conversions of MODEL, the exchange of scales by equalise and the biases that quantise corrected, and
    write the model that it was to OUTPUT, byte for byte outside its metadata.

    The graph is compared with a digest of the original first. If another tool changed MODEL since, its blocks are put
    back by the names of their values, and checked; if that cannot be done, the exit code is 2 and nothing is written.
    OUTPUT may be MODEL itself; - stands for standard input and output.

    \b
    Examples:
      tse-onnx restore tiled.onnx model.onnx
      tse-onnx restore model.onnx model.onnx
    """
    from tse_onnx.conversion.restore import restore as run

    to_stdout = is_stdout(output)
    if to_stdout:
        refuse_terminal()
    result = run(given_model(model), None if to_stdout else output)
    if to_stdout:
        pour(result.serialized())
    where = words(output)
    parts = [_count(len(found), what) for found, what in ((result.blocks, "block"), (result.biases, "bias")) if found]
    parts += ["the scales of all layers"] * result.equalised
    if parts:
        text = f"Restored {' and '.join(parts)}; written to {where}."
        if not result.exact:
            text += " Another tool has changed the model since it was converted: all but the blocks is as that left it."
    else:
        text = f"No block is tiled; the model was written unchanged to {where}."
    from tse_onnx.passes.reasons import printable

    click.echo(printable(text), err=to_stdout)


def _count(number: int, what: str) -> str:
    ending = "" if number == 1 else "es" if what.endswith("s") else "s"
    return f"{number} {what}{ending}"
