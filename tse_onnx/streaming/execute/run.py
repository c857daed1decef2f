"""The bounded executor: rows in stores of a fixed capacity, and stages that fire when they can."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tse_onnx.streaming.execute.halt import waits, withheld
from tse_onnx.streaming.execute.layout import Key, Layout
from tse_onnx.streaming.execute.state import Actor, Room, Store

if TYPE_CHECKING:
    from tse_onnx.streaming.execute.numbers import Numbers

Progress = Callable[[int, int], None]
_UNBOUNDED = 1 << 60


@dataclass(frozen=True)
class Halt:
    """Why a pipeline halted: `waits` says, stage by stage, who waits for whom."""

    waits: tuple[str, ...]


@dataclass(frozen=True)
class Streamed:
    """One run: how it ended, the most rows and bytes that were stored, and the outputs where numbers were computed."""

    halt: Halt | None
    peaks: Mapping[Key, int]
    peak_bytes: int
    outputs: Mapping[str, np.ndarray]
    fired: int


class Run:
    """One run: what can fire fires, deepest first; when nothing can, the next row of an input comes."""

    def __init__(
        self, layout: Layout, capacities: Mapping[Key, int] | None = None, progress: Progress | None = None,
        numbers: Numbers | None = None,
    ) -> None:  # fmt: skip
        """`numbers` computes what is made; without it rows are tokens."""
        self._progress, self._numbers = progress, numbers
        self._rooms = {
            place.key: Room(_UNBOUNDED if capacities is None else capacities[place.key]) for place in layout.places
        }
        self.stores = [Store(place, self._rooms[place.key]) for place in layout.places]
        self.actors = [Actor(step, list(step.wanted)) for step in layout.steps]
        self._places: dict[str, list[Store]] = {}
        for store in self.stores:
            self._places.setdefault(store.place.tensor, []).append(store)
        self._given = dict.fromkeys(layout.heights, 0)
        self._heights = layout.heights
        self._ready: list[tuple[tuple[int, int], int]] = []
        self._asked = set[int]()
        self._bytes = self._peak_bytes = self._fired = 0

    def to_end(self) -> Streamed:
        """Run to the end, and say how it was."""
        self.exhaust()
        return self._streamed()

    def exhaust(self) -> None:
        """Run until nothing can fire and no row can come."""
        self._ask(range(len(self.actors)))
        self._fire_all()
        while (name := self._next_input()) is not None:
            self._give(name)
            self._fire_all()
        if self._numbers is not None:
            self._numbers.settle(self._places)

    def _ask(self, numbers: Iterable[int]) -> None:
        """Put stages in line that can fire."""
        for number in numbers:
            if number not in self._asked and self._able(self.actors[number]):
                self._asked.add(number)
                heapq.heappush(self._ready, (self.actors[number].step.priority, number))

    def _able(self, actor: Actor) -> bool:
        step = actor.step
        if actor.made >= step.height or (step.copy is not None and not self._done(step.copy)):
            return False
        if step.absorber is not None:
            if self._absorbs(actor):
                return True
            if actor.wanted[actor.made]:
                return False
        else:
            for place, rows in step.takes[actor.made]:
                if not self.stores[place].rows.issuperset(rows):
                    return False
        for place in step.writes:
            room = self.stores[place].room
            if room.held >= room.capacity:
                return False
        return True

    def _done(self, number: int) -> bool:
        return self.actors[number].made == self.actors[number].step.height

    def _absorbs(self, actor: Actor) -> bool:
        """Whether the next row is there, or is not wanted, and belongs to the row that is being accumulated."""
        step = actor.step
        if actor.taken >= len(step.serves):
            return False
        store, serves = self._absorbed(actor), step.serves[actor.taken]
        if serves is None:
            return store.came > actor.taken
        return serves <= actor.made and actor.taken in store.rows

    def _absorbed(self, actor: Actor) -> Store:
        """The store of the only input of a stage that absorbs."""
        (place,) = actor.step.reads.values()
        return self.stores[place]

    def _fire_all(self) -> None:
        ready, asked = self._ready, self._asked
        while ready:
            _, number = heapq.heappop(ready)
            asked.discard(number)
            actor = self.actors[number]
            if self._able(actor):
                if actor.step.absorber is not None and self._absorbs(actor):
                    self._absorb(number, actor)
                else:
                    self._make(number, actor)
                self._fired += 1
                if self._numbers is not None and self._numbers.due:
                    self._numbers.settle(self._places)
                self._ask((number, *actor.step.again))

    def _absorb(self, number: int, actor: Actor) -> None:
        """Take one row into the accumulator."""
        step, row = actor.step, actor.taken
        serves = step.serves[row]
        if serves is not None:
            if self._numbers is not None:
                self._numbers.fired(number, -1 - row)
            self._drop(self._absorbed(actor), row)
            actor.wanted[serves] -= 1
        actor.taken += 1

    def _make(self, number: int, actor: Actor) -> None:
        """Make one row of the output, and drop what is not needed after it."""
        step, row = actor.step, actor.made
        actor.made += 1
        if self._numbers is not None:
            self._numbers.fired(number, row)
        self._write(step.output)
        if step.absorber is None:
            for place, each in step.drops[row]:
                self._drop(self.stores[place], each)

    def _write(self, name: str) -> None:
        for store in self._places[name]:
            number = store.came
            store.came += 1
            store.rows.add(number)
            room = store.room
            room.held += 1
            if room.held > room.peak:
                room.peak = room.held
            self._bytes += store.place.bytes
            if self._bytes > self._peak_bytes:
                self._peak_bytes = self._bytes
            awaited = store.place.awaited[number]
            if awaited:
                store.waiting[number] = awaited
            else:
                self._forget(store, number)
            self._ask(store.place.readers)

    def _drop(self, store: Store, row: int) -> None:
        """One of the stages that wait for a row is done with it; the last lets it go."""
        store.waiting[row] -= 1
        if not store.waiting[row]:
            del store.waiting[row]
            self._forget(store, row)
            self._ask(store.place.makers)

    def _forget(self, store: Store, row: int) -> None:
        store.room.held -= 1
        store.rows.remove(row)
        self._bytes -= store.place.bytes

    def _next_input(self) -> str | None:
        """The input that is farthest behind of those whose next row fits; None where none does."""
        heights = self._heights
        able = [
            name for name, given in self._given.items()
            if given < heights[name] and not any(store.full for store in self._places[name])
        ]  # fmt: skip
        return min(able, key=lambda name: (self._given[name] + 1) / heights[name], default=None)

    def _give(self, name: str) -> None:
        """The next row of an input comes."""
        row = self._given[name]
        self._given[name] += 1
        if self._numbers is not None:
            self._numbers.came(name, row)
        self._write(name)
        if self._progress is not None:
            self._progress(sum(self._given.values()), sum(self._heights.values()))

    @property
    def finished(self) -> bool:
        """Whether every row has come and been made."""
        return self._given == self._heights and all(actor.made == actor.step.height for actor in self.actors)

    def _streamed(self) -> Streamed:
        outputs = self._numbers.outputs if self.finished and self._numbers is not None else {}
        return Streamed(
            None if self.finished else Halt((*waits(self.actors, self.stores), *withheld(self.stores))),
            {key: room.peak for key, room in self._rooms.items()}, self._peak_bytes, outputs, self._fired,
        )  # fmt: skip
