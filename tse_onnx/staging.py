"""Write a model so that it appears whole or not at all.

A staged model lies under a temporary name in the folder of its output; only `commit` gives it its name, by a rename.
Whatever goes wrong before leaves the folder as it was.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from onnx import ModelProto

from tse_onnx.encode import encoded
from tse_onnx.errors import ModelError
from tse_onnx.external import external_tensors, locate, location


class Stage:
    """The output of one conversion before it has its name."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._temporaries: list[Path] = []
        self._carried: list[Path] = []
        self._folders: list[Path] = []
        self._staged: Path | None = None

    def write(self, model: ModelProto, folder: Path | None, unchanged: bytes | None = None) -> dict[str, str]:
        """Stage `model`, and carry the external weights from `folder`. The model's references are renamed only where
        another file already bears a weight file's name; what was renamed is the result, new names by old.

        `unchanged` are the model's own bytes where it is to stay as it is: they are staged unless a reference changed.
        """
        renamed = self._carry(model, folder)
        if unchanged is not None and not renamed:
            self.write_bytes(unchanged)
            return renamed
        self.write_bytes(*encoded(model))
        return renamed

    def write_bytes(self, *pieces: bytes) -> None:
        """Stage the bytes of a model, in one piece or in several."""
        self._staged = self._temporary(self.out)
        with self._staged.open("wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())

    def commit(self) -> None:
        """Give the staged model its name."""
        assert self._staged is not None, "nothing is staged"
        _copy_mode(self.out, self._staged)
        self._staged.replace(self.out)
        self._temporaries.remove(self._staged)
        self._carried.clear()
        self._folders.clear()

    def discard(self) -> None:
        """Remove whatever was staged and not committed."""
        for path in (*self._temporaries, *self._carried):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        for folder in reversed(self._folders):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _temporary(self, beside: Path) -> Path:
        path = beside.with_name(f".{beside.name[:40]}.{os.urandom(8).hex()}.tmp")
        self._temporaries.append(path)  # before it is there: an interrupt may come at any time
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        return path

    def _carry(self, model: ModelProto, folder: Path | None) -> dict[str, str]:
        tensors = list(external_tensors(model))
        if not tensors:
            return {}
        if folder is None:
            raise ModelError("the model's weights lie in other files: give its path, or load them into it first")
        names: dict[str, str] = {}
        for tensor in tensors:
            where = location(tensor)
            if where not in names:
                source = locate(folder, where)
                if source.resolve() == self.out:
                    raise ModelError(f"cannot write {self.out}: the model's weights lie there")
                same_folder = folder.resolve() == self.out.parent.resolve()
                names[where] = where if same_folder else self._carry_file(source, where)
            if names[where] != where:
                next(entry for entry in tensor.external_data if entry.key == "location").value = names[where]
        return {where: name for where, name in names.items() if name != where}

    def _carry_file(self, source: Path, where: str) -> str:
        """Copy a weight file below the output's folder; its location there."""
        home = self.out.parent
        name, number = where, 1
        while (target := home / name) == self.out or target.exists() or target.is_symlink():
            if (
                target != self.out
                and target.is_file()
                and not target.is_symlink()
                and filecmp.cmp(source, target, shallow=False)
            ):
                return name
            number += 1
            name = str(Path(where).with_name(f"{Path(where).stem}_{number}{Path(where).suffix}"))
        if not target.parent.resolve().is_relative_to(home.resolve()):
            raise ModelError(f"external data at {where!r} would be written outside the output's folder")
        for missing in reversed([above for above in target.parents if not above.exists()]):
            missing.mkdir(exist_ok=True)
            self._folders.append(missing)
        temporary = self._temporary(target)
        shutil.copyfile(source, temporary)
        _copy_mode(source, temporary)
        temporary.replace(target)
        self._temporaries.remove(temporary)
        self._carried.append(target)
        return name


@contextlib.contextmanager
def staging(out: Path) -> Iterator[Stage]:
    """Stage an output at `out`; what was not committed is removed. `OSError` becomes `ModelError`."""
    try:
        if out.is_dir():
            raise ModelError(f"cannot write {out}: it is a directory")
        if out.exists() and not out.is_file():
            raise ModelError(f"cannot write {out}: it is not a regular file (use - for standard output)")
        if not out.parent.is_dir():
            raise ModelError(f"cannot write {out}: there is no directory {out.parent}")
        # Through a link the file it points to is replaced, as a plain write would do.
        stage = Stage(resolved(out))
        if not stage.out.parent.is_dir():
            raise ModelError(f"cannot write {out}: it links to {stage.out}, and there is no such directory")
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot write {out}: {getattr(error, 'strerror', None) or error}") from error
    try:
        yield stage
    except OSError as error:
        culprit = f" ({error.filename})" if error.filename and Path(error.filename).parent != stage.out.parent else ""
        raise ModelError(f"cannot write {out}: {error.strerror or error}{culprit}") from error
    finally:
        stage.discard()


def resolved(path: Path) -> Path:
    """`path` with every link followed; a loop of links is a `ModelError`."""
    try:
        return path.resolve()
    except RuntimeError as error:  # what Python before 3.13 raises
        raise ModelError(f"cannot follow {path}: its links lead in a circle") from error


def _copy_mode(like: Path, path: Path) -> None:
    """Give `path` the permissions of `like`, or those of any new file where there is none."""
    try:
        mode = like.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    path.chmod(mode)
