"""Measurements that are kept: a file of JSON lines for each model, data and loss.

A line is a combination on a batch with its losses, or one with its bytes by a figure. It is written as soon as it is
measured, so that whatever stops a run loses no more than the line that was being written, which is then left out.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tse_onnx.errors import UsageError
from tse_onnx.files.external import external_tensors, location
from tse_onnx.files.source import Source
from tse_onnx.passes.settings import setting
from tse_onnx.tuning.choices import Combination, key
from tse_onnx.tuning.work import Measured

SCHEMA = "tse-onnx/measurements/1"


def default_folder() -> Path:
    """Where measurements are kept: tse-onnx in the user's folder for caches."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "tse-onnx"


def identity(**parts: object) -> str:
    """A digest of everything that a measurement depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def model_identity(source: Source) -> str:
    """A digest of a model's bytes and, of weights in files of their own, of these files' names, sizes and times."""
    found = hashlib.sha256(source.original())
    for name in sorted({location(tensor) for tensor in external_tensors(source.model)}):
        try:
            state = ((source.folder or Path()) / name).stat()
        except OSError:
            continue
        found.update(f"{name}|{state.st_size}|{state.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def program() -> str:
    """A digest of this program's own text: between two releases it changes what is counted under one version."""
    import tse_onnx
    from tse_onnx import passes

    found = hashlib.sha256()
    for package in (tse_onnx, passes):
        for folder in map(Path, package.__path__):
            for path in sorted(folder.rglob("*.py")):
                found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


class Store:
    """What was measured so far, in memory, and in a file where `folder` is given.

    Raises `UsageError` where the file cannot be opened.
    """

    def __init__(self, folder: Path | None, identity: str) -> None:
        self._known: dict[tuple[str, int], Sequence[float]] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._file: IO[str] | None = None
        self.path = None if folder is None else folder / f"{identity[:32]}.jsonl"
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._read(self.path)
                self._file = self.path.open("a", encoding="utf-8")
            except OSError as error:
                text = error.strerror or error
                raise UsageError(
                    f"cannot keep measurements in {self.path.parent}: {text}; see {setting('cache')}"
                ) from error
        self.found = len(self._known)
        """How many measurements there were from the start."""

    def _read(self, path: Path) -> None:
        """Take over what an earlier run measured; mend a line that it did not finish."""
        if not path.exists():
            path.write_text(json.dumps({"schema": SCHEMA}) + "\n", encoding="utf-8")
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        lines = text.split("\n")
        for line in lines[:-1]:
            found = _object(line)
            if (entry := _entry(found)) is not None:
                self._known[entry[0]] = entry[1]
            elif (count := _count(found)) is not None:
                self._counts[count[0]] = count[1]
        if lines[-1]:
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def missing(self, combination: Combination, batches: Sequence[int]) -> frozenset[int]:
        """The batches on which a combination was not measured yet."""
        name = key(combination)
        return frozenset(number for number in batches if (name, number) not in self._known)

    def add(self, measured: Measured) -> None:
        """Keep a measurement."""
        name = key(measured.combination)
        self._known[name, measured.batch] = measured.losses
        losses = [_number(loss) for loss in measured.losses]
        self._write({"combination": name, "batch": measured.batch, "losses": losses})

    def losses(self, combination: Combination, batches: Sequence[int]) -> list[float]:
        """The losses of a combination on every sample of these batches, in order."""
        name = key(combination)
        return [loss for number in batches for loss in self._known[name, number]]

    def count(self, figure: str, combination: Combination, counted: Callable[[], int]) -> int:
        """The bytes of a combination by a figure, which are `counted` where they are not known, and kept."""
        name = key(combination)
        if (figure, name) not in self._counts:
            self._counts[figure, name] = found = counted()
            self._write({"combination": name, "figure": figure, "bytes": found})
        return self._counts[figure, name]

    def _write(self, line: Mapping[str, object]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _object(line: str) -> Mapping[str, Any]:
    """What a line says; nothing where it cannot be read."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _count(found: Mapping[str, Any]) -> tuple[tuple[str, str], int] | None:
    """A line's count, or None where it is none."""
    figure, name, count = found.get("figure"), found.get("combination"), found.get("bytes")
    if not isinstance(figure, str) or not isinstance(name, str) or type(count) is not int:
        return None
    return (figure, name), count


def _entry(found: Mapping[str, Any]) -> tuple[tuple[str, int], Sequence[float]] | None:
    """A line's measurement, or None where it is none."""
    if not isinstance(found.get("losses"), list):
        return None
    losses = [math.inf if loss is None else loss for loss in found["losses"]]
    name, batch = found.get("combination"), found.get("batch")
    if not isinstance(name, str) or type(batch) is not int or not all(type(loss) in (int, float) for loss in losses):
        return None
    return (name, batch), losses


def _number(loss: float) -> float | None:
    """JSON has no infinity; None stands for a loss without bound."""
    return loss if math.isfinite(loss) else None
