"""The command line: `tse-onnx convert`, `explain`, `inspect`, `plan`, `report`, `restore`, `stream`.

Exit codes: 0 done, 1 a check failed, 2 bad usage or bad input, 130 interrupted (143 by SIGTERM), 141 the reader of the
output went away. An error is one line on standard error.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import threading
import warnings
from typing import Any, NoReturn

import click

from tse_onnx.cli.convert import convert
from tse_onnx.cli.explain import explain
from tse_onnx.cli.inspect import inspect
from tse_onnx.cli.plan import write_plan
from tse_onnx.cli.report import report
from tse_onnx.cli.restore import restore
from tse_onnx.cli.stream import stream as stream_command
from tse_onnx.errors import CheckFailed, TseError
from tse_onnx.passes.reasons import printable
from tse_onnx.version import VERSION


class _Terminated(BaseException):
    """SIGTERM, as a job that took too long gets it: what is staged has to be removed first."""


def _terminate(number: int, frame: object) -> NoReturn:
    raise _Terminated


class _Group(click.Group):
    """Turns the library's errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        _collect_rarely()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal without × shows ?, and is no reason to fail
        ours = threading.current_thread() is threading.main_thread()
        catches = ours and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if catches:
            signal.signal(signal.SIGTERM, _terminate)
        try:
            with warnings.catch_warnings():
                if not sys.warnoptions:  # numpy's, of models that compute what is no number: no line of ours
                    warnings.simplefilter("ignore")
                result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except TseError as error:
            _fail(str(error), 1 if isinstance(error, CheckFailed) else 2)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx is not None else "tse-onnx"
            _fail(f"{error.format_message().rstrip('.')}; see {path} --help", 2)
        except (KeyboardInterrupt, _Terminated) as stop:
            click.echo("Interrupted: nothing was written.", err=True)
            sys.exit(143 if isinstance(stop, _Terminated) else 130)
        except MemoryError:
            _fail("out of memory", 2)
        except BrokenPipeError:
            _drop_output()
            sys.exit(141)
        except OSError as error:
            _drop_output()
            _fail(f"cannot write to standard output: {error.strerror or error}", 2)
        finally:
            if catches:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"Error: {printable(text)}", err=True)
    sys.exit(code)


def _drop_output() -> None:
    """Let the interpreter's last flush of standard output go nowhere: it has failed once."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
      tse-onnx explain model.onnx NODE                   why this one is a block, or none
      tse-onnx report model.onnx --rows 7                what they buffer, before and after
      tse-onnx convert model.onnx tiled.onnx --rows 7    rewrite, verify, report
      tse-onnx plan model.onnx --rows 7 > plan.toml      choices block by block, to edit and give to --plan
      tse-onnx restore tiled.onnx model.onnx             the way back
      tse-onnx stream model.onnx                         what every tensor holds while rows stream in
    """


main.add_command(convert)
main.add_command(explain)
main.add_command(inspect)
main.add_command(write_plan)
main.add_command(report)
main.add_command(restore)
main.add_command(stream_command)
