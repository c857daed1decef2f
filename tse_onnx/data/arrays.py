"""Samples from numpy's files: an .npz with an array per input, or an .npy. A large .npy is read where it lies."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from tse_onnx.data.element import element_type
from tse_onnx.data.feed import Feed
from tse_onnx.data.given import Given
from tse_onnx.errors import DataError
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.reasons import first_line, quoted

# Rows that are looked at together where every number has to be.
_CHUNK = 64


@dataclass(frozen=True)
class Arrays:
    """An array and the type that it is fed in, for each input; they hold equally many samples."""

    inputs: Mapping[str, tuple[np.ndarray, np.dtype[Any]]]

    @classmethod
    def read(cls, types: Mapping[str, TensorType], data: Given) -> Arrays:
        """The arrays in a file, or as given, for inputs of these `types`. Raises `DataError` where they do not fit."""
        if not types:
            raise DataError(f"the model takes no input that {_title(data)} could feed")
        found = cls({name: _checked(name, array, types[name]) for name, array in _inputs(types, data).items()})
        counts = {len(array) for array, _ in found.inputs.values()}
        if len(counts) != 1 or 0 in counts:
            raise DataError(f"the arrays in {_title(data)} hold different numbers of samples, or none")
        return found

    @property
    def count(self) -> int:
        """Samples in every array."""
        return len(next(iter(self.inputs.values()))[0])

    def feed(self, chosen: Sequence[int]) -> Feed:
        """The rows with these numbers, in the type that each input takes.

        Raises `DataError` where one is not finite in that type: such data prove nothing, and have no score.
        """
        with np.errstate(all="ignore"):
            found = {name: array[list(chosen)].astype(dtype) for name, (array, dtype) in self.inputs.items()}
        for name, rows in found.items():
            _all_finite(name, rows, chosen)
        return found

    def identity(self, chosen: Sequence[int]) -> Iterable[bytes]:
        """Names, types and shapes, and the bytes of every row."""
        for name, (array, dtype) in sorted(self.inputs.items()):
            yield repr((name, dtype.str, dtype.name, array.dtype.str, array.shape[1:], len(chosen))).encode()
            yield from (array[number].tobytes() for number in chosen)


def _title(data: Given) -> str:
    return str(Path(data)) if isinstance(data, (str, os.PathLike)) else "what was given"


def _inputs(types: Mapping[str, TensorType], data: Given) -> dict[str, np.ndarray]:
    """The array for each input."""
    loaded = loaded_arrays(Path(data), tuple(types)) if isinstance(data, (str, os.PathLike)) else data
    if isinstance(loaded, np.ndarray):
        if len(types) != 1:
            many = f"the model has {len(types)} inputs: use an .npz with their names"
            raise DataError(f"{_title(data)} holds one array; {many}")
        return {next(iter(types)): loaded}
    if missing := [name for name in types if name not in loaded]:
        raise DataError(f"the data hold {', '.join(loaded)}; they lack " + ", ".join(map(quoted, missing)))
    return {name: loaded[name] for name in types}


def loaded_arrays(path: Path, names: Sequence[str]) -> np.ndarray | dict[str, np.ndarray]:
    """The array of an .npy, or those called `names` of an .npz. Raises `DataError`."""
    try:
        try:
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError:  # empty, or of objects: what numpy says without a map is clearer
            loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            missing = [name for name in names if name not in loaded.files]
            if missing:
                raise DataError(f"{path} holds {', '.join(loaded.files)}; it lacks " + ", ".join(map(quoted, missing)))
            members = {name: loaded[name] for name in names}
        strange = [name for name, member in members.items() if not isinstance(member, np.ndarray)]
        if strange:  # numpy hands out a member that is no array as its bytes
            raise DataError(f"in {path}, {quoted(strange[0])} is no array")
        return members
    except DataError:
        raise
    except Exception as error:  # numpy passes on whatever zip, zlib and its own header parser raise
        text = getattr(error, "strerror", None) or first_line(error)
        if "pickle" in text:  # what numpy takes anything for that it does not know, and advises to load all the same
            text = "it holds pickled objects, or something else altogether"
        raise DataError(f"cannot read {path} as .npy, .npz or a folder of images: {text}") from error


def _checked(name: str, array: np.ndarray, kind: TensorType) -> tuple[np.ndarray, np.dtype[Any]]:
    """The array and the input's type; raises where the shape does not fit or numbers would be lost."""
    dims = kind.dims
    if array.ndim == 0:
        raise DataError(f"the data for {quoted(name)} are a single number; their first axis has to be the batch")
    if dims is not None and (
        array.ndim != len(dims)
        or any(isinstance(dim, int) and dim != size for dim, size in zip(dims[1:], array.shape[1:], strict=True))
    ):
        wanted = ", ".join(str(dim) if dim is not None else "?" for dim in dims)
        raise DataError(f"the data for {quoted(name)} have shape {list(array.shape)}; the model takes [{wanted}]")
    if kind.dtype == TensorProto.STRING and array.dtype.kind == "U":
        return array, np.dtype(object)
    dtype = element_type(name, kind)
    if array.dtype.kind not in "fiubV" or (array.dtype.kind == "f" and dtype.kind in "iub"):
        raise DataError(f"the data for {quoted(name)} are {array.dtype}; the model takes {dtype}")
    if dtype.kind in "iub" and not all(_kept(array[at : at + _CHUNK], dtype) for at in range(0, len(array), _CHUNK)):
        raise DataError(f"the data for {quoted(name)} hold {array.dtype} numbers that {dtype} has not")
    return array, dtype


def _all_finite(name: str, rows: np.ndarray, numbers: Sequence[int]) -> None:
    """Raise for the first sample that holds an infinity, or what is not a number."""
    if rows.dtype.kind not in "fV":  # V: the short types of floats and integers that numpy itself has not
        return
    known = np.isfinite(rows if rows.dtype.kind == "f" else rows.astype(np.float32))
    if not known.all():
        place = tuple(np.argwhere(~known)[0])
        raise DataError(
            f"sample {numbers[place[0]]} of the data for {quoted(name)} holds {float(rows[place])} as {rows.dtype}; "
            "every number has to be finite"
        )


def _kept(array: np.ndarray, dtype: np.dtype[Any]) -> bool:
    with np.errstate(all="ignore"):
        return np.array_equal(array.astype(dtype), array)
