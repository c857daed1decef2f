"""Capacities that no schedule can do without, store by store."""

from __future__ import annotations

from collections.abc import Sequence

from tse_onnx.streaming.depths.pipeline import Pipeline


def floors(pipeline: Pipeline) -> list[int]:
    """For each store the capacity that no run can do without, at least 1.

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
