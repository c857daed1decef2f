"""What the firings of a run compute: the numbers of rows, several rows of a stage in one call where its kernel can.

A run says which stage fires when, and which rows are there. The numbers follow in strips: what each stage fired in a
stretch of the run is computed at once, stage by stage in the order of the graph, in which all that a firing takes is
made before. A strip is given the rows that its firings take, and no others. Where a stretch ends, the rows go that the
run's stores hold no longer; with a `room` of 0 a stretch is one firing, so that the numbers of a row are made when the
row is, and are held as long.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from tse_onnx.data.feed import Feed
from tse_onnx.passes.graph.types import bits_of
from tse_onnx.streaming.execute.kernels.cutting import cut, joined, stackable
from tse_onnx.streaming.execute.kernels.kernel import Stacking
from tse_onnx.streaming.execute.layout import Layout, Step
from tse_onnx.streaming.execute.state import Store
from tse_onnx.streaming.network.network import Tensor

Alone = Callable[[int], np.ndarray]
Seen = Callable[[str, range, np.ndarray, Alone], None]
"""Shown rows of a tensor, one beside the other, and what makes one of them by itself, of the rows that it takes."""

ROOM = 1 << 21
"""Bytes of a strip that are computed at once: more would not stay in a processor's cache."""


class Held(Mapping[int, np.ndarray]):
    """The rows of a tensor that are there, by number."""

    def __init__(self, tensor: Tensor) -> None:
        self._axis = tensor.rows if stackable(tensor) else None
        self._rows: dict[int, tuple[np.ndarray, int]] = {}

    def put(self, rows: range, block: np.ndarray) -> None:
        """Add rows that lie one beside the other."""
        for place, row in enumerate(rows):
            self._rows[row] = block, place

    def keep(self, rows: Collection[int]) -> None:
        """Let all other rows go."""
        for row in [row for row in self._rows if row not in rows]:
            del self._rows[row]

    def __getitem__(self, row: int) -> np.ndarray:
        block, place = self._rows[row]
        return self._part(block, place, place + 1)

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def together(self, rows: Sequence[int]) -> np.ndarray:
        """Some rows one beside the other, in this order."""
        found, first = list[np.ndarray](), 0
        places = [self._rows[row] for row in rows]
        while first < len(places):
            block, begin = places[first]
            end = first + 1
            while end < len(places) and places[end][0] is block and places[end][1] == begin + end - first:
                end += 1
            found.append(self._part(block, begin, begin + end - first))
            first = end
        if len(found) == 1:
            return found[0]
        assert self._axis is not None
        return np.concatenate(found, axis=self._axis.axis)

    def _part(self, block: np.ndarray, begin: int, end: int) -> np.ndarray:
        if self._axis is None:
            return block
        axis, inner = self._axis.axis, self._axis.inner
        if not begin and end * inner == block.shape[axis]:
            return block
        return block[(slice(None),) * axis + (slice(begin * inner, end * inner),)]


