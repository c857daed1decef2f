"""Run a pipeline on tokens alone: no numbers, only which row is where.

The world gives an input row when nothing else can fire; of the stages that can, the deepest fires. A run with
capacities completes or comes to a halt whatever the order is, because firing never takes another stage's rows away.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from tse_onnx.streaming.depths.pipeline import Pipeline


@dataclass(frozen=True)
class Run:
    """What a run came to.

    `peaks[t]` are the most tokens that store t held at once; `made[s]`, `came[t]` and `held[t]` how far stages and
    stores were when it ended; `first[s]` the tokens of the largest input that had come when stage s first fired, and
    `absorbed[s]` what it had absorbed.
    """

    completed: bool
    peaks: tuple[int, ...]
    made: tuple[int, ...]
    came: tuple[int, ...]
    held: tuple[int, ...]
    absorbed: tuple[int, ...]
    first: tuple[int, ...]
    waits: tuple[tuple[int, ...], ...]
    timeline: tuple[tuple[int, ...], ...]


def simulate(
    pipeline: Pipeline, capacities: Sequence[int] | None = None, *, record: bool = False, growing: int | None = None
) -> Run:
    """Run `pipeline`, without bounds or with a capacity per store.

    Where it halts, the store `growing` gets a token more and it goes on: so that store peaks at the least capacity with
    which it completes, if that is more than it had. Whatever the order, all comes to rest in the same state, and more
    room takes nothing from what was done with less.

    `record` keeps a timeline: for each token of the largest input, the most that each store held until the next came.
    The cost is proportional to the tokens times the links they pass.
    """
    reads, writes, count, absorbs = pipeline.reads, pipeline.writes, pipeline.count, pipeline.absorbs
    links, makers, stores = pipeline.links, pipeline.makers, len(pipeline.stores)
    left = [list(uses) for uses in pipeline.uses]
    limit = list(capacities) if capacities is not None else [1 << 60] * stores
    held, came, peaks = [0] * stores, [0] * stores, [0] * stores
    stages = len(reads)
    made, absorbed, first = [0] * stages, [0] * stages, [-1] * stages
    rank = [0] * stages
    for position, stage in enumerate(pipeline.order):
        rank[stage] = position
    by_rank = pipeline.order
    queued = bytearray(stages)
    # Looked up once, not for every token.
    ready = [[(store, link.need.ready) for store, link in each] for each in reads]
    frees = [[(store, link.need.frees) for store, link in each] if not absorbs[stage] else []
             for stage, each in enumerate(reads)]  # fmt: skip
    readers = [[reader for reader, _ in each] for each in links]
    heap: list[int] = []
    push, pop = heapq.heappush, heapq.heappop
    given = [0] * len(pipeline.sources)
    tallest = max(range(len(given)), key=lambda source: pipeline.sources[source][1], default=-1)
    timeline: list[tuple[int, ...]] = []
    recent = [0] * stores

    def can(stage: int) -> bool:
        token = made[stage]
        if token >= count[stage]:
            return False
        if absorbs[stage]:
            store, link = reads[stage][0]
            done = absorbed[stage]
            if done < link.absorbable[token] and came[store] > link.order[done]:
                return True
            if done < link.absorbed_by[token]:
                return False
        else:
            for store, upto in ready[stage]:
                if came[store] <= upto[token]:
                    return False
        return capacities is None or all(held[store] < limit[store] for store in writes[stage])

    def wake(stage: int) -> None:
        if can(stage):
            queued[stage] = 1
            push(heap, rank[stage])

    def put(group: Sequence[int]) -> None:
        for store in group:
            token = came[store]
            came[store] = token + 1
            now = held[store] + 1
            if now > peaks[store]:
                peaks[store] = now
            if record and now > recent[store]:
                recent[store] = now
            if left[store][token]:
                held[store] = now
        for store in group:
            for reader in readers[store]:
                if not queued[reader]:
                    wake(reader)

    def free(store: int, tokens: Sequence[int]) -> None:
        freed, counts = 0, left[store]
        for token in tokens:
            counts[token] -= 1
            freed += not counts[token]
        if freed:
            held[store] -= freed
            if capacities is not None and (maker := makers[store]) >= 0 and not queued[maker]:
                wake(maker)

    def fire(stage: int) -> None:
        token = made[stage]
        if absorbs[stage]:
            store, link = reads[stage][0]
            done = absorbed[stage]
            if done < link.absorbable[token] and came[store] > link.order[done]:
                absorbed[stage] = done + 1
                free(store, (link.order[done],))
                return
        if not token:
            first[stage] = given[tallest]
        made[stage] = token + 1
        put(writes[stage])
        for store, gone in frees[stage]:
            free(store, gone[token])

    def done() -> bool:
        return made == list(count) and all(total == given[source] for source, (_, total) in enumerate(pipeline.sources))

    for stage in range(stages):
        wake(stage)
    while True:
        while heap:
            stage = by_rank[pop(heap)]
            fire(stage)  # what could fire when it was queued still can
            queued[stage] = 0
            wake(stage)
        source = _next_source(pipeline, given, held, limit)
        if source is None:
            if growing is None or done() or limit[growing] >= pipeline.stores[growing].tokens:
                break
            limit[growing] += 1
            if makers[growing] >= 0:
                wake(makers[growing])
            continue
        if record and source == tallest and given[source]:
            timeline.append(tuple(recent))
            recent = held.copy()
        given[source] += 1
        put(pipeline.sources[source][0])
    if record:
        timeline.append(tuple(recent))
    completed = done()
    return Run(
        completed,
        tuple(peaks),
        tuple(made),
        tuple(came),
        tuple(held),
        tuple(absorbed),
        tuple(first),
        tuple(map(tuple, left)) if not completed else (),
        tuple(timeline),
    )


def _next_source(pipeline: Pipeline, given: Sequence[int], held: Sequence[int], limit: Sequence[int]) -> int | None:
    """The input that is furthest behind, of those with a free slot."""
    best, least = None, 2.0
    for source, (group, total) in enumerate(pipeline.sources):
        done = given[source]
        if done < total and (done + 1) / total < least and all(held[store] < limit[store] for store in group):
            best, least = source, (done + 1) / total
    return best
