"""Depths of FIFOs, as other tools take them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tse_onnx.decision.inputs import InputShapes, bind
from tse_onnx.errors import ModelError
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.reasons import label, quoted
from tse_onnx.streaming.depths.building import every_node
from tse_onnx.streaming.depths.least import least, segments
from tse_onnx.streaming.depths.model import measured
from tse_onnx.streaming.depths.pipeline import Link, Pipeline
from tse_onnx.streaming.depths.result import Dataflow
from tse_onnx.streaming.depths.simulate import simulate
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.machines import MACHINES, MachineLike, machine_of, need_stages
from tse_onnx.streaming.network.needs.rows import Need
from tse_onnx.streaming.network.network import Network, Stage, Tensor
from tse_onnx.streaming.network.read import network_of

HLS4ML, FINN = "hls4ml", "finn"
_MOST_COPIES = 3
"""How often hls4ml copies a stream."""
_FINN_JOINS = {"Add": "AddStreams_hls", "Concat": "StreamingConcat_hls", "Mul": "ElementwiseMul_hls"}
"""FINN's layers that read several streams. It calls them by these names and a number each, in their order."""
_FINN_SHALLOWEST = 2


def handed_over(
    model: ModelLike,
    form: str,
    input_shapes: InputShapes | None = None,
    machine: MachineLike | None = None,
    axis: int = 0,
) -> Any:
    """What `stream --export` prints: `hls4ml_depths`, whatever the machine, `finn_folding`, or the `edges` of the
    machine. Raises what `dataflow` raises."""
    source = open_model(model)
    network = network_of(source.model, bind(source, input_shapes or {}), axis=axis)
    if form == HLS4ML:
        return hls4ml_depths(network)
    chosen = machine_of(machine)
    need_stages(chosen, network)
    if form == FINN:
        return finn_folding(network, chosen)
    return edges(measured(network, chosen, source.title))


def edges(dataflow: Dataflow) -> list[dict[str, Any]]:
    """The least depth of every store: between whom it is, how deep, in what unit."""
    return [
        {
            "tensor": buffer.tensor,
            "from": buffer.maker,
            "to": list(buffer.readers) if buffer.reader is None else [buffer.reader],
            "depth": buffer.min.depth,
            "unit": dataflow.machine.grain,
            "elements": buffer.min.elements,
        }
        for buffer in dataflow.buffers
    ]


def hls4ml_depths(network: Network) -> dict[str, int]:
    """The least depth of every stream between two layers with which hls4ml's `io_stream` does not come to a halt, by
    the name of the layer that fills it; where its output is copied, of copy n by `clone_NAME_cpyn`.

    The model's stages work as the kernels do. One with a single input reads a pixel into its line buffer as soon as it
    comes, and no pixel that the next one of its output does not need; with that in its hand it waits until it can
    write. One with two reads the first operand before the second. A copier writes one copy after the other.

    Raises `ModelError` where layers have no names, a stream has more copies than hls4ml makes, or a layer is a barrier.
    """
    pipeline = _with_kernels(_unfused(network, HLS4ML))
    for stage in network.stages:
        if not stage.node.name:
            raise ModelError(f"{label(stage.node)} has no name, and hls4ml goes by names of layers")
        if stage.barrier:
            raise ModelError(f"{stage.label} is no layer that streams in hls4ml: {stage.barrier}")
    stores = _stores(pipeline)
    kept = [_kept(network, pipeline, store, stores[each.tensor]) for store, each in enumerate(pipeline.stores)]
    found = _least(network, pipeline, [1 + pixels for pixels in kept])
    depths = {}
    for store, each in enumerate(pipeline.stores):
        copies = stores[each.tensor]
        if len(copies) > _MOST_COPIES:
            raise ModelError(f"{quoted(each.tensor)} is read by {len(copies)} layers, and hls4ml copies a stream "
                             f"{_MOST_COPIES} times at most")  # fmt: skip
        maker = network.producer.get(each.tensor)
        name = each.tensor if maker is None else network.stages[maker].node.name
        if pipeline.links[store] and not (maker is None and len(copies) == 1):  # that is the interface
            if len(copies) > 1 and maker is not None:
                depths[name] = 1  # on the way to the copier
            copy = f"clone_{name}_cpy{1 + copies.index(store)}"
            depths[name if len(copies) == 1 else copy] = found[store] - kept[store]
    return depths


