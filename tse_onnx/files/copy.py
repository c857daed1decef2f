"""Copy a large file, as fast as the system can and without holding it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from tse_onnx.errors import ModelError

_CLONE = 0x40049409  # Linux's FICLONE: the copy shares the original's blocks until one of the two is written
_AT_ONCE = 2**26  # an interrupt waits for no more than this
_THROUGH_US = 2**20


def copy(source: Path, target: Path) -> None:
    """Copy `source` to `target`, which must not exist; holes stay holes.

    The mode is that of `source` as far as the umask lets it. Raises `ModelError` where `source` cannot be read, or
    changed meanwhile, and `OSError` where `target` cannot be written.
    """
    try:
        reading = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise ModelError(f"cannot read {source}: {error.strerror or error}") from error
    try:
        before = os.fstat(reading)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        writing = os.open(target, flags, before.st_mode & 0o777)
        try:
            if not _cloned(reading, writing):
                os.ftruncate(writing, before.st_size)
                for start, end in _extents(reading, before.st_size):
                    _copy_range(source, reading, writing, start, end)
        finally:
            os.close(writing)
        after = os.fstat(reading)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise ModelError(f"{source} changed while it was copied")
    finally:
        os.close(reading)


def identical(one: Path, other: Path) -> bool:
    """Whether two files have the same bytes."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb", buffering=0) as first, other.open("rb", buffering=0) as second:
        while piece := first.read(_THROUGH_US):
            if piece != second.read(_THROUGH_US):
                return False
        return not second.read(1)


def write_out(handle: int, start: int, count: int) -> None:
    """Let the system begin to write what was written there to the disk: a flush at the end then finds little to do."""
    with contextlib.suppress(AttributeError, OSError):  # not on every system, nor for every file system
        os.posix_fadvise(handle, start, count, os.POSIX_FADV_DONTNEED)


def _cloned(reading: int, writing: int) -> bool:
    try:
        import fcntl

        fcntl.ioctl(writing, _CLONE, reading)
    except (ImportError, OSError):
        return False
    return True


def _extents(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data: start and end of each stretch between its holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(handle, end, os.SEEK_DATA)
            end = os.lseek(handle, start, os.SEEK_HOLE)
        except (AttributeError, OSError) as error:
            if getattr(error, "errno", None) != errno.ENXIO:  # the system knows of no holes
                yield end, size
            return
        yield start, min(end, size)


def _copy_range(source: Path, reading: int, writing: int, start: int, end: int) -> None:
    while start < end:
        count = _copied_inside(reading, writing, start, min(end - start, _AT_ONCE))
        if not count:
            os.lseek(reading, start, os.SEEK_SET)
            piece = os.read(reading, min(end - start, _THROUGH_US))
            if not piece:
                raise ModelError(f"{source} changed while it was copied")
            os.lseek(writing, start, os.SEEK_SET)
            count = os.write(writing, piece)
        write_out(writing, start, count)
        start += count


def _copied_inside(reading: int, writing: int, start: int, count: int) -> int:
    """How much the kernel copied; 0 where it cannot, for whatever reason: the plain way meets it again and says it."""
    try:
        return os.copy_file_range(reading, writing, count, start, start)
    except (AttributeError, OSError):
        return 0
