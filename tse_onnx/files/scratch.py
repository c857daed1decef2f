"""The hidden folder of one run beside its output, and what becomes of it when the run dies.

    .tse-onnx-0123456789abcdef/
        staged       what will be renamed to the output; locked as long as the run lives
        replaced     a link to what the output was, from just before the rename
        carried/     the weight files, each at its place below the output's folder, and linked there

What has happened can be told by which names there are, so a run may be killed between any two of its steps. As long as
`staged` is there nothing is committed. One rename takes it away: to the output, and the carried files stay, or to
`dead`, and they go. So no model is ever without the weights that came with it, even where locks do not work and two
runs disagree on which of them is alive.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from tse_onnx.files.copy import copy, write_out

_NAME = re.compile(r"\.tse-onnx-[0-9a-f]{16}")
_STAGED, _DEAD, _REPLACED, _CARRIED = "staged", "dead", "replaced", "carried"
_MADE = ".tse-onnx-made"  # in `carried`: the folder at this place outside was made by the run
_AHEAD = 2**22  # bytes that are written before the system is told to begin with the disk
_NO_FLUSH = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_BINARY = getattr(os, "O_BINARY", 0)


class Scratch:
    """The scratch folder of a run whose output lies in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._folder: Path | None = None
        self._handle = -1
        self._identity = (0, 0)
        self._replaces = False
        self._unlinked: list[Path] = []
        self._unflushed: dict[Path, None] = {}

    def begin(self) -> None:
        """Remove what dead runs left in `home`, and make the folder of this one."""
        _sweep(self.home)
        while True:
            self._folder = self.home / f".tse-onnx-{os.urandom(8).hex()}"  # known before it is there: for an interrupt
            self._folder.mkdir(0o700)
            with contextlib.suppress(FileNotFoundError):
                self._handle = os.open(self._at(_STAGED), os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
                made = os.fstat(self._handle)
                self._identity = made.st_dev, made.st_ino
                if _lock(self._handle) is not False and self._is_at(self._at(_STAGED)):
                    return
            self.end()  # before it was locked, another run took the folder for that of a dead one

    def write(self, pieces: tuple[bytes, ...]) -> None:
        """Write the staged file, and flush it to the disk."""
        with os.fdopen(os.dup(self._handle), "wb") as file:
            begun = end = 0
            for piece in pieces:
                end += file.write(piece)
                if end - begun >= _AHEAD:
                    file.flush()
                    write_out(self._handle, begun, end - begun)
                    begun = end
            file.flush()
            _sync(file.fileno())

    def carry(self, source: Path, name: str) -> None:
        """Copy a weight file into the folder, to be given as `name`."""
        copied = self._at(_CARRIED) / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        copy(source, copied)

    def rename(self, name: str, other: str) -> None:
        """Change the name under which a weight file is to be given."""
        (self._at(_CARRIED) / name).rename(self._at(_CARRIED) / other)

    def give(self, name: str) -> None:
        """Give a weight file its place below `home`. Raises `FileExistsError` where another has it."""
        copied, given = self._at(_CARRIED) / name, self.home / name
        while True:
            for folder in reversed([above for above in given.parents if not above.exists()]):
                (self._at(_CARRIED) / folder.relative_to(self.home) / _MADE).touch()
                folder.mkdir(exist_ok=True)
            try:
                os.link(copied, given)
                break
            except FileExistsError:
                raise
            except FileNotFoundError:
                if not copied.exists():
                    raise
                # Another run made the folder, failed, and has just removed it again.
            except OSError:  # a file system without links, or another one
                self._copy_out(copied, given)
                break
        self._unflushed |= dict.fromkeys((given, *given.parents[: len(Path(name).parts)]))

    def _copy_out(self, copied: Path, given: Path) -> None:
        try:
            copy(copied, given)
        except FileExistsError:
            raise
        except BaseException:
            given.unlink(missing_ok=True)
            raise
        self._unlinked.append(given)
        copied.unlink()

    def pending(self, path: Path) -> bool:
        """Whether the file at `path` was carried there by another run that may still take it away."""
        if path.stat().st_nlink == 1:
            return False
        return any(
            folder != self._folder and _same(folder / _CARRIED / path.relative_to(home), path)
            for home in path.parents
            for folder in _folders(home)
        )

    def publish(self, out: Path) -> None:
        """Rename the staged file to `out`, with the owner and permissions of the file there.

        What it refers to is on the disk before, and the name itself in the end.
        """
        for path in self._unflushed:  # in the end, when the system has written most of it by itself
            flush(path)
        staged = self._at(_STAGED)
        with contextlib.suppress(FileNotFoundError):
            _liken(staged, out.stat())
            self._replaces = True
        with contextlib.suppress(OSError):  # for `revert`, which cannot help where there are no links
            os.link(out, self._at(_REPLACED))
        if os.name == "nt":  # where nothing that is open can be renamed
            self._close()
        staged.replace(out)
        flush(out.parent)

    def revert(self, out: Path) -> None:
        """Take back `publish`, if it came to its rename."""
        if self._folder is None or not self._is_at(out):
            return
        with contextlib.suppress(OSError):  # what went wrong before matters more
            if self._at(_REPLACED).exists():
                self._at(_REPLACED).replace(out)
                self._at(_DEAD).touch()
            elif not self._replaces:
                out.rename(self._at(_DEAD))

    def end(self) -> None:
        """Remove the folder, and what was carried unless the staged file was published."""
        if self._folder is not None:
            _remove(self._folder, self._unlinked)
        self._close()

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _at(self, name: str) -> Path:
        assert self._folder is not None, "nothing is staged"
        return self._folder / name

    def _is_at(self, path: Path) -> bool:
        """Whether the staged file has the name `path`."""
        try:
            there = path.stat()
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == self._identity


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder where the system can do that, to the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder under Windows, or one that may not be listed
        return
    try:
        _sync(handle)
    finally:
        os.close(handle)


def _sync(handle: int) -> None:
    """Flush what is open, as far as its file system can; where it cannot at all, it is the system's affair."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise


def _sweep(home: Path) -> None:
    """Remove what dead runs left in `home`."""
    for folder in _folders(home):
        with contextlib.suppress(OSError):
            try:
                handle = os.open(folder / _STAGED, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | _BINARY)
            except FileNotFoundError:  # it has committed, or given up, or not begun
                _remove(folder)
                continue
            try:
                if _lock(handle):
                    if os.fstat(handle).st_nlink > 1:  # a power failure kept both names of a rename: it has committed
                        (folder / _STAGED).unlink()
                    _remove(folder)
            finally:
                os.close(handle)


def _remove(folder: Path, unlinked: Iterable[Path] = ()) -> None:
    """Remove a run's folder and, unless the run has committed, what it carried."""
    with contextlib.suppress(OSError):
        (folder / _STAGED).rename(folder / _DEAD)
    if (folder / _DEAD).exists():
        for copied in unlinked:
            copied.unlink(missing_ok=True)
        carried = folder / _CARRIED
        for link in carried.rglob("*"):
            given = folder.parent / link.relative_to(carried)
            with contextlib.suppress(OSError):
                if not link.is_dir() and _same(given, link):
                    given.unlink()
        for made in sorted(carried.rglob(_MADE), key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):
                (folder.parent / made.parent.relative_to(carried)).rmdir()
    shutil.rmtree(folder, ignore_errors=True)


def _folders(home: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(home) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                yield home / entry.name


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except OSError:
        return False


def _lock(handle: int) -> bool | None:
    """Lock an open file: whether that was possible, or None where the system has no such locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return None
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN) else None
    return True


def _liken(path: Path, other: os.stat_result) -> None:
    """Give a file of ours the owner, as far as we may, and the permissions of another."""
    own = path.stat()
    if hasattr(os, "chown") and (own.st_uid, own.st_gid) != (other.st_uid, other.st_gid):
        try:
            os.chown(path, other.st_uid, other.st_gid)
        except OSError:
            with contextlib.suppress(OSError):
                os.chown(path, -1, other.st_gid)
    path.chmod(other.st_mode & 0o777)