def finn_folding(network: Network, machine: Machine) -> dict[str, Any]:
    """What FINN's folding configuration says of the streams that have to be deep: `inFIFODepths` of each layer that
    reads several, in words; a word has as many elements of a pixel as the `machine` says that the layer does in a
    cycle, if that divides the channels, and one where it does not say.

    Layers with one input take what they read into line buffers of their own, as hls4ml's do. A layer that joins streams
    does not count on a pixel in the registers and streams of those before it, which may be as short as two words.
    Raises `ModelError` where a layer is a barrier, or joins streams otherwise.
    """
    pipeline = _with_kernels(_unfused(network, FINN))
    for stage in network.stages:
        if stage.barrier:
            raise ModelError(f"{stage.label} is no layer that streams in FINN: {stage.barrier}")
    found = _least(network, pipeline, [1] * len(pipeline.stores))
    before = _layers_before(network, pipeline)
    depth = {
        (store.tensor, store.reader): min(store.tokens, pixels + 2 * before.get(store.tensor, 0))
        for store, pixels in zip(pipeline.stores, found, strict=True)
    }
    folding: dict[str, Any] = {"Defaults": {}}
    counts = dict.fromkeys(_FINN_JOINS.values(), 0)
    for stage in network.stages:
        streams = [name for name in stage.node.input if name in network.tensors]
        if len(streams) < 2:
            continue
        layer = _FINN_JOINS.get(operator(stage.node))
        if layer is None:
            raise ModelError(f"{stage.label} joins streams, for which FINN has no layer: {', '.join(_FINN_JOINS)} do")
        folding[f"{layer}_{counts[layer]}"] = {
            "inFIFODepths": [
                max(_FINN_SHALLOWEST, depth[name, stage.position] * _words(network.tensors[name], stage, machine))
                for name in streams
            ]
        }
        counts[layer] += 1
    return folding


def _layers_before(network: Network, pipeline: Pipeline) -> dict[str, int]:
    """The most layers with one input in a row that make a tensor, in its piece of the network: each has a pixel in its
    hand and one in front of it where the model halts."""
    found: dict[str, int] = {}
    for stages in segments(pipeline):
        inside: dict[str, int] = {}
        for stage in stages:
            each = network.stages[pipeline.stages[stage]]
            inside[each.output] = max([0, *(inside.get(name, 0) for name in each.inputs)]) + (len(each.inputs) == 1)
        found |= {name: count for name, count in inside.items() if _read_in(network, pipeline, stages, name)}
    return found


def _read_in(network: Network, pipeline: Pipeline, stages: Sequence[int], name: str) -> bool:
    return any(name in network.stages[pipeline.stages[stage]].inputs for stage in stages)


def _words(tensor: Tensor, stage: Stage, machine: Machine) -> int:
    """The words that a pixel of a tensor comes in."""
    channels = tensor.row_elements // tensor.column_count or 1
    lanes = int(machine.rates.get(stage.node.name, machine.elements_per_cycle or 1)) or 1
    return channels // max(each for each in range(1, min(lanes, channels) + 1) if channels % each == 0)


def _unfused(network: Network, name: str) -> Pipeline:
    """The pipeline of a network on a machine that has a layer, with streams of its own, for every node."""
    return every_node(network, MACHINES[name])


def _least(network: Network, pipeline: Pipeline, at_least: Sequence[int]) -> Sequence[int]:
    """The least depths of all stores, in pixels."""
    tensors = [network.tensors[store.tensor] for store in pipeline.stores]
    width = [tensor.row_elements // tensor.column_count or 1 for tensor in tensors]
    return least(pipeline, simulate(pipeline).peaks, width, at_least=at_least).capacities


def _stores(pipeline: Pipeline) -> Mapping[str, list[int]]:
    """The stores of each tensor, in the order of their readers."""
    found: dict[str, list[int]] = {}
    for store, each in sorted(enumerate(pipeline.stores), key=lambda one: one[1].reader or 0):
        found.setdefault(each.tensor, []).append(store)
    return found


def _with_kernels(pipeline: Pipeline) -> Pipeline:
    """The pipeline with stages that take what they read out of the stream at once, as a stage does that absorbs."""
    alone = [len(reads) == 1 for reads in pipeline.reads]
    reads = tuple(
        tuple((store, Link(_Read(link.need.size, (), link.need.ready))) for store, link in reads) if single else reads
        for reads, single in zip(pipeline.reads, alone, strict=True)
    )
    return replace(pipeline, reads=reads, absorbs=tuple(alone))


@dataclass(frozen=True, eq=False)
class _Read(Need):
    """When pixels are read: each by the first pixel of the output that needs it or a later one; the last needs all."""

    upto: Sequence[int]

    @cached_property
    def ready(self) -> tuple[int, ...]:
        return (*self.upto[:-1], self.size - 1)

    @cached_property
    def last_use(self) -> tuple[int, ...]:
        return tuple(bisect_left(self.ready, pixel) for pixel in range(self.size))


def _kept(network: Network, pipeline: Pipeline, store: int, copies: list[int]) -> int:
    """The pixels of a store that lie in kernels at its ends: in a copier, which has written all other copies before the
    last; in a layer with two inputs that cannot write, or has read the first."""
    tensor = pipeline.stores[store].tensor
    maker = pipeline.makers[store]
    pixels = int(store == copies[-1]) if len(copies) > 1 else int(maker >= 0 and not pipeline.absorbs[maker])
    for number, _ in pipeline.links[store]:
        stage = network.stages[pipeline.stages[number]]
        pixels += not pipeline.absorbs[number] and stage.inputs[0] == tensor
    return pixels
