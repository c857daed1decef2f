"""Why a tensor holds more than its readers' own windows: who waits for whom, and for which row."""

from __future__ import annotations

from collections.abc import Sequence

from tse_onnx.passes.reasons import quoted
from tse_onnx.streaming.depths.least import segments
from tse_onnx.streaming.depths.pipeline import Pipeline
from tse_onnx.streaming.depths.simulate import Run, simulate
from tse_onnx.streaming.network.network import Network


def reasons(network: Network, pipeline: Pipeline, capacities: Sequence[int], windows: Sequence[int]) -> dict[int, str]:
    """A sentence for each store that holds more than its window, by store.

    With one token less than it has, the pipeline halts; the sentence tells how.
    """
    found: dict[int, str] = {}
    if all(capacity <= window for capacity, window in zip(capacities, windows, strict=True)):
        return found
    for stages in segments(pipeline):
        wide = {store for stage in stages for store, _ in pipeline.reads[stage] if capacities[store] > windows[store]}
        if not wide:
            continue
        part, stores = pipeline.part(stages)
        limits = [capacities[store] if part.links[number] else 1 for number, store in enumerate(stores)]
        for number, store in enumerate(stores):
            if store in wide:
                limits[number] -= 1
                run = simulate(part, limits)
                limits[number] += 1
                if not run.completed:
                    found[store] = _sentence(network, part, run, number)
    return found


def _sentence(network: Network, part: Pipeline, run: Run, store: int) -> str:
    """How the pipeline halted when `store` was full."""
    name = quoted(part.stores[store].tensor)
    unit = "row" if _run(part, store) == network.tensors[part.stores[store].tensor].row_count else "pixel"
    oldest = next((token for token in range(run.came[store]) if run.waits[store][token]), None)
    holder = None if oldest is None else _holder(part, run, store, oldest)
    if oldest is None or holder is None:
        return f"the pipeline halts with one {unit} less of {name}"
    next_token = run.came[store]
    way: list[int] = []
    first = target = _missing(part, run, holder)
    while target is not None and target[0] != store:
        maker = part.makers[target[0]]
        if maker < 0 or maker in way:
            break
        way.append(maker)
        target = _missing(part, run, maker) or _blocked(part, run, maker)
    labels = [network.stages[part.stages[stage]].label for stage in (holder, *way)]
    if first is None:
        return f"{labels[0]} still needs {unit} {oldest % _run(part, store)}"
    text = f"{labels[0]} needs {unit} {oldest % _run(part, store)} together with {unit} {_token(part, first, store)}"
    if first[0] == store:
        return f"{text}, which it goes over twice"
    if target is not None and target[0] == store and target[1] >= next_token:
        text += f", which depends on {unit} {_token(part, target, store)}"
    elif target is not None and first != target:
        text += f", which waits for {unit} {_token(part, target, store)}"
    through = labels[1:]
    if len(through) > 3:
        through = [through[0], "…", through[-1]]
    return text + (f" (by way of {', '.join(through)})" if through else "")


def _run(part: Pipeline, store: int) -> int:
    """The tokens of a store in one run."""
    return part.stores[store].tokens // part.stores[store].runs


def _token(part: Pipeline, token: tuple[int, int], this: int) -> str:
    """A token of a store, by its number in its run."""
    store, number = token
    name = "this tensor" if store == this else quoted(part.stores[store].tensor)
    return f"{number % _run(part, store)} of {name}"


def _holder(part: Pipeline, run: Run, store: int, token: int) -> int | None:
    """A reader that is not done with a token, one that waits for another tensor before one that does not."""
    found = None
    for stage, link in part.links[store]:
        use = link.need.last_use[token]
        if use < 0 or use < run.made[stage]:
            continue
        if part.absorbs[stage] and link.order[: run.absorbed[stage]].count(token):
            continue
        missing = _missing(part, run, stage)
        if found is None or (missing is not None and missing[0] != store):
            found = stage
    return found


def _missing(part: Pipeline, run: Run, stage: int) -> tuple[int, int] | None:
    """The token that a stage waits for: (store, token)."""
    token = run.made[stage]
    if token >= part.count[stage]:
        return None
    for store, link in part.reads[stage]:
        if run.came[store] <= link.need.ready[token]:
            return store, link.need.ready[token]
    return None


def _blocked(part: Pipeline, run: Run, stage: int) -> tuple[int, int] | None:
    """Where a stage that has all it reads cannot write: what the readers of that store wait for."""
    for store in part.writes[stage]:
        for reader, _ in part.links[store]:
            missing = _missing(part, run, reader)
            if missing is not None and missing[0] != store:
                return missing
    return None
