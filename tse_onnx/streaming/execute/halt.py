"""Why a pipeline has halted: who waits for whom."""

from __future__ import annotations

from collections.abc import Sequence

from tse_onnx.passes.reasons import quoted
from tse_onnx.streaming.execute.state import Actor, Store


def waits(actors: Sequence[Actor], stores: Sequence[Store]) -> tuple[str, ...]:
    """A sentence for each stage that has begun to wait for another and is itself waited for."""
    said = []
    for actor in actors:
        step = actor.step
        if actor.made >= step.height:
            continue
        missing = _missing(actor, stores)
        full = [stores[place] for place in step.writes if stores[place].full]
        if missing is not None:
            name, row = missing
            reads = [(other, stores[place]) for other, place in step.reads.items()]
            if any((other != name and store.rows) or store.full for other, store in reads):
                said.append(f"{step.label} waits for row {row} of {quoted(name)}")
        elif full:
            said.append(
                f"{step.label} cannot store row {actor.made} of {quoted(step.output)}: all {full[0].room.capacity} of "
                "its rows are still to be read"
            )
    return tuple(said)


def withheld(stores: Sequence[Store]) -> tuple[str, ...]:
    """A sentence for each input whose next row does not fit."""
    inputs: dict[str, Store] = {}
    for store in stores:
        if store.full and not store.place.makers:
            inputs.setdefault(store.place.tensor, store)
    return tuple(
        f"row {store.came} of input {quoted(name)} cannot come: all {store.room.capacity} of its rows are still to be "
        "read"
        for name, store in inputs.items()
    )


def _missing(actor: Actor, stores: Sequence[Store]) -> tuple[str, int] | None:
    """What a stage lacks for its next row, the last of it."""
    step = actor.step
    if step.absorber is not None:
        wanted = [row for row in range(actor.taken, len(step.serves)) if step.serves[row] == actor.made]
        return (next(iter(step.reads)), wanted[-1]) if wanted else None
    names = {place: name for name, place in step.reads.items()}
    for place, rows in step.takes[actor.made]:
        absent = [row for row in rows if row not in stores[place].rows]
        if absent:
            return names[place], max(absent)
    return None
