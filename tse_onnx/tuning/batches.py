"""Samples as numbered batches, read when they are needed and kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from tse_onnx.data.samples import Samples
from tse_onnx.tuning.work import Batch, aligned

_KEPT_BYTES = 512 * 2**20


class Batches:
    """The batches of some samples. A batch holds the same samples whatever else is read."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
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
        return [self._read(number) for number in numbers]

    def __iter__(self) -> Iterator[Batch]:
        return (self._read(number) for number in self.numbers)

    def _read(self, number: int) -> Batch:
        found = self._kept.get(number)
        if found is None:
            chosen = range(number * self._size, min((number + 1) * self._size, self.samples.count))
            part = self.samples.subset(chosen)
            part = part if part.fixed else part.by(len(chosen))
            (feed,) = part.feeds()
            found = self._kept[number] = Batch(
                number, {name: aligned(array) for name, array in feed.items()}, part.labels
            )
            self._held += _bytes(found)
            while self._held > _KEPT_BYTES and len(self._kept) > 1:
                self._held -= _bytes(self._kept.popitem(last=False)[1])
        return found


def _bytes(batch: Batch) -> int:
    return sum(array.nbytes for array in batch.feed.values())
