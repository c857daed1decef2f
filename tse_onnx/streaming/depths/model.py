"""What the tensors of a network hold on a machine, in all figures."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence

from onnx import TensorProto

from tse_onnx.passes.graph.types import bits_of
from tse_onnx.streaming.depths.building import pipeline_of
from tse_onnx.streaming.depths.gates import Gate, gates_of
from tse_onnx.streaming.depths.held import Held, Sums, bytes_of, carried, held_of, token_elements
from tse_onnx.streaming.depths.least import Least, least
from tse_onnx.streaming.depths.pipeline import Pipeline
from tse_onnx.streaming.depths.result import (
    BOUND,
    FIGURES,
    GATE,
    KINDS,
    LINE,
    SKIP,
    STREAM,
    Buffer,
    Dataflow,
    StageFlow,
)
from tse_onnx.streaming.depths.schedule import depths, latency
from tse_onnx.streaming.depths.simulate import Run, simulate
from tse_onnx.streaming.depths.spill import spilled
from tse_onnx.streaming.depths.stall import reasons
from tse_onnx.streaming.depths.work import cycles_of, image_cycles, work_of
from tse_onnx.streaming.network.machine import PIXEL, Machine
from tse_onnx.streaming.network.network import Network, Stage, Tensor


def measured(network: Network, machine: Machine, title: str) -> Dataflow:
    """The figures of a network on a machine."""
    pipeline = pipeline_of(network, machine)
    tensors = [network.tensors[store.tensor] for store in pipeline.stores]
    run = simulate(pipeline)
    found = least(pipeline, run.peaks, [token_elements(tensor, machine) for tensor in tensors])
    windows = windows_of(pipeline)
    why = reasons(network, pipeline, found.capacities, windows)
    calm = depths(network, machine, pipeline)
    fills = _fills(network, machine, pipeline, run)
    gates = {gate.tensor: gate for gate in gates_of(network)}
    buffers = tuple(
        _buffer(network, machine, pipeline, store, (run.peaks[store], found.capacities[store], calm[store]),
                windows[store], gates.get(tensor.name), why.get(store))
        for store, tensor in enumerate(tensors)
    )  # fmt: skip
    buffers += tuple(_waiting(network, machine, tensor, gates[tensor.name]) for tensor in network.carried)
    return Dataflow(
        title,
        machine,
        network.height,
        buffers,
        _stages(network, machine, pipeline, fills),
        {figure: _sums(buffers, figure) for figure in FIGURES} | {BOUND: _bound(network, machine, tensors, found)},
        {kind: {figure: _sums((each for each in buffers if each.kind == kind), figure) for figure in FIGURES}
         for kind in KINDS},
        _accumulators(network, machine, pipeline),
        network.unknown,
        {stage.output: fill for stage, fill in zip(_built(network, pipeline), fills, strict=True)
         if network.tensors[stage.output].leaves},
        _weights(network, machine, pipeline),
        spill=None if machine.memory is None else spilled(
            network, pipeline, buffers, machine.memory, lambda store, depth: held_of(tensors[store], machine, depth)),
        latency=latency(network, machine, pipeline),
        axis=network.axis,
    )  # fmt: skip


def held_for(network: Network, machine: Machine, names: Container[str]) -> Sums:
    """What the tensors hold at `min` that the stages of these tensors read, in whole pieces of the network."""
    pipeline = pipeline_of(network, machine)
    tensors = [network.tensors[store.tensor] for store in pipeline.stores]
    among = {number for number, stage in enumerate(_built(network, pipeline)) if stage.output in names}
    width = [token_elements(tensor, machine) for tensor in tensors]
    found = least(pipeline, None, width, among=among)
    held = [
        held_of(tensor, machine, depth)
        for tensor, depth, links in zip(tensors, found.capacities, pipeline.links, strict=True)
        if any(stage in among for stage, _ in links)
    ]
    return Sums(sum(each.elements for each in held), sum(each.bytes for each in held))


def windows_of(pipeline: Pipeline) -> tuple[int, ...]:
    """For each store the tokens that its readers need by themselves."""
    return tuple(
        max([1, *(link.window for stage, link in links if not pipeline.absorbs[stage])]) for links in pipeline.links
    )


def _buffer(
    network: Network,
    machine: Machine,
    pipeline: Pipeline,
    store: int,
    found: tuple[int, int, int],
    window: int,
    gate: Gate | None,
    why: str | None,
) -> Buffer:
    tensor = network.tensors[pipeline.stores[store].tensor]
    node = pipeline.stores[store].reader
    reading = [each for stage in pipeline.readers[tensor.name] for each in _reading(network, pipeline, stage, tensor)]
    readers = tuple(dict.fromkeys(stage.label for stage in reading))
    mine = [each for stage in pipeline.readers[tensor.name] if _first(network, pipeline, stage).position == node
            for each in _reading(network, pipeline, stage, tensor)]  # fmt: skip
    reader = mine[0].label if mine else None
    maker = network.producer.get(tensor.name)
    waits = gate is not None and (reader is None or gate.scale in (stage.label for stage in mine))
    asap, least, calm = (held_of(tensor, machine, depth) for depth in found)
    kind = GATE if waits else SKIP if found[1] > window else LINE if found[1] > 1 else STREAM
    return Buffer(
        tensor.name,
        reader,
        "the input" if maker is None else network.stages[maker].label,
        readers,
        tensor.dims,
        TensorProto.DataType.Name(tensor.stored).lower(),
        tensor.row_count,
        tensor.row_elements,
        window,
        kind,
        _gate_figure(tensor, machine, gate) if waits and gate is not None else None,
        asap,
        least,
        calm,
        why,
    )


def _waiting(network: Network, machine: Machine, tensor: Tensor, gate: Gate) -> Buffer:
    """What is there from frame to frame."""
    held = held_of(tensor, machine, 1)
    readers = dict.fromkeys(network.stages[stage].label for stage in network.readers[tensor.name])
    return Buffer(
        tensor.name, None, "the frame before", tuple(readers), tensor.dims,
        TensorProto.DataType.Name(tensor.stored).lower(), 1, tensor.row_elements, 1, GATE,
        _gate_figure(tensor, machine, gate), held, held, held, None,
    )  # fmt: skip


def _gate_figure(tensor: Tensor, machine: Machine, gate: Gate) -> Held:
    pixel = tensor.row_elements // tensor.column_count
    elements = pixel * gate.rows * gate.columns
    depth = gate.rows * gate.columns if machine.grain == PIXEL else gate.rows
    return Held(gate.rows, depth, elements, bytes_of(elements, tensor.stored, machine))


def _bound(network: Network, machine: Machine, tensors: Sequence[Tensor], found: Least) -> Sums:
    """What no schedule goes below, all tensors together."""
    floors = [held_of(tensor, machine, depth) for tensor, depth in zip(tensors, found.floor, strict=True)]
    floors += carried(network, machine)
    elements, size = sum(floor.elements for floor in floors), sum(floor.bytes for floor in floors)
    for stores, together in found.pieces:
        # Whole elements, of which each has the bits of the narrowest type at the least.
        least_size = min(-(-together * (machine.bits or bits_of(tensors[store].stored)) // 8) for store in stores)
        elements += max(0, together - sum(floors[store].elements for store in stores))
        size += max(0, least_size - sum(floors[store].bytes for store in stores))
    return Sums(elements, size)


def _fills(network: Network, machine: Machine, pipeline: Pipeline, run: Run) -> list[int]:
    """For each stage the rows of the largest input that come before its first token, the row in which they end
    included; −1 where it never makes one."""
    columns = 1
    if machine.grain == PIXEL and pipeline.sources:
        stores, _ = max(pipeline.sources, key=lambda source: source[1])
        columns = network.tensors[pipeline.stores[stores[0]].tensor].column_count
    return [-(-first // columns) if first >= 0 else first for first in run.first]


def _stages(network: Network, machine: Machine, pipeline: Pipeline, fills: Sequence[int]) -> tuple[StageFlow, ...]:
    cycles = cycles_of(network, machine, pipeline)
    taken = [None] * len(fills) if cycles is None else image_cycles(pipeline, cycles)
    return tuple(
        StageFlow(
            stage.label,
            stage.output,
            fill,
            runs * network.tensors[stage.output].row_count / network.height,
            network.tensors[stage.output].row_elements if stage.absorbs or stage.accumulates else 0,
            stage.barrier,
            runs * sum(work_of(network, network.stages[each]).macs for each in members),
            each_taken,
        )
        for stage, members, runs, fill, each_taken in zip(
            _built(network, pipeline), pipeline.members, pipeline.runs, fills, taken, strict=True
        )
    )


def _reading(network: Network, pipeline: Pipeline, stage: int, tensor: Tensor) -> list[Stage]:
    """The stages that are one with a reader of a tensor and read it; the last, where that reads a copy of it."""
    members = [network.stages[each] for each in pipeline.members[stage]]
    return [each for each in members if tensor.name in each.inputs] or members[-1:]


def _first(network: Network, pipeline: Pipeline, stage: int) -> Stage:
    """The first of the stages that are one, for which its stores are where every reader has its own."""
    return network.stages[pipeline.members[stage][0]]


def _built(network: Network, pipeline: Pipeline) -> list[Stage]:
    """The stages of a network that its pipeline has."""
    return [network.stages[stage] for stage in pipeline.stages]


def _accumulators(network: Network, machine: Machine, pipeline: Pipeline) -> Sums:
    stages = _built(network, pipeline)
    made = [network.tensors[stage.output] for stage in stages if stage.absorbs or stage.accumulates]
    return Sums(
        sum(tensor.row_elements for tensor in made),
        sum(bytes_of(tensor.row_elements, tensor.stored, machine) for tensor in made),
    )


def _weights(network: Network, machine: Machine, pipeline: Pipeline) -> Sums:
    """The constants that each node reads. Those that say a shape or a place are none."""
    built = (network.stages[stage] for members in pipeline.members for stage in members)
    nodes = {stage.position: stage.node for stage in built}
    kept = {tensor.name for tensor in network.carried}
    read = [
        network.constants.kind(name)
        for node in nodes.values()
        for name in node.input
        if name in network.constants.names and name not in kept
    ]
    sizes = [(math.prod(dims), dtype) for dims, dtype in read if dtype != TensorProto.INT64]
    return Sums(sum(size for size, _ in sizes), sum(bytes_of(size, dtype, machine) for size, dtype in sizes))


def _sums(buffers: Iterable[Buffer], figure: str) -> Sums:
    held = [each for each in (getattr(buffer, figure) for buffer in buffers) if each is not None]
    return Sums(sum(each.elements for each in held), sum(each.bytes for each in held))
