"""What helps where something went wrong: the log, tracebacks, versions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.passes.reasons import printable
from tse_onnx.version import VERSION

if TYPE_CHECKING:
    import logging

INTERNAL_ERROR = 70
"""The exit code of a fault in the program itself: EX_SOFTWARE of sysexits.h."""

_VERBOSE, _DEBUG = "tse_onnx.verbose", "tse_onnx.debug"
_DISTRIBUTIONS = ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy", "protobuf", "click")


class Log:
    """The library's log on standard error, from the first `-v` on until it is closed."""

    def __init__(self) -> None:
        self._handler: logging.Handler | None = None
        self._notes: list[str] = []

    def note(self, text: str) -> None:
        """Say something at INFO, as soon as the log is shown."""
        self._notes.append(text)
        self._say_notes()

    def _say_notes(self) -> None:
        if self._handler is not None:
            import logging

            while self._notes:
                logging.getLogger(__name__).info(self._notes.pop(0))

    def show(self, verbose: int) -> None:
        """Show nothing (0), decisions and times (1), or every block and check as well (2)."""
        if not verbose:
            return
        import logging

        if self._handler is None:
            self._handler = logging.StreamHandler(sys.stderr)
            self._handler.setFormatter(_formatter())
            logging.getLogger("tse_onnx").addHandler(self._handler)
            logging.getLogger("tse_onnx").setLevel(logging.INFO)
            logging.getLogger(__name__).info("; ".join(versions()))
            self._say_notes()
        logging.getLogger("tse_onnx").setLevel(logging.INFO if verbose == 1 else logging.DEBUG)

    def close(self) -> None:
        """Leave logging as it was."""
        if self._handler is not None:
            import logging

            logging.getLogger("tse_onnx").removeHandler(self._handler)
            logging.getLogger("tse_onnx").setLevel(logging.NOTSET)
            self._handler = None


def _formatter() -> logging.Formatter:
    import logging

    class Printable(logging.Formatter):
        """One line to a record, in which no name can steer the terminal."""

        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record))

    return Printable("%(name)s: %(message)s")


def _more(ctx: click.Context, option: click.Parameter, count: int) -> None:
    ctx.meta[_VERBOSE] = verbosity(ctx) + count
    if isinstance(log := ctx.find_object(Log), Log):
        log.show(verbosity(ctx))


def _debug(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    ctx.meta[_DEBUG] = ctx.meta.get(_DEBUG, False) or value


def verbosity(ctx: click.Context) -> int:
    """How often `-v` was given so far."""
    return int(ctx.meta.get(_VERBOSE, 0))


def debugging(ctx: click.Context) -> bool:
    """Whether errors are shown with their tracebacks."""
    return bool(ctx.meta.get(_DEBUG))


def print_traceback(error: BaseException) -> None:
    """The traceback of an error on standard error, fit for a terminal, behind the versions: a whole bug report."""
    import traceback

    for line in (*versions(), *"".join(traceback.format_exception(error)).splitlines()):
        click.echo(printable(line), err=True)


def versions() -> list[str]:
    """The versions that a behaviour may depend on, one to a line; nothing is imported for them."""
    import os
    import platform
    from importlib import metadata

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return "is not installed under this name"

    processors = f"{len(os.sched_getaffinity(0))} of " if hasattr(os, "sched_getaffinity") else ""
    return [
        f"tse-onnx {VERSION}",
        f"Python {platform.python_version()} ({platform.python_implementation()})",
        *(f"{name} {version(name)}" for name in _DISTRIBUTIONS),
        f"{platform.platform()}, {processors}{os.cpu_count()} processors",
    ]


def _print_versions(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo("\n".join(versions()))
        ctx.exit()


version_option = click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_versions,
    help="Show the versions of this, of Python and of the packages that matter, and exit.",
)  # fmt: skip


def diagnosis_options() -> list[click.Parameter]:
    """The options that the program and each of its commands take: `-v convert` and `convert -v` are the same."""
    shared: dict[str, Any] = {"expose_value": False, "is_eager": True}
    return [
        click.Option(
            ["-v", "--verbose"], count=True, callback=_more, **shared,
            help="Log what is decided and how long it takes, on standard error; -vv each block and check as well.",
        ),
        click.Option(
            ["--debug"], is_flag=True, callback=_debug, **shared,
            help="Show versions and a traceback with every error, for a bug report.",
        ),
    ]  # fmt: skip