class Taken(Mapping[int, np.ndarray]):
    """Those rows of a tensor that some firings take; another one raises: that is how a wrong kernel shows."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.rows: Collection[int] = ()

    def __getitem__(self, row: int) -> np.ndarray:
        if row not in self.rows:
            raise KeyError(row)
        return self._held[row]

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def together(self, rows: Sequence[int]) -> np.ndarray:
        """Some rows one beside the other, in this order."""
        for row in rows:
            if row not in self.rows:
                raise KeyError(row)
        return self._held.together(rows)


class Numbers:
    """The numbers of one run."""

    def __init__(
        self, layout: Layout, tensors: Mapping[str, Tensor], feed: Feed, seen: Seen | None = None, room: int = ROOM
    ) -> None:
        """`feed` are the inputs' numbers; `seen` is shown what is made. A strip of `room` bytes ends a stretch."""
        self._steps, self._tensors, self._seen, self._room = layout.steps, tensors, seen, room
        self._held = {name: Held(tensor) for name, tensor in tensors.items()}
        self._parts = {name: cut(feed[name], tensors[name].rows) for name in layout.heights}
        self._taken = [
            {place: (name, Taken(self._held[name])) for name, place in step.reads.items()} for step in self._steps
        ]
        self._stacking = [step.kernel if isinstance(step.kernel, Stacking) else None for step in self._steps]
        self._sizes = [row_bytes(tensors[step.output]) for step in self._steps]
        self._pending: dict[int, list[int]] = {}
        self._leaving: dict[str, list[np.ndarray]] = {name: [] for name, tensor in tensors.items() if tensor.leaves}
        self.due = False
        """Whether a stretch has to end."""

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """The outputs of a run that came to its end."""
        return {
            name: np.concatenate(rows, axis=axis.axis)
            if (axis := self._tensors[name].rows) is not None and stackable(self._tensors[name])
            else joined(rows, axis)
            for name, rows in self._leaving.items()
        }

    def came(self, name: str, row: int) -> None:
        """A row of an input is there."""
        self._put(name, range(row, row + 1), self._parts[name][row])

    def fired(self, number: int, row: int) -> None:
        """A stage has made a row, or absorbed row −1 − `row` of its input."""
        rows = self._pending.get(number)
        if rows is None:
            rows = self._pending[number] = []
        rows.append(row)
        if len(rows) * self._sizes[number] >= self._room:
            self.due = True

    def settle(self, stores: Mapping[str, Sequence[Store]]) -> None:
        """Compute what has fired, and let the rows go that no store of their tensor, by its name, holds."""
        touched = set[str]()
        for number in sorted(self._pending):
            step, rows = self._steps[number], self._pending[number]
            if step.absorber is not None:
                self._absorb(number, step, rows)
            else:
                self._make(number, step, range(rows[0], rows[-1] + 1))
            touched.update((step.output, *step.reads))
        for name in touched:
            self._held[name].keep({row for store in stores[name] for row in store.rows})
        self._pending.clear()
        self.due = False

    def _absorb(self, number: int, step: Step, rows: Sequence[int]) -> None:
        absorber, ((_, taken),) = step.absorber, self._taken[number].values()
        assert absorber is not None
        for row in rows:
            if row >= 0:
                self._put(step.output, range(row, row + 1), absorber.emit(row), absorber.emit)
            elif step.serves[-1 - row] is not None:
                taken.rows = (-1 - row,)
                absorber.absorb(-1 - row, taken[-1 - row])

    def _make(self, number: int, step: Step, rows: range) -> None:
        kernel, taken = step.kernel, self._taken[number]
        assert kernel is not None
        stored = dict(taken.values())

        def alone(made: int) -> np.ndarray:
            takes = dict(step.takes[made])
            for place, (_, each) in taken.items():
                each.rows = takes.get(place, ())
            return kernel.make(made, stored)

        stacking = self._stacking[number]
        if len(rows) > 1 and stacking is not None:
            every: dict[int, set[int]] = {place: set() for place in taken}
            for made in rows:
                for place, takes in step.takes[made]:
                    every[place].update(takes)
            for place, (_, each) in taken.items():
                each.rows = every[place]
            if (block := stacking.stack(rows, stored)) is not None:
                self._put(step.output, rows, block, alone)
                return
        for made in rows:
            self._put(step.output, range(made, made + 1), alone(made), alone)

    def _put(self, name: str, rows: range, block: np.ndarray, alone: Alone | None = None) -> None:
        if self._tensors[name].one_column is not None:  # of a row that is one column, that one is held
            block = np.broadcast_to(block[..., :1], block.shape)
        self._held[name].put(rows, block)
        if name in self._leaving:
            self._leaving[name].append(block)
        if alone is not None and self._seen is not None:
            self._seen(name, rows, block, alone)


def row_bytes(tensor: Tensor) -> int:
    """Bytes of a row of a tensor, for one image."""
    return -(-tensor.row_elements * bits_of(tensor.stored) // 8)
