"""How small the stores can be so that the pipeline still completes."""

from __future__ import annotations

from collections.abc import Sequence

from tse_onnx.streaming.depths.pipeline import Pipeline
from tse_onnx.streaming.depths.simulate import simulate
from tse_onnx.streaming.network.needs.rows import Need


def minimal(pipeline: Pipeline, start: Sequence[int], width: Sequence[int]) -> tuple[int, ...]:
    """Capacities of which none can be one less: `start` shrunk, the widest store first (`width` elements a token).

    They are minimal and not unique: where two branches meet, either may wait. A pipeline is worked on piece by piece,
    cut where a single tensor carries everything: whether it halts is then decided in each piece alone.
    """
    found = list(start)
    for stages in segments(pipeline):
        if (lone := _alone(pipeline, stages)) is not None:
            store, need = lone
            found[store] = max(1, need.window)
            continue
        part, stores = pipeline.part(stages)
        floor = bounds(part)
        # What comes from outside belongs to the piece that reads it, what leaves to the next.
        mine = [number for number in range(len(stores)) if part.links[number]]
        trial = [max(1, floor[number]) for number in range(len(stores))]
        if simulate(part, trial).completed:
            for number in mine:
                found[stores[number]] = trial[number]
            continue
        limits = [start[store] if part.links[number] else 1 for number, store in enumerate(stores)]
        if not simulate(part, limits).completed:
            limits = [part.stores[number].tokens for number in range(len(stores))]
        for number in sorted(mine, key=lambda number: (-width[stores[number]], number)):
            limits[number] = _least(part, limits, number, trial[number])
        for number in mine:
            found[stores[number]] = limits[number]
    for store, links in enumerate(pipeline.links):
        if not links:
            found[store] = 1
    return tuple(found)


def _alone(pipeline: Pipeline, stages: Sequence[int]) -> tuple[int, Need] | None:
    """The store and the need of a piece that is one stage with one store to read: its window is enough, because while a
    token is still to come, those that wait are fewer than the window."""
    if len(stages) > 1 or pipeline.absorbs[stages[0]] or len(reads := pipeline.reads[stages[0]]) != 1:
        return None
    ((store, link),) = reads
    return store, link.need


def _least(part: Pipeline, limits: Sequence[int], number: int, low: int) -> int:
    """The smallest capacity of one store with which the piece completes, the others as they are."""
    trial, high = list(limits), limits[number]
    trial[number] = low
    if low >= high or simulate(part, trial).completed:
        return min(low, high)
    low += 1
    while low < high:
        middle = (low + high) // 2
        trial[number] = middle
        if simulate(part, trial).completed:
            high = middle
        else:
            low = middle + 1
    return high


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


def bounds(pipeline: Pipeline) -> list[int]:
    """For each store a capacity that no run can do without.

    Just before a reader makes token i, everything must have come that i depends on by any way, and what the reader
    itself still needs of it waits in the store.
    """
    floor = [max([1, *(link.need.window for stage, link in links if not pipeline.absorbs[stage])])
             for links in pipeline.links]  # fmt: skip
    for store, links in enumerate(pipeline.links):
        holders = [(stage, link) for stage, link in links if not pipeline.absorbs[stage]]
        if not holders or not _forks(pipeline, store):
            continue
        reach = _reach(pipeline, store)
        for stage, link in holders:
            far, last = reach[stage], link.need.last_use
            held = came = most = 0
            for token, upto in enumerate(far):
                while came <= upto:
                    held += last[came] >= token
                    came += 1
                most = max(most, held)
                # Freed by this token, among those that have come; all have, since the link's own need is in the reach.
                held -= len(link.need.frees[token])
            floor[store] = max(floor[store], most)
    return floor


def _forks(pipeline: Pipeline, store: int) -> bool:
    """Whether the tensor of a store has more than one reader, in this store or in another."""
    maker = pipeline.makers[store]
    if maker >= 0:
        group: Sequence[int] = pipeline.writes[maker]
    else:
        group = next((stores for stores, _ in pipeline.sources if store in stores), (store,))
    return sum(len(pipeline.links[each]) for each in group) > 1


def _reach(pipeline: Pipeline, store: int) -> dict[int, list[int]]:
    """For each stage below a store, and each token that it makes, the last token of the store that this depends on."""
    maker = pipeline.makers[store]
    if maker >= 0:
        roots = set(pipeline.writes[maker])
    else:
        roots = set(next((stores for stores, _ in pipeline.sources if store in stores), (store,)))
    last = max(stage for stage, _ in pipeline.links[store])
    found: dict[int, list[int]] = {}
    for stage in range(last + 1):
        far: list[int] | None = None
        for read, link in pipeline.reads[stage]:
            ready = link.need.ready
            if read in roots:
                upto = list(ready)
            else:
                above = found.get(pipeline.makers[read])
                if above is None:
                    continue
                upto = [above[token] if token >= 0 else -1 for token in ready]
            far = upto if far is None else list(map(max, far, upto))
        if far is not None:
            found[stage] = far
    return found
