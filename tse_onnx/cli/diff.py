"""`tse-onnx diff`: what changed from one report to another."""

from __future__ import annotations

from pathlib import Path

import click

from tse_onnx.cli.display import Display, display_options, quiet_option
from tse_onnx.cli.help import Command


@click.command(cls=Command)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@display_options(quiet_option)
def diff(a: Path, b: Path, display: Display) -> None:
    """Show what changed from report A to report B: in the verdict, block by block, in the whole network.

    Both are JSON files that convert, tune or distil wrote with --report, or report or stream printed with --format
    json. The exit code is 0 whatever changed: bounds are what --max-buffer and its like are for.

    \b
    Examples:
      tse-onnx diff before.json after.json
      tse-onnx diff main.json branch.json --format markdown > summary.md
      tse-onnx diff a.json b.json --format json | jq '.blocks[].name'
    """
    from tse_onnx.difference.diff import diff as compared
    from tse_onnx.report.diff import DiffView

    display.show(DiffView(compared(a, b)))
