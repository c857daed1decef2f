"""The command line: `tse-onnx convert`, `inspect`, `report`.

Exit codes: 0 done, 1 a check failed, 2 bad usage or bad input, 130 interrupted. An error is one line on standard error.
"""

from __future__ import annotations

import atexit
import gc
import sys
from typing import Any

import click

from tse_onnx.cli.convert import convert
from tse_onnx.cli.inspect import inspect
from tse_onnx.cli.report import report
from tse_onnx.errors import CheckFailed, TseError
from tse_onnx.passes.reasons import printable
from tse_onnx.version import VERSION


class _Group(click.Group):
    """Turns the library's errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        _collect_rarely()
        try:
            return super().invoke(ctx)
        except TseError as error:
            click.echo(f"Error: {printable(str(error))}", err=True)
            sys.exit(1 if isinstance(error, CheckFailed) else 2)
        except KeyboardInterrupt:
            click.echo("Interrupted: nothing was written.", err=True)
            sys.exit(130)
        except MemoryError:
            click.echo("Error: out of memory.", err=True)
            sys.exit(2)


def _collect_rarely() -> None:
    """Keep the cycle collector from walking, again and again, over libraries and models that live until the end."""
    gc.set_threshold(1_000_000)
    atexit.register(gc.freeze)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="tse-onnx")
def main() -> None:
    """Tile the squeeze-and-excite blocks of ONNX models, so that a dataflow accelerator need not buffer whole maps.

    \b
    Examples:
      tse-onnx inspect model.onnx                        which blocks there are
      tse-onnx report model.onnx --rows 7                what they buffer, before and after
      tse-onnx convert model.onnx tiled.onnx --rows 7    rewrite, verify, report
    """


main.add_command(convert)
main.add_command(inspect)
main.add_command(report)
