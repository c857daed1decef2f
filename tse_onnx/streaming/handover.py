"""Depths of FIFOs, as other tools take them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tse_onnx.decision.analysis import InputShapes, bind
from tse_onnx.errors import ModelError
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.reasons import label, quoted
from tse_onnx.streaming.depths.building import pipeline_of
from tse_onnx.streaming.depths.least import least
from tse_onnx.streaming.depths.model import measured
from tse_onnx.streaming.depths.pipeline import Link, Pipeline
from tse_onnx.streaming.depths.result import Dataflow
from tse_onnx.streaming.depths.simulate import simulate
from tse_onnx.streaming.network.machines import MACHINES, MachineLike, machine_of
from tse_onnx.streaming.network.needs.rows import Need
from tse_onnx.streaming.network.network import Network
from tse_onnx.streaming.network.read import network_of

HLS4ML = "hls4ml"
_MOST_COPIES = 3
"""How often hls4ml copies a stream."""


def handed_over(
    model: ModelLike,
    form: str,
    input_shapes: InputShapes | None = None,
    machine: MachineLike | None = None,
    axis: int = 0,
) -> Any:
    """What `stream --export` prints: `hls4ml_depths`, whatever the machine, or the `edges` of the machine. Raises what
    `dataflow` raises."""
    source = open_model(model)
    network = network_of(source.model, bind(source, input_shapes or {}), axis=axis)
    if form == HLS4ML:
        return hls4ml_depths(network)
    return edges(measured(network, machine_of(machine), source.title))


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
    machine = MACHINES[HLS4ML]
    pipeline = _with_kernels(pipeline_of(network, machine))
    for stage in network.stages:
        if not stage.node.name:
            raise ModelError(f"{label(stage.node)} has no name, and hls4ml goes by names of layers")
        if stage.barrier:
            raise ModelError(f"{stage.label} is no layer that streams in hls4ml: {stage.barrier}")
    stores = _stores(pipeline)
    kept = [_kept(network, pipeline, store, stores[each.tensor]) for store, each in enumerate(pipeline.stores)]
    width = [network.tensors[store.tensor].row_elements // network.tensors[store.tensor].column_count or 1
             for store in pipeline.stores]  # fmt: skip
    found = least(pipeline, simulate(pipeline).peaks, width, at_least=[1 + pixels for pixels in kept]).capacities
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
