"""The class of each sample: from a folder per class, from a file, or from the array `labels` of an .npz.

Classes are numbers, the indices of a classifier's outputs. Where they are names instead, the sorted names are numbered
from 0, as torchvision numbers the folders of a data set.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from tse_onnx.data.arrays import loaded_arrays
from tse_onnx.data.given import Given
from tse_onnx.errors import DataError
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.reasons import quoted

MEMBER = "labels"
_LARGEST = 2**31


def of_images(files: Sequence[str], labels: Path | None) -> np.ndarray | None:
    """The labels [files] of images, given by their names in a CSV file or by their folders; None where they have none.

    Raises `DataError`.
    """
    if labels is not None:
        return _indices(_by_name(files, labels), str(labels))
    folders = [PurePosixPath(name).parent.name for name in files]
    return _indices(folders, "the folders") if all(folders) else None


def of_arrays(
    types: Mapping[str, TensorType], data: Given, names: Sequence[str], labels: Path | None
) -> np.ndarray | None:
    """The labels [names] of the samples in an array file: those of the file `labels`, or the file's own member.

    Raises `DataError`.
    """
    if labels is not None and labels.suffix.lower() == ".csv":
        rows = _rows(labels)
        if all(len(row) == 1 for row in rows):
            rows = rows[1:] if rows and len(rows) == len(names) + 1 and not _is_index(rows[0][0]) else rows
            _as_many(len(rows), names, str(labels))
            return _indices([row[0] for row in rows], str(labels))
        return _indices(_by_name(names, labels), str(labels))
    if labels is not None:
        loaded = loaded_arrays(labels, (MEMBER,))
        return _whole(loaded if isinstance(loaded, np.ndarray) else loaded[MEMBER], names, str(labels))
    if isinstance(data, dict):
        return None if MEMBER in types or MEMBER not in data else _whole(data[MEMBER], names, f"the data, {MEMBER}")
    if isinstance(data, np.ndarray):
        return None
    path = Path(data)
    if MEMBER in types or path.suffix.lower() != ".npz":
        return None
    with np.load(path, allow_pickle=False) as archive:  # it was read before, so it can be
        if MEMBER not in archive.files:
            return None
    loaded = loaded_arrays(path, (MEMBER,))
    assert isinstance(loaded, dict)
    return _whole(loaded[MEMBER], names, f"{path}, {MEMBER}")


def shifted(labels: np.ndarray, offset: int, names: Sequence[str]) -> np.ndarray:
    """The labels with `offset` added. Raises `DataError` where one is below zero."""
    moved = labels + offset
    if (moved < 0).any():
        number = int(np.argmax(moved < 0))
        added = f" with the offset of {offset}" if offset else ""
        raise DataError(f"the label of {quoted(names[number])} is {moved[number]}{added}; classes are numbered from 0")
    return moved


def check_range(labels: np.ndarray, classes: int, names: Sequence[str], output: str) -> None:
    """Raise `DataError` where a label is no class of an output with so many."""
    beyond = labels >= classes
    if beyond.any():
        number = int(np.argmax(beyond))
        raise DataError(
            f"the label of {quoted(names[number])} is {labels[number]}; output {quoted(output)} has {classes} classes, "
            f"numbered from 0"
        )


def _whole(array: np.ndarray, names: Sequence[str], title: str) -> np.ndarray:
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise DataError(
            f"the labels in {title} are {array.dtype} {list(array.shape)}; they should be integers [samples]"
        )
    _as_many(len(array), names, title)
    return array.astype(np.int64)


def _as_many(count: int, names: Sequence[str], title: str) -> None:
    if count != len(names):
        raise DataError(f"{title} has {count} labels; there are {len(names)} samples")


def _by_name(names: Sequence[str], path: Path) -> list[str]:
    """What a CSV file with lines of `file,label` says of each name."""
    plain: dict[str, list[str]] = {}
    for name in names:
        plain.setdefault(PurePosixPath(name).name, []).append(name)
    known, given = set(names), dict[str, str]()
    for line, row in enumerate(_rows(path)):
        if len(row) != 2:
            raise DataError(f"{path}: a line is file,label, not {quoted(','.join(row))}")
        stated = row[0].replace("\\", "/").removeprefix("./")
        same = [stated] if stated in known else plain.get(PurePosixPath(stated).name, [])
        if not same and line == 0 and not _is_index(row[1]):
            continue  # the heading
        if not same:
            raise DataError(f"{path} names {quoted(row[0])}, which is no sample of the data")
        if len(same) > 1:
            raise DataError(f"{path} names {quoted(row[0])}, which may be {quoted(same[0])} or {quoted(same[1])}")
        if same[0] in given:
            raise DataError(f"{path} names {quoted(row[0])} twice")
        given[same[0]] = row[1]
    missing = [name for name in names if name not in given]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{path} has no label for {quoted(missing[0])}{others}")
    return [given[name] for name in names]


def _rows(path: Path) -> list[list[str]]:
    """The lines of a CSV file that are not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [[cell.strip() for cell in row] for row in csv.reader(file) if any(map(str.strip, row))]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} holds no labels: byte {error.start} is not UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path} is no CSV file: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read the labels {path}: {error.strerror or error}") from error


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _indices(stated: Iterable[str], title: str) -> np.ndarray:
    """Labels as they are where all are numbers, and the numbers of the sorted names otherwise."""
    labels = list(stated)
    if "" in labels:
        raise DataError(f"{title}: a label is empty")
    if all(_is_index(label) for label in labels):
        if max(map(len, labels), default=0) > 12 or max(map(int, labels), default=0) >= _LARGEST:
            raise DataError(f"{title}: {quoted(max(labels, key=len)[:40])} is no index of a class")
        return np.array([int(label) for label in labels], np.int64)
    order = {name: number for number, name in enumerate(sorted(set(labels)))}
    return np.array([order[label] for label in labels], np.int64)
