"""`tse-onnx targets`: the compilers and devices whose limits are known."""

from __future__ import annotations

import click

from tse_onnx.cli import completion
from tse_onnx.cli.display import Display, display_options
from tse_onnx.cli.help import Command


@click.command(cls=Command)
@click.argument("target", nargs=-1, metavar="[NAME|FILE]...", shell_complete=completion.targets)
@display_options()
def targets(target: tuple[str, ...], display: Display) -> None:
    """List the compilers and devices whose limits are known, and what says so.

    With names or .toml files, those alone.

    \b
    Examples:
      tse-onnx targets
      tse-onnx targets ascend board.toml
    """
    from tse_onnx.report.targets import TargetsView
    from tse_onnx.targets.known import TARGETS
    from tse_onnx.targets.target_file import target_of

    display.show(TargetsView([target_of(name) for name in target or TARGETS]))
