"""Samples as numbered batches, read when they are needed and kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from tse_onnx.data.samples import Samples
from tse_onnx.tuning.work import Batch, aligned

_KEPT_BYTES = 512 * 2**20


class Batches:
    """The batches of some samples. A batch holds the same samples whatever else is read; frames of streams go one by
    one, and to `settle` is said of the first one of each."""

    def __init__(self, samples: Samples, settle: bool = False) -> None:
        self.samples, self._settle = samples, settle
        self._gates: Mapping[str, np.ndarray] = {}
        self._size = samples.batch
        self._kept: OrderedDict[int, Batch] = OrderedDict()
        self._held = 0

    @property
    def numbers(self) -> range:
        """The numbers of all batches."""
        return range(-(-self.samples.count // self._size))

    @property
    def size(self) -> int:
        """Samples in a batch; the last one may have fewer."""
        return self._size

    def read(self, numbers: Iterable[int]) -> list[Batch]:
        """The batches with these numbers. Raises `DataError` where a sample cannot be read."""
        return [replace(self._read(number), handed=self._handed(number)) for number in numbers]

    def __iter__(self) -> Iterator[Batch]:
        return (self._read(number) for number in self.numbers)

    def hand_on(self, gates: Mapping[str, np.ndarray]) -> None:
        """Have each frame know the gates of the one before: of the original's `gates` [frames, channels], by block."""
        self._gates = gates if self.samples.starts else {}

    def _handed(self, number: int) -> Mapping[str, np.ndarray]:
        first = number in self.samples.starts
        if first and not self._settle:
            return {}
        return {name: gates[number if first else number - 1] for name, gates in self._gates.items()}

    def streams(self, numbers: Iterable[int]) -> frozenset[int]:
        """The numbers of all frames of the streams that these are of."""
        wanted = frozenset(numbers)
        ends = pairwise((*self.samples.starts, self.samples.count))
        return frozenset(one for start, end in ends if wanted & set(range(start, end)) for one in range(start, end))

    def parts(self, numbers: Sequence[int], most: int, in_streams: bool = False) -> list[tuple[int, ...]]:
        """These numbers in parts of at most `most`; with `in_streams` no stream is cut, however long it is."""
        starts = set(self.samples.starts)
        found: list[list[int]] = []
        pieces: list[list[int]] = []
        for number in numbers:
            if in_streams and number not in starts and pieces:
                pieces[-1].append(number)
            else:
                pieces.append([number])
        for piece in pieces:
            if found and len(found[-1]) + len(piece) <= most:
                found[-1] += piece
            else:
                found.append(piece)
        return [tuple(part) for part in found]

    def _read(self, number: int) -> Batch:
        found = self._kept.get(number)
        if found is None:
            chosen = range(number * self._size, min((number + 1) * self._size, self.samples.count))
            part = self.samples.subset(chosen)
            part = part if part.fixed else part.by(len(chosen))
            (feed,) = part.feeds()
            found = self._kept[number] = Batch(
                number, {name: aligned(array) for name, array in feed.items()}, part.labels,
                number in self.samples.starts, self._settle,
            )  # fmt: skip
            self._held += _bytes(found)
            while self._held > _KEPT_BYTES and len(self._kept) > 1:
                self._held -= _bytes(self._kept.popitem(last=False)[1])
        return found


def _bytes(batch: Batch) -> int:
    return sum(array.nbytes for array in batch.feed.values())
