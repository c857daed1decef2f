"""Where what a command makes goes: a file, or standard output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tse_onnx.errors import UsageError
from tse_onnx.files.outputs import file_path


class OutputPath(click.Path):
    """A file to be written; what is spelled as a directory is refused."""

    def __init__(self, *, allow_dash: bool = False) -> None:
        super().__init__(path_type=Path, allow_dash=allow_dash)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; `ModelError` as `file_path` raises it."""
        file_path(value)
        return super().convert(value, param, ctx)


def is_stdout(output: Path | None) -> bool:
    """Whether an output is spelled `-`."""
    return str(output) == "-"


def words(output: Path) -> str:
    """An output in a sentence."""
    return "standard output" if is_stdout(output) else str(output)


def pour(data: bytes) -> None:
    """Write what a command made to standard output, as it is."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def refuse_terminal() -> None:
    """Raise `UsageError` where a model for standard output would be shown on a terminal."""
    if sys.stdout.isatty():
        raise UsageError("a model is not written to a terminal: name a file, or send it on with > or |")
