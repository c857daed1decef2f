"""A pipeline cut where a single tensor carries everything, so that what a row less does shows in one piece.

Each piece completes with its capacities, whatever comes before and after. So one that has less completes or halts as
it does alone, where rows come as soon as they fit and go as soon as they are made. Where it halts, the pieces in front
come to rest with the rows that it took, those behind with the rows that it made: who waits in them is found out once
for each number of rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from tse_onnx.streaming.execute.halt import waits, withheld
from tse_onnx.streaming.execute.layout import Key, Layout, Place, Step
from tse_onnx.streaming.execute.run import Run
from tse_onnx.streaming.execute.state import Store

_NEVER = 1 << 60


@dataclass(frozen=True, eq=False)
class Piece:
    """Stages that follow each other, with their places. The `inlet` is the tensor that is handed on to it, the `outlet`
    the one that it hands on: whose rows stay, because those who read them are not there."""

    layout: Layout
    inlet: str | None
    outlet: str | None


@dataclass(frozen=True)
class _Rest:
    """A piece that has come to rest, and who waits in it."""

    run: Run
    waits: tuple[str, ...]


class Pieces:
    """A pipeline that completes with its capacities, in pieces."""

    def __init__(self, layout: Layout, capacities: Mapping[Key, int]) -> None:
        self._capacities = capacities
        self._pieces = [_piece(layout, stages) for stages in cut(layout)]
        self._number_of: dict[Key, int] = {}
        self._reader: dict[str, int] = {}
        self._maker: dict[str, int] = {}
        for number, piece in enumerate(self._pieces):
            for place in piece.layout.places:
                if place.tensor != piece.outlet:
                    self._number_of[place.key] = number
            if piece.inlet is not None:
                self._reader[piece.inlet] = number
            if piece.outlet is not None:
                self._maker[piece.outlet] = number
        self._pent: dict[tuple[int, int, int], _Rest] = {}
        self._starved: dict[tuple[int, int], _Rest] = {}

    def waits(self, key: Key, rows: int) -> tuple[str, ...] | None:
        """Who waits for whom where one store has room for so many rows, at least one, and the others for theirs; None
        where the pipeline completes."""
        number = self._number_of.get(key)
        if number is None:  # an input that nothing reads
            return None
        run = self._exhausted(number, {key: rows})
        if run.finished:
            return None
        before, inputs = self._before(number, run)
        return (*before, *waits(run.actors, run.stores), *self._after(number, run), *inputs)

    def _exhausted(self, number: int, other: Mapping[Key, int], given: int | None = None) -> Run:
        """A piece run to its rest, with some `other` capacities and maybe so many rows `given` to it alone."""
        piece = self._pieces[number]
        capacities = {
            place.key: _NEVER if place.tensor == piece.outlet else self._capacities[place.key]
            for place in piece.layout.places
        }
        layout = piece.layout
        if given is not None and piece.inlet is not None:
            layout = replace(layout, heights={**layout.heights, piece.inlet: given})
        run = Run(layout, {**capacities, **other})
        run.exhaust()
        return run

    def _before(self, number: int, run: Run) -> tuple[list[str], tuple[str, ...]]:
        """Who waits in front of a piece that has come to rest, and for the inputs of the graph."""
        said: list[tuple[str, ...]] = []
        while (inlet := self._pieces[number].inlet) is not None:
            stores = _stores(run, inlet)
            came = stores[0].came
            if came == self._pieces[number].layout.heights[inlet]:  # then all in front is done
                return [text for texts in reversed(said) for text in texts], ()
            number, full = self._maker[inlet], next(store.room.capacity for store in stores if store.full)
            if (number, came, full) not in self._pent:
                self._pent[number, came, full] = self._backed_up(number, came, full)
            run = self._pent[number, came, full].run
            said.append(self._pent[number, came, full].waits)
        return [text for texts in reversed(said) for text in texts], withheld(run.stores)

    def _backed_up(self, number: int, came: int, full: int) -> _Rest:
        """A piece at rest that can hand on no more than the rows that came: there is room for `full` of them."""
        stores = self._pieces[number].layout.places
        outlet = self._pieces[number].outlet
        run = self._exhausted(number, {place.key: came for place in stores if place.tensor == outlet})
        for store in run.stores:
            if store.place.tensor == outlet:
                store.room.held = store.room.capacity = full  # the others have been read
        return _Rest(run, waits(run.actors, run.stores))

    def _after(self, number: int, run: Run) -> Iterator[str]:
        """Who waits behind a piece that has come to rest."""
        while (outlet := self._pieces[number].outlet) is not None:
            came, number = _stores(run, outlet)[0].came, self._reader[outlet]
            if came == self._pieces[number].layout.heights[outlet]:  # then all behind will be done
                return
            if (number, came) not in self._starved:
                run = self._exhausted(number, {}, came)
                self._starved[number, came] = _Rest(run, waits(run.actors, run.stores))
            run = self._starved[number, came].run
            yield from self._starved[number, came].waits


def _stores(run: Run, tensor: str) -> list[Store]:
    return [store for store in run.stores if store.place.tensor == tensor]


@dataclass
class _Span:
    """From when to when a tensor is in use: the stages that fill it and read it, what shares its room included."""

    tensors: set[str] = field(default_factory=set)
    makers: set[int] = field(default_factory=set)
    readers: set[int] = field(default_factory=set)

    def carries(self, stage: int) -> bool:
        """Whether all of it is made up to a stage, and all of it read behind."""
        return len(self.tensors) == 1 and max(self.makers, default=-1) <= stage < min(self.readers, default=_NEVER)


def cut(layout: Layout) -> list[range]:
    """The stages of each piece. A cut is where of all that was made a single tensor is still to be read, and nobody has
    begun to."""
    spans: defaultdict[str, _Span] = defaultdict(_Span)
    for place in layout.places:
        span = spans[place.key[0]]
        span.tensors.add(place.tensor)
        span.makers.update(place.makers)
        span.readers.update(place.readers)
    opening, closing = defaultdict[int, set[str]](set), defaultdict[int, set[str]](set)
    for name, span in spans.items():
        opening[min(span.makers, default=-1)].add(name)
        closing[max(span.makers | span.readers, default=-1)].add(name)
    live = opening[-1] - closing[-1]
    found, begin = list[range](), 0
    for stage in range(len(layout.steps)):
        live = (live | opening[stage]) - closing[stage]
        if not live or (len(live) == 1 and spans[next(iter(live))].carries(stage)):
            found.append(range(begin, stage + 1))
            begin = stage + 1
    return found


def _piece(layout: Layout, stages: range) -> Piece:
    steps = layout.steps[stages.start : stages.stop]
    numbers = sorted({place for step in steps for place in (*step.writes, *step.reads.values())})
    position = {number: index for index, number in enumerate(numbers)}
    places, inlet, outlet, heights = list[Place](), None, None, dict[str, int]()
    for number in numbers:
        place = layout.places[number]
        mine = [reader in stages for reader in place.readers]
        if not any(maker in stages for maker in place.makers):
            heights[place.tensor] = len(place.awaited)
            inlet = place.tensor if place.makers else inlet
            place = replace(place, makers=())
        if place.readers and not any(mine):
            outlet = place.tensor
            place = replace(place, readers=(), awaited=[1] * len(place.awaited))
        places.append(
            replace(
                place,
                makers=tuple(maker - stages.start for maker in place.makers),
                readers=tuple(reader - stages.start for reader in place.readers),
            )
        )
    return Piece(Layout([_moved(step, position, stages.start) for step in steps], places, heights), inlet, outlet)


def _moved(step: Step, position: Mapping[int, int], start: int) -> Step:
    """A stage among fewer stages and places."""
    return replace(
        step,
        reads={name: position[place] for name, place in step.reads.items()},
        writes=tuple(position[place] for place in step.writes),
        takes=[tuple((position[place], rows) for place, rows in each) for each in step.takes],
        drops=[tuple((position[place], row) for place, row in each) for each in step.drops],
        copy=None if step.copy is None else step.copy - start,
        again=tuple(stage - start for stage in step.again),
    )
