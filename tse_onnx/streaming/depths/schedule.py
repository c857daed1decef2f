"""Depths that never stall a pipeline in which every stage takes its own time.

Where the machine does not say what its stages can do, the unit of time is a row of the largest input. A stage whose
tensor has R rows takes H / R of it for each, so that all stages spend the same time on an image. Descriptors keep the
pace of the map they were made of. Where it does, the unit is a cycle: a stage takes for a row what its work takes, and
images come as fast as the slowest stage takes them.

A row is there a latency after its stage began it, and leaves when its last reader has worked a row time on it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tse_onnx.streaming.depths.pipeline import Pipeline
from tse_onnx.streaming.depths.work import cycles_of, image_cycles
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.network import Network

_SLACK = 1e-6
Interval = tuple[float, float]


@dataclass(frozen=True)
class _Pace:
    """`image` is the time that the inputs of an image take to come, `stage[s]` what stage s takes for a token that it
    makes, `taken[s]` for one that it absorbs."""

    image: float
    stage: Sequence[float]
    taken: Sequence[float]


def depths(network: Network, machine: Machine, pipeline: Pipeline) -> tuple[int, ...]:
    """For each store the most tokens it holds when nothing ever waits for a free slot: one image alone, or images that
    follow each other."""
    pace = _pace(network, machine, pipeline)
    apart = pace.image if machine.back_to_back else None
    return tuple(_most(intervals, apart) for intervals in _intervals(network, machine, pipeline, pace))


def latency(network: Network, machine: Machine, pipeline: Pipeline) -> int | None:
    """The cycles from when the first row of an image comes until all is done; None where the machine does not say what
    its stages do in a cycle."""
    if machine.macs_per_cycle is None:
        return None
    found = _intervals(network, machine, pipeline, _pace(network, machine, pipeline))
    return math.ceil(max(end for held in found for _, end in held) - _SLACK)


def occupancy(network: Network, machine: Machine, pipeline: Pipeline) -> list[list[Interval]]:
    """For each store and token, from when to when it is held, in rows of the largest input."""
    pace = _pace(network, machine, pipeline)
    row = pace.image / network.height
    found = _intervals(network, machine, pipeline, pace)
    return found if row == 1 else [[(come / row, go / row) for come, go in held] for held in found]


def _intervals(network: Network, machine: Machine, pipeline: Pipeline, pace: _Pace) -> list[list[Interval]]:
    there: list[list[float]] = [[] for _ in pipeline.stores]
    until: list[list[float]] = [[] for _ in pipeline.stores]
    for group, count in pipeline.sources:
        times = [token * pace.image / count for token in range(count)]
        for store in group:
            there[store] = times
            until[store] = times.copy()
    for stage, reads in enumerate(pipeline.reads):
        beat = pace.stage[stage]
        came = {store: there[store] for store, _ in reads}
        if pipeline.absorbs[stage]:
            ((store, link),) = reads
            came[store] = _taken(there[store], link.order, pace.taken[stage])
        starts = _starts(pipeline, stage, came, beat)
        node = network.stages[pipeline.stages[stage]].node
        latency = machine.latencies.get(node.name, machine.latency) * beat
        made = [start + latency for start in starts]
        for store in pipeline.writes[stage]:
            there[store] = made
            until[store] = made.copy()
        for store, link in reads:
            leaves = until[store]
            if pipeline.absorbs[stage]:
                for token in link.order:
                    leaves[token] = max(leaves[token], came[store][token] + pace.taken[stage])
            else:
                for token, use in enumerate(link.need.last_use):
                    if use >= 0:
                        leaves[token] = max(leaves[token], starts[use] + beat)
    return [list(zip(come, go, strict=True)) for come, go in zip(there, until, strict=True)]


def _taken(there: Sequence[float], order: Sequence[int], beat: float) -> list[float]:
    """When an absorbing stage begins to take each token: as it comes, one after the other."""
    taken, free = list(there), 0.0
    for token in order:
        taken[token] = max(taken[token], free)
        free = taken[token] + beat
    return taken


def _starts(pipeline: Pipeline, stage: int, came: Mapping[int, Sequence[float]], beat: float) -> list[float]:
    starts, free = [], 0.0
    for token in range(pipeline.count[stage]):
        start = free
        for store, link in pipeline.reads[stage]:
            ready = link.need.ready[token]
            if ready >= 0 and came[store][ready] > start:
                start = came[store][ready]
        starts.append(start)
        free = start + beat
    return starts


def _pace(network: Network, machine: Machine, pipeline: Pipeline) -> _Pace:
    cycles = cycles_of(network, machine, pipeline)
    if cycles is not None:
        return _Pace(max(image_cycles(pipeline, cycles), default=1), cycles, cycles)
    beats = _beats(network, pipeline)
    taken = []
    for reads in pipeline.reads:
        store = reads[0][0] if reads else -1
        maker = pipeline.makers[store]
        taken.append(beats[maker] if maker >= 0 else network.height / pipeline.stores[store].tokens)
    return _Pace(network.height, beats, taken)


def _beats(network: Network, pipeline: Pipeline) -> list[float]:
    beats: list[float] = []
    pace: dict[int, float] = {}
    descriptor: set[int] = set()
    for group, count in pipeline.sources:
        pace.update((store, network.height / count) for store in group)
    for stage, reads in enumerate(pipeline.reads):
        own = network.stages[pipeline.stages[stage]]
        stores = [store for store, _ in reads]
        made = network.tensors[own.output]
        small = made.column_count == 1 and bool(stores)
        if small and own.absorbs:
            small = made.row_count == 1 or network.tensors[own.inputs[0]].column_count > 1
        elif small:
            small = all(store in descriptor for store in stores)
        beat = min(pace[store] for store in stores) if small else network.height / pipeline.count[stage]
        if small:
            descriptor.update(pipeline.writes[stage])
        beats.append(beat)
        pace.update((store, beat) for store in pipeline.writes[stage])
    return beats


def _most(intervals: Sequence[Interval], apart: float | None) -> int:
    """The most that are held together, of one image or of images that begin `apart`."""
    if apart is not None:
        images = math.ceil(max(go - come for come, go in intervals) / apart) + 1
        intervals = [(come + n * apart, go + n * apart) for n in range(images) for come, go in intervals]
    come = sorted(interval[0] for interval in intervals)
    go = sorted(max(interval[1], interval[0] + 2 * _SLACK) for interval in intervals)
    return max(count + 1 - bisect_right(go, at + _SLACK) for count, at in enumerate(come))
