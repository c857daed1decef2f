"""The profile of a network: from a model to its layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from onnx import NodeProto

from tse_onnx.costs.convention import Convention, convention_of
from tse_onnx.costs.counting import VIEWS, biased, macs_of, parameters_of
from tse_onnx.costs.layer import Layer, Profile, Totals
from tse_onnx.costs.repeats import folded
from tse_onnx.decision.inputs import InputShapes, bind
from tse_onnx.files.source import ModelLike, Source, open_model
from tse_onnx.passes.graph.index import int_attribute, ints_attribute
from tse_onnx.passes.graph.operators import is_default, operator
from tse_onnx.passes.graph.types import bits_of
from tse_onnx.streaming.depths.total import held_at_least
from tse_onnx.streaming.network.network import Network, Stage
from tse_onnx.streaming.network.read import inlined, network_of

# Where the weights of a convolution are among its inputs: they have its window where no attribute states it.
_KERNELS = {"Conv": 1, "ConvTranspose": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}


def profile(
    model: ModelLike,
    *,
    convention: str | Convention = "onnx",
    input_shapes: InputShapes | None = None,
    runs: int = 0,
) -> Profile:
    """The layers of `model`, a path, an `onnx.ModelProto` or a `gs.Graph`, in the order in which they run.

    A layer is a node that computes something of the input; what is made of constants or of sizes alone, and what only
    views numbers otherwise, is none. Local functions are looked into. One image is counted. `convention` is a key of
    `CONVENTIONS` or a `Convention`; `input_shapes` gives inputs with dynamic dimensions a size, as
    `{"images": (1, 3, 224, 224)}`. With `runs` the time of each layer is measured so often, as it is written and on one
    thread, and the median kept.

    Raises `ModelError` where a size is not known or the graph has loops, `UsageError` for a bad option.
    """
    counted, source = convention_of(convention), open_model(model)
    bound = bind(source, input_shapes or {})
    network = network_of(source.model, bound)
    held = held_at_least(network)
    if network.apart is not None:  # its rows are those of stand-ins, its layers are not
        network = network_of(source.model, bound, as_written=True)
    rows = {name: each.rows for name, each in held.items()}
    seconds, whole = _times(source, bound, runs) if runs else ({}, None)
    names = names_of(stage.node for stage in network.stages)
    single = [
        _layer(network, stage, counted, rows, seconds, names[stage.output])
        for stage in network.stages
        if _counts(network, stage, counted)
    ]
    layers = tuple(_together(group) for group in folded(single, _likeness))
    totals = _totals(network, counted, single, sum(each.bytes for each in held.values()), whole)
    order = tuple(layer.name for layer in single)
    return Profile(source.title, counted, layers, totals, order, tuple(_unruled(network)))


def names_of(nodes: Iterable[NodeProto]) -> Mapping[str, str]:
    """What layers are called, by the outputs of their nodes: the node's name, or that output where it has none or
    shares it with another layer. A node that makes several layers is given for each."""
    nodes = list(nodes)
    times = Counter(node.name for node in nodes)
    return {
        output: node.name if node.name and times[node.name] == 1 else output for node in nodes for output in node.output
    }


def _times(source: Source, bound: InputShapes, runs: int) -> tuple[Mapping[str, float], float]:
    from tse_onnx.data.noise import noise
    from tse_onnx.decision.inputs import types_of
    from tse_onnx.runtime.timed import timed

    feed = next(iter(noise(types_of(source, bound), 0).feeds()))
    return timed(inlined(source.model), feed, runs, source.folder, source.title)


def _counts(network: Network, stage: Stage, convention: Convention) -> bool:
    if convention.weighted:
        weights = any(True for _ in parameters_of(network, stage.node))
        return weights and macs_of(network, stage) != 0
    return not (is_default(stage.node.domain) and stage.node.op_type in VIEWS)


def _layer(
    network: Network,
    stage: Stage,
    convention: Convention,
    rows: Mapping[str, int],
    seconds: Mapping[str, float],
    name: str,
) -> Layer:
    made, node = network.tensors[stage.output], stage.node
    read = network.tensors[stage.inputs[0]].dims if stage.inputs else ()
    macs, parameters = macs_of(network, stage), sum(count for _, count in parameters_of(network, node))
    if convention.bias and macs:
        parameters, macs = biased(network, stage)
    activation = made.elements * (convention.activation_bytes or 0) or _bytes(made.elements, made.stored)
    kernel = ints_attribute(node, "kernel_shape") or _kernel_of_weights(network, node)
    return Layer(
        name=name,
        nodes=(name,),
        operator=operator(node),
        input=read[1:],
        output=made.dims[1:],
        kernel=kernel,
        stride=(ints_attribute(node, "strides") or (1,) * len(kernel)) if kernel else (),
        pads=((ints_attribute(node, "pads") or ())[: len(kernel)] or (0,) * len(kernel)) if kernel else (),
        groups=int_attribute(node, "group", 1),
        parameters=parameters,
        macs=macs,
        activation_bytes=activation,
        pass_bytes=2 * activation,
        rows_held=rows.get(stage.output),
        summed=(macs_of(network, stage) or 0) // made.elements,
        seconds=seconds.get(stage.output),
        dilations=(ints_attribute(node, "dilations") or (1,) * len(kernel)) if kernel else (),
    )


def _kernel_of_weights(network: Network, node: NodeProto) -> tuple[int, ...]:
    """The window that a convolution takes from its weights."""
    slot = _KERNELS.get(node.op_type)
    if slot is None or slot >= len(node.input):
        return ()
    name = node.input[slot]
    return network.constants.kind(name)[0][2:] if name in network.constants.names else ()


def _bytes(elements: int, dtype: int) -> int:
    return math.ceil(elements * bits_of(dtype) / 8)


def _likeness(layer: Layer) -> Layer:
    return replace(layer, name="", nodes=(), rows_held=None, seconds=None)


def _together(group: tuple[Layer, ...]) -> Layer:
    first = group[0]
    return replace(
        first,
        nodes=tuple(layer.name for layer in group),
        parameters=first.parameters * len(group),
        macs=None if first.macs is None else first.macs * len(group),
        rows_held=max((layer.rows_held for layer in group if layer.rows_held is not None), default=None),
        seconds=None if first.seconds is None else sum(layer.seconds or 0.0 for layer in group) / len(group),
    )


def _totals(
    network: Network, convention: Convention, layers: Sequence[Layer], held_bytes: int, seconds: float | None
) -> Totals:
    if convention.bias:
        parameters = sum(layer.parameters for layer in layers)
    else:
        read = {name: count for stage in network.stages for name, count in parameters_of(network, stage.node)}
        parameters = sum(read.values())
    return Totals(
        len(layers),
        parameters,
        sum(layer.macs or 0 for layer in layers),
        sum(layer.activation_bytes for layer in layers),
        sum(layer.pass_bytes for layer in layers),
        held_bytes,
        seconds,
    )


def _unruled(network: Network) -> Iterator[tuple[str, int]]:
    return iter(Counter(operator(stage.node) for stage in network.stages if macs_of(network, stage) is None).items())
