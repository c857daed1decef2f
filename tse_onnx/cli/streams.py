"""The standard streams as a process may find them: closed, or where nothing can be written."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Forgiving(io.FileIO):
    """A file whose writes do not fail: what cannot be written is lost."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what can be written; all of it counts as written."""
        with contextlib.suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Have a standard error that takes everything, also where it is closed, full or without a reader: that nobody can
    be told is no reason to do less, nor for another exit code.

    Closed streams become the null device as far as the system is concerned. Otherwise the next file that is opened
    would take their place, and what native code says would end up in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    before = sys.stderr
    sys.stderr = _forgiving(before)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        sys.stderr = before


def _forgiving(stream: TextIO | None) -> TextIO:
    """Where `stream` writes to, or to nowhere; itself where it is no file of the system's."""
    if stream is None:
        return io.TextIOWrapper(_buffered(os.open(os.devnull, os.O_WRONLY), True), "utf-8", "replace")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(_buffered(number, False), stream.encoding, "replace", line_buffering=True)


def _buffered(number: int, ours: bool) -> io.BufferedWriter:
    return io.BufferedWriter(_Forgiving(number, "w", closefd=ours))
