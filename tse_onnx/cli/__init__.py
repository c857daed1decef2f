"""The command line: `tse-onnx check`, `convert`, `diff`, `distil`, `doctor`, `equalise`, `evaluate`, `explain`,
`finetune`, `fold`, `inspect`, `plan`, `profile`, `quantise`, `report`, `restore`, `sensitivity`, `stream`, `targets`,
`tune`, `verify`.

Exit codes: 0 done, 1 a check failed, 2 bad usage or bad input, 70 a fault of the program itself, 74 the output was
written but standard output could not be, 130 interrupted (143 by SIGTERM, and so on: 128 and the signal's number), 141
the reader of the output went away. An error is one line on standard error.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from tse_onnx.cli.commands import Commands
from tse_onnx.cli.configuration import configuration_options, configure
from tse_onnx.cli.diagnosis import (
    INTERNAL_ERROR,
    Log,
    debugging,
    diagnosis_options,
    print_traceback,
    verbosity,
    version_option,
)
from tse_onnx.cli.display import REST, WORDS
from tse_onnx.cli.help import write_commands, write_options
from tse_onnx.cli.streams import standard_streams
from tse_onnx.errors import CheckFailed, TseError
from tse_onnx.files.written import noting
from tse_onnx.passes.reasons import printable
from tse_onnx.passes.settings import as_options


class _Terminated(BaseException):
    """A signal that would end the process, as a job that took too long gets it. First what is staged has to go."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


# SIGQUIT is none of them: it ends what does not react to the others, and leaves a core to look at.
_ENDING = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGXCPU")
_USUAL: dict[int, Any] = {signal.SIGINT: signal.default_int_handler} | {
    getattr(signal, name): signal.SIG_DFL for name in _ENDING if hasattr(signal, name)
}
"""The signals that end a command, and what they do where nobody has said anything about them."""

_HALF_DONE = 74
"""The exit code where the output has its name and standard output is full: EX_IOERR of sysexits.h."""
_MOMENT = 5.0
"""Seconds in which a second signal, as of an impatient user, does not disturb the removal of what was staged."""


@contextlib.contextmanager
def _signals() -> Iterator[list[BaseException]]:
    """Raise for signals that end a command, where nobody has taken or switched them off; the list has what was raised.

    Once there is something in it the process ends, and does so undisturbed.
    """
    raised: list[BaseException] = []
    last = -math.inf

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if _importing(frame):  # native modules turn what is raised in them into an ImportError, and stay half made
            again = threading.Timer(0.1, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        last, before = time.monotonic(), last
        if last - before > _MOMENT:
            raised.append(KeyboardInterrupt() if number == signal.SIGINT else _Terminated(number))
            raise raised[-1]

    ours = threading.current_thread() is threading.main_thread()
    taken = {number: usual for number, usual in _USUAL.items() if ours and signal.getsignal(number) == usual}
    for number in taken:
        signal.signal(number, stop)
    try:
        yield raised
    finally:
        for number, usual in taken.items():
            signal.signal(number, signal.SIG_IGN if raised else usual)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


# The program without arguments shows its help; older releases of click have no error for that.
_HELPFUL: tuple[type[Exception], ...] = tuple(filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)]))


class _Group(click.Group):
    """Turns the library's errors into one line and an exit code, and its log into lines where that is asked for."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_commands(self.list_commands(ctx), formatter)
        write_options(self, ctx, formatter)

    def main(self, *arguments: Any, **named: Any) -> Any:
        with standard_streams(), as_options():
            if sys.stdout is None:
                _fail("standard output is closed; with >/dev/null nobody has to read what is printed", 2)
            try:
                return super().main(*arguments, **named)
            except OSError as error:  # of the script for completion in a shell, which comes before everything else
                _report(error, ())

    def make_context(self, info_name: str | None, args: list[str], *others: Any, **named: Any) -> click.Context:
        words = list(args)  # which are taken away one by one
        try:
            context = super().make_context(info_name, args, *others, **named)
            context.meta[WORDS] = words
            context.meta[REST] = len(getattr(context, "_protected_args", ())) + len(context.args)
            return context
        except _HELPFUL:
            raise
        except (OSError, click.UsageError) as error:  # of --help and --version, which are printed meanwhile
            _report(error, ())

    def invoke(self, ctx: click.Context) -> Any:
        _collect_rarely()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal without × shows ?, and is no reason to fail
        log = ctx.ensure_object(Log)
        log.show(verbosity(ctx))
        with _signals() as raised, noting() as written:
            try:
                with warnings.catch_warnings():
                    if not sys.warnoptions:  # numpy's, of models that compute what is no number: no line of ours
                        warnings.simplefilter("ignore")
                    configure(ctx, self)
                    result = super().invoke(ctx)
                sys.stdout.flush()
                return result
            except click.exceptions.Exit:
                raise
            except (Exception, KeyboardInterrupt, _Terminated) as error:
                if debugging(ctx):
                    print_traceback(error)
                _report(raised[0] if raised and isinstance(error, Exception) else error, written)
            finally:
                log.close()


def _report(error: BaseException, written: Sequence[str]) -> NoReturn:
    """Say what went wrong, in one line, and exit with the code for it."""
    match error:
        case KeyboardInterrupt() | _Terminated():
            there = f"{printable(' and '.join(written))} was written" if written else "nothing was written"
            click.echo(f"Interrupted: {str(error) or there}.", err=True)
            _leave(128 + (error.number if isinstance(error, _Terminated) else signal.SIGINT))
        case TseError():
            _fail(str(error), 1 if isinstance(error, CheckFailed) else 2)
        case click.UsageError():
            path = error.ctx.command_path if error.ctx is not None else "tse-onnx"
            _fail(f"{error.format_message().rstrip('.')}; see {path} --help", 2)
        case MemoryError():
            _fail("out of memory", 2)
        case BrokenPipeError():
            _drop_output()
            sys.exit(141)
        case OSError(filename=None):
            _drop_output()
            if written:
                _fail(f"{' and '.join(written)} was written; standard output cannot be: {_why(error)}", _HALF_DONE)
            _fail(f"cannot write to standard output: {_why(error)}", 2)
        case OSError():
            _fail(f"cannot use {error.filename}: {_why(error)}", 2)
    _fail(f"internal error: {type(error).__name__}: {error}; run with --debug and report it", INTERNAL_ERROR)


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"Error: {printable(text)}", err=True)
    _leave(code)


def _leave(code: int) -> NoReturn:
    """Exit; at once, where native code that cannot be stopped would crash in an interpreter that ends around it."""
    from tse_onnx.runtime.deadline import abandoned

    if abandoned():
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _drop_output() -> None:
    """Let the interpreter's last flush of standard output go nowhere: it has failed once."""
    with contextlib.suppress(OSError):  # what is no file of the system's is flushed by whoever has made it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _collect_rarely() -> None:
    """Keep the cycle collector from walking, again and again, over libraries and models that live until the end."""
    gc.set_threshold(1_000_000)
    atexit.register(gc.freeze)


@click.group(
    cls=_Group,
    commands=Commands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@version_option
def main() -> None:
    """Tile the squeeze-and-excite blocks of ONNX models, so that a dataflow accelerator need not buffer whole maps.

    \b
    Examples:
      tse-onnx inspect model.onnx
      tse-onnx report model.onnx --rows 7
      tse-onnx convert model.onnx tiled.onnx --rows 7
      tse-onnx tune model.onnx --data images/ --reduce 40% -o plan.toml
      tse-onnx convert model.onnx tiled.onnx --plan plan.toml
    """


main.params.extend([*configuration_options(), *diagnosis_options()])
