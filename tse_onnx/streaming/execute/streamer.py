"""The bounded executor: rows in stores of a fixed capacity, and stages that fire when they can.

It shares with the model which tensor's rows lie where, and in which order stages are asked. Everything else is its own:
which rows a stage takes, when a row may go, what fits. A row that is not stored raises.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tse_onnx.passes.reasons import quoted
from tse_onnx.streaming.execute.kernels.cutting import cut, joined
from tse_onnx.streaming.execute.kernels.kernel import Absorber, Kernel
from tse_onnx.streaming.network.network import Network

Feed = Mapping[str, np.ndarray]
_TOKEN = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Halt:
    """Why a pipeline halted: `waits` says, stage by stage, who waits for whom."""

    waits: tuple[str, ...]


@dataclass(frozen=True)
class Streamed:
    """One run: how it ended, the most rows and bytes that were stored, and the outputs where numbers were computed."""

    halt: Halt | None
    peaks: Mapping[tuple[str, int | None], int]
    peak_bytes: int
    outputs: Mapping[str, np.ndarray]
    fired: int


@dataclass
class _Store:
    """Rows of one tensor for all of its readers, or for those of one node."""

    key: tuple[str, int | None]
    capacity: int
    readers: dict[int, list[int]] = field(default_factory=dict)  # stage: for each row the last firing that takes it
    rows: dict[int, np.ndarray] = field(default_factory=dict)
    waiting: dict[int, int] = field(default_factory=dict)
    came: int = 0
    peak: int = 0


@dataclass
class _Actor:
    """A stage while it runs."""

    label: str
    output: str
    inputs: tuple[str, ...]
    height: int
    takes: Sequence[Mapping[str, Sequence[int]]]
    kernel: Kernel | None
    absorber: Absorber | None
    serves: Sequence[int | None]
    wanted: list[int]  # rows still to be absorbed, for each row to be made
    priority: tuple[int, int]
    node: int
    made: int = 0
    taken: int = 0


class Streamer:
    """A network that can be run row by row, any number of times."""

    def __init__(
        self, network: Network, kernels: Sequence[Kernel | None], absorbers: Sequence[Absorber | None], *, private: bool
    ) -> None:
        """`private`: every reading node has a store of its own."""
        self._network, self._private = network, private
        self._kernels, self._absorbers = kernels, absorbers
        self._takes: list[list[Mapping[str, Sequence[int]]]] = []
        self._serves: list[list[int | None]] = []
        for stage, kernel, absorber in zip(network.stages, kernels, absorbers, strict=True):
            height = network.tensors[stage.output].row_count
            self._takes.append([kernel.takes(row) for row in range(height)] if kernel is not None else [])
            tall = network.tensors[stage.inputs[0]].row_count if absorber is not None else 0
            self._serves.append([absorber.serves(row) for row in range(tall)] if absorber is not None else [])

    def at_once(self) -> dict[tuple[str, int | None], int]:
        """The most rows of a store that one firing takes together: fewer can never do."""
        found: dict[tuple[str, int | None], int] = {}
        for number, stage in enumerate(self._network.stages):
            for takes in self._takes[number]:
                for name, rows in takes.items():
                    key = self._key(name, stage.position)
                    found[key] = max(found.get(key, 1), len(rows))
        return found

    def run(
        self,
        capacities: Mapping[tuple[str, int | None], int] | None = None,
        feed: Feed | None = None,
        progress: Callable[[int, int], None] | None = None,
        seen: Callable[[str, int, np.ndarray], None] | None = None,
    ) -> Streamed:
        """Stream `feed`, or tokens without numbers, through stores of these capacities, or of any; `seen` is shown each
        row that a stage makes."""
        network = self._network
        stores = self._stores(capacities)
        by_tensor: dict[str, list[_Store]] = {}
        for store in stores:
            by_tensor.setdefault(store.key[0], []).append(store)
        actors = self._actors()
        home = {key: store for store in stores for key in [store.key]}
        reads = [{name: home[self._key(name, actor.node)] for name in actor.inputs} for actor in actors]
        makers = {actor.output: number for number, actor in enumerate(actors)}
        followers = {store.key: tuple(store.readers) for store in stores}
        collected: dict[str, list[np.ndarray]] = {name: [] for name, each in network.tensors.items() if each.leaves}
        parts = {tensor.name: cut(feed[tensor.name], tensor.rows) for tensor in network.sources} if feed else {}
        stored = peak = fired = 0
        ready: list[tuple[tuple[int, int], int]] = []
        waiting = set[int]()

        def able(number: int) -> bool:
            actor = actors[number]
            if actor.made >= actor.height:
                return False
            if actor.absorber is not None and self._can_absorb(actor, reads[number]):
                return True
            if actor.absorber is not None:
                if actor.wanted[actor.made]:
                    return False
            else:
                for name, rows in actor.takes[actor.made].items():
                    held = reads[number][name].rows
                    if any(row not in held for row in rows):
                        return False
            return all(len(store.rows) < store.capacity for store in by_tensor[actor.output])

        def ask(numbers: Iterable[int]) -> None:
            for number in numbers:
                if number not in waiting and able(number):
                    waiting.add(number)
                    heapq.heappush(ready, (actors[number].priority, number))

        def write(name: str, row: np.ndarray) -> None:
            nonlocal stored, peak
            if name in collected:
                collected[name].append(row)
            for store in by_tensor[name]:
                number = store.came
                store.came += 1
                awaited = sum(last[number] >= 0 for last in store.readers.values())
                store.rows[number] = row
                store.peak = max(store.peak, len(store.rows))
                stored += row.nbytes
                peak = max(peak, stored)
                if awaited:
                    store.waiting[number] = awaited
                else:
                    stored -= store.rows.pop(number).nbytes
                ask(followers[store.key])

        def drop(store: _Store, row: int) -> None:
            nonlocal stored
            store.waiting[row] -= 1
            if not store.waiting[row]:
                del store.waiting[row]
                stored -= store.rows.pop(row).nbytes
                maker = makers.get(store.key[0])
                if maker is not None:
                    ask((maker,))

        def fire(number: int) -> None:
            actor = actors[number]
            if actor.absorber is not None and self._can_absorb(actor, reads[number]):
                store, row = reads[number][actor.inputs[0]], actor.taken
                serves = actor.serves[row]
                if serves is not None:
                    if feed is not None:
                        actor.absorber.absorb(row, store.rows[row])
                    drop(store, row)
                    actor.wanted[serves] -= 1
                actor.taken += 1
                return
            row = actor.made
            if feed is None:
                made = _TOKEN
            elif actor.absorber is not None:
                made = actor.absorber.emit(row)
            else:
                assert actor.kernel is not None
                made = actor.kernel.make(row, {name: store.rows for name, store in reads[number].items()})
            actor.made += 1
            if seen is not None:
                seen(actor.output, row, made)
            write(actor.output, made)
            if actor.absorber is None:
                for name, rows in actor.takes[row].items():
                    store = reads[number][name]
                    for each in set(rows):
                        if store.readers[number][each] == row:
                            drop(store, each)

        ask(range(len(actors)))
        given = {tensor.name: 0 for tensor in network.sources}
        heights = {tensor.name: tensor.row_count for tensor in network.sources}
        while True:
            while ready:
                _, number = heapq.heappop(ready)
                waiting.discard(number)
                if able(number):
                    fire(number)
                    fired += 1
                    ask((number,))
            open_inputs = [
                name for name, done in given.items()
                if done < heights[name] and all(len(store.rows) < store.capacity for store in by_tensor[name])
            ]  # fmt: skip
            if not open_inputs:
                break
            name = min(open_inputs, key=lambda each: (given[each] + 1) / heights[each])
            row = given[name]
            given[name] += 1
            write(name, parts[name][row] if feed is not None else _TOKEN)
            if progress is not None:
                progress(sum(given.values()), sum(heights.values()))
        finished = all(actor.made == actor.height for actor in actors) and given == heights
        outputs = {}
        if finished and feed is not None:
            outputs = {name: joined(rows, network.tensors[name].rows) for name, rows in collected.items()}
        halt = None if finished else Halt(_waits(actors, reads, by_tensor))
        return Streamed(halt, {store.key: store.peak for store in stores}, peak, outputs, fired)

    @staticmethod
    def _can_absorb(actor: _Actor, reads: Mapping[str, _Store]) -> bool:
        """Whether the next row is there, or is not wanted, and belongs to the row that is being accumulated."""
        if actor.taken >= len(actor.serves):
            return False
        serves = actor.serves[actor.taken]
        if serves is None:
            return reads[actor.inputs[0]].came > actor.taken
        return serves <= actor.made and actor.taken in reads[actor.inputs[0]].rows

    def _key(self, name: str, node: int) -> tuple[str, int | None]:
        return (name, node if self._private else None)

    def _stores(self, capacities: Mapping[tuple[str, int | None], int] | None) -> list[_Store]:
        found: dict[tuple[str, int | None], _Store] = {}
        unbounded = 1 << 60
        for name in self._network.tensors:
            readers = self._network.readers[name]
            nodes: list[int | None] = [self._network.stages[each].position for each in readers]
            for node in dict.fromkeys(nodes if self._private and nodes else [None]):
                key = (name, node)
                found[key] = _Store(key, capacities[key] if capacities is not None else unbounded)
        for number, stage in enumerate(self._network.stages):
            for name in stage.inputs:
                store = found[self._key(name, stage.position)]
                last = [-1] * self._network.tensors[name].row_count
                if self._absorbers[number] is not None:
                    for row, serves in enumerate(self._serves[number]):
                        last[row] = -1 if serves is None else serves
                for made, takes in enumerate(self._takes[number]):
                    for row in takes.get(name, ()):
                        last[row] = made
                store.readers[number] = last
        return list(found.values())

    def _actors(self) -> list[_Actor]:
        return [
            _Actor(
                stage.label, stage.output, stage.inputs, self._network.tensors[stage.output].row_count,
                self._takes[number], self._kernels[number], self._absorbers[number], self._serves[number],
                [self._serves[number].count(row) for row in range(self._network.tensors[stage.output].row_count)]
                if self._absorbers[number] is not None else [],
                (-stage.depth, -number), stage.position,
            )
            for number, stage in enumerate(self._network.stages)
        ]  # fmt: skip


def _waits(
    actors: Sequence[_Actor], reads: Sequence[Mapping[str, _Store]], by_tensor: Mapping[str, Sequence[_Store]]
) -> tuple[str, ...]:
    """A sentence for each stage that has begun to wait for another and is itself waited for."""
    said = []
    for number, actor in enumerate(actors):
        if actor.made >= actor.height:
            continue
        full = [store for store in by_tensor[actor.output] if len(store.rows) >= store.capacity]
        missing = _missing(actor, reads[number])
        if missing is not None:
            name, row = missing
            held = [(other, store) for other, store in reads[number].items() if other != name and store.rows]
            if held or any(len(store.rows) >= store.capacity for store in reads[number].values()):
                said.append(f"{actor.label} waits for row {row} of {quoted(name)}")
        elif full:
            said.append(
                f"{actor.label} cannot store row {actor.made} of {quoted(actor.output)}: all "
                f"{full[0].capacity} of its rows are still to be read"
            )
    for name, stores in by_tensor.items():
        full = [store for store in stores if len(store.rows) >= store.capacity]
        if full and not any(actor.output == name for actor in actors):
            said.append(
                f"row {full[0].came} of input {quoted(name)} cannot come: all {full[0].capacity} of its rows "
                "are still to be read"
            )
    return tuple(said)


def _missing(actor: _Actor, reads: Mapping[str, _Store]) -> tuple[str, int] | None:
    if actor.absorber is not None:
        wanted = [row for row in range(actor.taken, len(actor.serves)) if actor.serves[row] == actor.made]
        return (actor.inputs[0], wanted[-1]) if wanted else None
    for name, rows in actor.takes[actor.made].items():
        absent = [row for row in rows if row not in reads[name].rows]
        if absent:
            return name, max(absent)
    return None
