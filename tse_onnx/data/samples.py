"""Samples that a model is fed with, read when they are asked for, and where they come from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tse_onnx.data.feed import Content, Feed
from tse_onnx.data.given import Given
from tse_onnx.data.preprocess import Preprocess
from tse_onnx.errors import DataError
from tse_onnx.passes.graph.types import TensorType

# Samples in one run where the batch is dynamic: enough to keep the processor busy, few enough to bound the memory.
BATCH = 8


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples in a fixed order.

    `text` tells reports what they are, as "200 images from photos"; `batch` is how many go into one run: the model's
    own batch where that is `fixed`, and at most 8 otherwise; `labels` are class indices [count], or None; `names` has a
    name for each sample (the file or the index), for messages; `skipped` are the files that could not be read. Where
    the samples are frames, `starts` are the places at which a stream begins.
    """

    text: str
    batch: int
    fixed: bool
    names: tuple[str, ...] = field(repr=False)
    labels: np.ndarray | None = field(repr=False)
    _content: Content = field(repr=False)
    _numbers: tuple[int, ...] = field(repr=False)
    skipped: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()
    _whole: str = field(default="", repr=False)

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self._numbers)

    def feeds(self) -> Iterator[Feed]:
        """The batches in order, each of `batch` samples but the last.

        Raises `DataError` at once where the model's fixed batch does not divide the samples, and later where one of
        them cannot be read.
        """
        if self.fixed and self.count % self.batch:
            raise DataError(f"the model takes batches of {self.batch}; {self.count} samples do not divide into them")
        starts = range(0, self.count, self.batch)
        return (self._content.feed(self._numbers[start : start + self.batch]) for start in starts)

    def subset(self, chosen: Sequence[int]) -> Samples:
        """The samples with these numbers, in this order. Nothing is read."""
        whole = self._whole or self.text
        return replace(
            self,
            text=f"{len(chosen)} of {whole}",
            batch=self.batch if self.fixed else max(1, min(BATCH, len(chosen))),
            names=tuple(self.names[number] for number in chosen),
            labels=None if self.labels is None else self.labels[list(chosen)],
            _numbers=tuple(self._numbers[number] for number in chosen),
            starts=(),
            _whole=whole,
        )

    def of_streams(self, chosen: Sequence[int]) -> Samples:
        """The streams with these numbers, in this order, each with all its frames."""
        ends = (*self.starts[1:], self.count)
        frames = [range(self.starts[number], ends[number]) for number in chosen]
        starts = tuple(sum(map(len, frames[:number])) for number in range(len(frames)))
        return replace(self.subset([one for those in frames for one in those]), starts=starts)

    def drawn(self, limit: int, seed: int = 0) -> Samples:
        """At most `limit` samples, drawn by `seed` without replacement, in their own order."""
        if limit >= self.count:
            return self
        return self.subset(sorted(np.random.default_rng(seed).choice(self.count, limit, replace=False).tolist()))

    def parted(self, limit: int, seed: int = 0) -> tuple[Samples, Samples]:
        """Those of `drawn`, and all others. Where the model fixes the batch, both are whole batches."""
        limit = min(limit, self.count)
        chosen = np.random.default_rng(seed).choice(self.count, limit, replace=False).tolist()
        if self.fixed:
            chosen = chosen[: len(chosen) - len(chosen) % self.batch]
        others = sorted(set(range(self.count)) - set(chosen))
        if self.fixed:
            others = others[: len(others) - len(others) % self.batch]
        return self.subset(sorted(chosen)), self.subset(others)

    def by(self, batch: int) -> Samples:
        """The same samples, `batch` of them in one run. Raises `DataError` where the model fixes another number."""
        if self.fixed and batch != self.batch:
            raise DataError(f"the model takes batches of {self.batch}, not of {batch}")
        return replace(self, batch=batch)

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of what the model is fed with: the bytes of files or arrays in order, the
        preprocessing, the input's type and shape. Labels and the batch have no part in it."""
        found = hashlib.sha256()
        for piece in self._content.identity(self._numbers):
            found.update(piece)
        return found.hexdigest()


def samples_of(
    types: Mapping[str, TensorType],
    data: Given,
    preprocess: Preprocess,
    labels: Path | None = None,
    *,
    skip_unreadable: bool = False,
    label_offset: int = 0,
    labelled: bool = True,
) -> Samples:
    """The samples in an .npz (one array per input name), an .npy, a folder of images (models with one input), or
    arrays.

    The first axis of every array is the batch. `types` are those of the model's inputs. Labels come from the file
    `labels`, from a folder per class, or from the array `labels` of an .npz, and `label_offset` is added to them; with
    `labelled` False nothing looks for them. With `skip_unreadable` images that cannot be read are left out, which takes
    reading every one beforehand. Raises `DataError`.
    """
    from tse_onnx.data import labels as labelling

    content: Content
    path = Path(data) if isinstance(data, (str, os.PathLike)) else None
    if path is not None and path.is_dir():
        from tse_onnx.data.images import Pictures, frame_of, image_files

        files = image_files(path)
        content = Pictures(tuple(path / name for name in files), frame_of(types, preprocess), preprocess)
        kept = content.readable() if skip_unreadable else tuple(range(len(files)))
        if not kept:
            raise DataError(f"none of the {len(files)} images in {path} can be read")
        names = tuple(files[number] for number in kept)
        skipped = tuple(sorted(set(files) - set(names)))
        text = f"{len(kept)} image{'s' * (len(kept) != 1)} from {path.resolve().name}"
        if skipped:
            text += f" ({len(skipped)} unreadable skipped)"
        found = labelling.of_images(files, labels) if labelled else None
        classes = None if found is None else found[list(kept)]
    else:
        from tse_onnx.data.arrays import Arrays

        content = Arrays.read(types, data)
        kept, skipped = tuple(range(content.count)), ()
        names = tuple(map(str, kept))
        text = f"{content.count} sample{'s' * (content.count != 1)} from {'arrays' if path is None else path.name}"
        classes = labelling.of_arrays(types, data, names, labels) if labelled else None
    if classes is not None:
        classes = labelling.shifted(classes, label_offset, names)
    batch, fixed = batch_of(types, len(kept))
    return Samples(text, batch, fixed, names, classes, content, kept, skipped)


def batch_of(types: Mapping[str, TensorType], count: int) -> tuple[int, bool]:
    """Samples in one run, and whether the model fixes that."""
    fixed = [kind.dims[0] for kind in types.values() if kind.dims and isinstance(kind.dims[0], int)]
    return (max(fixed), True) if fixed else (min(BATCH, count), False)
