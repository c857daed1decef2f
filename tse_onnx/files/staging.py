"""Write a model so that it appears whole or not at all.

A staged model lies in a hidden folder beside its output; only `commit` gives it its name, by a rename. Whatever goes
wrong before leaves the output's folder as it was, and so does a kill at any moment, once the next run has swept up.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from onnx import ModelProto

from tse_onnx.errors import ModelError
from tse_onnx.files.copy import identical
from tse_onnx.files.encode import encoded
from tse_onnx.files.external import external_tensors, locate, location
from tse_onnx.files.scratch import Scratch
from tse_onnx.files.written import note
from tse_onnx.passes.settings import setting


class Stage:
    """The output of one conversion before it has its name. A stream (a pipe, `/dev/null`) gets its bytes on commit."""

    def __init__(self, out: Path, title: str, *, is_stream: bool = False) -> None:
        self.out, self.title = out, title
        self.folder: Path | None = None
        """Where the staged model's external weights lie."""
        self.committed = False
        self._is_stream = is_stream
        self._pieces: tuple[bytes, ...] = ()
        self._scratch = Scratch(out.parent)

    def write(self, model: ModelProto, folder: Path | None, unchanged: bytes | None = None) -> dict[str, str]:
        """Stage `model`, and carry the external weights from `folder`. The model's references are renamed only where
        another file already bears a weight file's name; what was renamed is the result, new names by old.

        `unchanged` are the model's own bytes where it is to stay as it is: they are staged unless a reference changed.
        """
        with _telling(self.title):
            if self._is_stream and _is_terminal(self.out):
                raise ModelError(f"cannot write {self.title}: a model is not written to a terminal")
            if self._is_stream:  # which has no folder: what reads it has to find the weights by itself
                self.folder, renamed = folder, {}
            else:
                self._scratch.begin()
                self.folder, renamed = self.out.parent, self._carry(model, folder)
            self._put((unchanged,) if unchanged is not None and not renamed else tuple(encoded(model)))
        return renamed

    def write_bytes(self, *pieces: bytes) -> None:
        """Stage the bytes of a file, in one piece or in several."""
        with _telling(self.title):
            if not self._is_stream:
                self._scratch.begin()
            self._put(pieces)

    def _put(self, pieces: tuple[bytes, ...]) -> None:
        if self._is_stream:
            self._pieces = pieces
        else:
            self._scratch.write(pieces)

    def commit(self) -> None:
        """Give the staged file its name. Until the end of `staging` an error takes that back."""
        with _telling(self.title):
            if self._is_stream:
                with self.out.open("wb") as file:
                    file.writelines(self._pieces)
            else:
                self._scratch.publish(self.out)
        self.committed = True

    def revert(self) -> None:
        """Make the output what it was before `commit`."""
        self._scratch.revert(self.out)

    def end(self) -> None:
        """Remove whatever was staged and not committed."""
        self._scratch.end()

    def _carry(self, model: ModelProto, folder: Path | None) -> dict[str, str]:
        tensors = list(external_tensors(model))
        if not tensors:
            return {}
        if folder is None:
            raise ModelError("the model's weights lie in other files: give its path, or load them into it first")
        same_folder = folder.resolve() == self.out.parent.resolve()
        names: dict[str, str] = {}
        for tensor in tensors:
            where = location(tensor)
            if where not in names:
                source = locate(folder, where)
                if source.resolve() == self.out:
                    raise ModelError(f"cannot write {self.out}: the model's weights lie there")
                names[where] = where if same_folder else self._carry_file(source, where)
            if names[where] != where:
                next(entry for entry in tensor.external_data if entry.key == "location").value = names[where]
        return {where: name for where, name in names.items() if name != where}

    def _carry_file(self, source: Path, where: str) -> str:
        """Copy a weight file below the output's folder, unless it is there; its location."""
        home = self.out.parent
        name, number, copied = where, 1, ""
        while True:
            target = home / name
            if not target.parent.resolve().is_relative_to(home.resolve()):
                raise ModelError(f"external data at {where!r} would be written outside the output's folder")
            free = target != self.out
            if free and not os.path.lexists(target):
                if not copied:
                    self._scratch.carry(source, name)
                elif copied != name:
                    self._scratch.rename(copied, name)
                copied = name
                with contextlib.suppress(FileExistsError):  # another run was faster: look at what it made
                    self._scratch.give(name)
                    return name
            elif free and self._holds(target, source):
                return name
            elif not free or os.path.lexists(target):
                number += 1
                name = str(Path(where).with_name(f"{Path(where).stem}_{number}{Path(where).suffix}"))

    def _holds(self, target: Path, source: Path) -> bool:
        """Whether a file that is there already has the bytes of `source`, and is there to stay."""
        try:
            return (
                target.is_file()
                and not target.is_symlink()
                and identical(source, target)
                and not self._scratch.pending(target)
                and target.is_file()  # a run that fails takes its file away first, and then what says it was pending
            )
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def staging(out: Path) -> Iterator[Stage]:
    """Stage an output at `out`; what was not committed is removed. `OSError` becomes `ModelError`."""
    if str(out) == "-":
        raise ModelError(
            f"cannot write a file called -: standard output is for a model, and for {setting('format', 'json')}"
        )
    try:
        if out.is_dir():
            raise ModelError(f"cannot write {out}: it is a directory")
        if _is_standard_output(out):
            raise ModelError(
                f"cannot write {out}: it is standard output, which has the report; a model goes there with -"
            )
        is_stream = out.exists() and not out.is_file()
        if is_stream and not (out.is_fifo() or out.is_char_device()):
            raise ModelError(f"cannot write {out}: it is neither a file nor a stream")
        if not out.parent.is_dir():
            raise ModelError(f"cannot write {out}: there is no directory {out.parent}")
        # Through a link the file it points to is replaced, as a plain write would do.
        stage = Stage(out if is_stream else resolved(out), str(out), is_stream=is_stream)
        if not stage.out.parent.is_dir():
            raise ModelError(f"cannot write {out}: it links to {stage.out}, and there is no such directory")
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot write {out}: {getattr(error, 'strerror', None) or error}") from error
    try:
        with _telling(stage.title):
            yield stage
    except BaseException:
        stage.revert()
        raise
    else:
        if stage.committed:
            note(stage.title)
    finally:
        stage.end()


@contextlib.contextmanager
def _telling(title: str) -> Iterator[None]:
    """Say what could not be written instead of only why."""
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else ""
        elsewhere = name and Path(name).parent != Path(title).resolve().parent and ".tse-onnx-" not in name
        culprit = f" ({name})" if elsewhere else ""
        raise ModelError(f"cannot write {title}: {error.strerror or error}{culprit}") from error


def resolved(path: Path) -> Path:
    """`path` with every link followed; a loop of links is a `ModelError`."""
    try:
        return path.resolve()
    except RuntimeError as error:  # what Python before 3.13 raises
        raise ModelError(f"cannot follow {path}: its links lead in a circle") from error


def _is_terminal(path: Path) -> bool:
    if not path.is_char_device():
        return False
    handle = os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        return os.isatty(handle)
    finally:
        os.close(handle)


def _is_standard_output(path: Path) -> bool:
    """Whether a write to `path` would mix with what is printed."""
    try:
        there = path.stat()
        return os.path.samestat(there, os.fstat(1)) and not os.path.samestat(there, os.stat(os.devnull))
    except OSError:
        return False
