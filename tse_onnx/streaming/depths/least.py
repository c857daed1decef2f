"""How small the stores can be so that the pipeline still completes, and that no schedule can do with less."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from tse_onnx.streaming.depths.floors import floors
from tse_onnx.streaming.depths.pipeline import Pipeline
from tse_onnx.streaming.depths.simulate import simulate
from tse_onnx.streaming.depths.together import together
from tse_onnx.streaming.network.needs.rows import Need


@dataclass(frozen=True)
class Least:
    """Capacities of which none can be one less, and what no schedule goes below.

    `floor[t]` is what store t has to have in every schedule; of `pieces`, each a group of stores, it is known that
    together they need more elements than their floors come to: that many.
    """

    capacities: tuple[int, ...]
    floor: tuple[int, ...]
    pieces: tuple[tuple[tuple[int, ...], int], ...]


def least(
    pipeline: Pipeline,
    start: Sequence[int] | None,
    width: Sequence[int],
    *,
    among: Container[int] | None = None,
    at_least: Sequence[int] | None = None,
) -> Least:
    """The least capacities that are found: those of the floors, where the pipeline completes with them. Where not,
    `start` shrunk, the widest store first (`width` elements a token), or what ends lower from elsewhere. None starts
    where a run without bounds peaks, which is found out where it is needed.

    They are minimal and not unique: where two branches meet, either may wait. A pipeline is worked on piece by piece,
    cut where a single tensor carries everything: whether it halts is then decided in each piece alone. Pieces with none
    of the stages `among` are left out; `at_least` is what stores have whether it is needed or not.
    """
    floor = list(at_least or [1] * len(width))
    found = list(floor)
    pieces = []
    for stages in segments(pipeline):
        if among is not None and not any(stage in among for stage in stages):
            continue
        if (lone := _alone(pipeline, stages)) is not None:
            store, need = lone
            found[store] = floor[store] = max(floor[store], need.window)
            continue
        part, stores = pipeline.part(stages)
        low = [max(floor[store], rows) for store, rows in zip(stores, floors(part), strict=True)]
        # What comes from outside belongs to the piece that reads it, what leaves to the next.
        mine = [number for number in range(len(stores)) if part.links[number]]
        limits: Sequence[int] = low
        if not simulate(part, low).completed:
            elements = [width[store] if part.links[number] else 0 for number, store in enumerate(stores)]
            start = start or simulate(pipeline).peaks
            limits, bound = _shrunk(part, low, [max(start[store], floor[store]) for store in stores], elements)
            pieces.append((tuple(stores[number] for number in mine), bound))
        for number in mine:
            found[stores[number]], floor[stores[number]] = limits[number], low[number]
    for store, links in enumerate(pipeline.links):
        if not links:
            found[store] = floor[store]
    return Least(tuple(found), tuple(floor), tuple(pieces))


def _shrunk(
    part: Pipeline, low: Sequence[int], start: Sequence[int], width: Sequence[int]
) -> tuple[Sequence[int], int]:
    """The least capacities of a piece that does not complete at its floors, and a bound on what they come to.

    Shrinking never moves rows from one store to another, so where it starts matters: with the eager schedule, with rows
    where the bound has them, with everything full.
    """
    full = [max(store.tokens, rows) for store, rows in zip(part.stores, low, strict=True)]
    eager = [room if links else 1 for room, links in zip(start, part.links, strict=True)]
    found = _shrink(part, low, eager if simulate(part, eager).completed else full, width)
    bound, waiting = together(part, low, width, _elements(found, width))
    for other in (waiting, full):
        if _elements(found, width) > bound and simulate(part, other).completed:
            found = min(found, _shrink(part, low, other, width), key=lambda limits: _elements(limits, width))
    return found, bound


def _shrink(part: Pipeline, low: Sequence[int], start: Sequence[int], width: Sequence[int]) -> list[int]:
    """Capacities with which a piece completes, as small as they can be one after the other."""
    limits = list(start)
    held = (number for number, links in enumerate(part.links) if links)
    for number in sorted(held, key=lambda number: (-width[number], number)):
        limits[number] = _lowest(part, limits, number, low[number])
    return limits


def _elements(limits: Iterable[int], width: Sequence[int]) -> int:
    return sum(room * each for room, each in zip(limits, width, strict=True))


def _alone(pipeline: Pipeline, stages: Sequence[int]) -> tuple[int, Need] | None:
    """The store and the need of a piece that is one stage with one store to read: its window is enough, because while a
    token is still to come, those that wait are fewer than the window."""
    if len(stages) > 1 or pipeline.absorbs[stages[0]] or len(reads := pipeline.reads[stages[0]]) != 1:
        return None
    ((store, link),) = reads
    return store, link.need


def _lowest(part: Pipeline, limits: Sequence[int], number: int, low: int) -> int:
    """The smallest capacity of one store with which the piece completes, the others as they are."""
    if low >= limits[number]:
        return limits[number]
    trial = list(limits)
    trial[number] = low
    return max(low, simulate(part, trial, growing=number).peaks[number])


def segments(pipeline: Pipeline) -> list[list[int]]:
    """Stages in runs, cut where a single tensor carries everything: it is all that later stages read of what came
    before, and no stage before the cut reads it."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    makers = pipeline.makers
    # What is made goes by its maker; the inputs have numbers of their own, below zero.
    given = {store: -1 - source for source, (group, _) in enumerate(pipeline.sources) for store in group}
    for stage, reads in enumerate(pipeline.reads):
        for store, _ in reads:
            maker = given.get(store, makers[store])
            first.setdefault(maker, stage)
            last[maker] = stage
    closing: dict[int, list[int]] = {}
    for maker, until in last.items():
        closing.setdefault(until, []).append(maker)
    live = {maker for maker in given.values() if maker in last}
    runs: list[list[int]] = [[]]
    for stage in range(len(pipeline.reads)):
        runs[-1].append(stage)
        live.difference_update(closing.get(stage, ()))
        if stage in last:
            live.add(stage)
        if not live or (len(live) == 1 and first[next(iter(live))] > stage):
            runs.append([])
    return [run for run in runs if run]
