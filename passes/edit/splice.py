"""Apply edits to a model: the only place where a graph changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from tse_onnx.passes.graph.index import NUMBERS
from tse_onnx.passes.graph.nested import Path, container


@dataclass(frozen=True)
class Relaid:
    """New dimensions of an initializer; its two axes longer than one change places where `transposed`."""

    dims: tuple[int, ...]
    transposed: bool = False


@dataclass(frozen=True)
class Edit:
    """A change of a graph, as data.

    `nodes` stand in place of the node at a position (none: it goes); `types` are new types of values, None for values
    that are gone; `weights` are initializers that lie in another shape, `numbers` those that
    hold other numbers. `inputs`, `outputs` and `initializers` are added to those of the graph: new weights, and what an
    added input is where nothing is fed. `bearer` is the value whose node bears the record of the edit.
    """

    nodes: Mapping[int, tuple[NodeProto, ...]]
    types: Mapping[str, ValueInfoProto | None] = field(default_factory=dict)
    weights: Mapping[str, Relaid] = field(default_factory=dict)
    numbers: Mapping[str, TensorProto] = field(default_factory=dict)
    dropped_weights: frozenset[str] = frozenset()
    inputs: tuple[ValueInfoProto, ...] = ()
    outputs: tuple[ValueInfoProto, ...] = ()
    initializers: tuple[TensorProto, ...] = ()
    bearer: str = ""


@dataclass(frozen=True)
class Change:
    """The edits of one scope of a model."""

    path: Path
    edits: tuple[Edit, ...]


def apply(model: ModelProto, changes: Iterable[Change]) -> None:
    """Make the changes in a model: innermost scopes first, while the paths to them still hold."""
    for change in sorted(changes, key=lambda change: len(change.path), reverse=True):
        splice(container(model, change.path), change.edits)


def splice(graph: GraphProto | FunctionProto, edits: Iterable[Edit]) -> None:
    """Put the edits' nodes in place of the ones they replace; everything else stays as it is, in its order."""
    edits = tuple(edits)
    replaced = {position: nodes for edit in edits for position, nodes in edit.nodes.items()}
    if replaced:
        kept: list[NodeProto] = []
        for position, node in enumerate(graph.node):
            kept.extend(replaced.get(position, (node,)))
        # The new list is built before the old one is emptied: its messages live in the old one.
        rebuilt = type(graph)()
        rebuilt.node.extend(kept)
        del graph.node[:]
        graph.node.MergeFrom(rebuilt.node)
    types = {name: value for edit in edits for name, value in edit.types.items()}
    if types and isinstance(graph, GraphProto):
        _retype(graph, types)
    weights = {name: relaid for edit in edits for name, relaid in edit.weights.items()}
    dropped = frozenset[str]().union(*(edit.dropped_weights for edit in edits))
    if (weights or dropped) and isinstance(graph, GraphProto):
        _relay(graph, weights, dropped)
    numbers = {name: tensor for edit in edits for name, tensor in edit.numbers.items()}
    if numbers and isinstance(graph, GraphProto):
        for tensor in graph.initializer:
            if tensor.name in numbers:
                tensor.CopyFrom(numbers[tensor.name])
    if isinstance(graph, GraphProto):
        for edit in edits:
            graph.input.extend(edit.inputs)
            graph.output.extend(edit.outputs)
            graph.initializer.extend(edit.initializers)


def _retype(graph: GraphProto, types: Mapping[str, ValueInfoProto | None]) -> None:
    gone, seen = [], set[str]()
    for place, value in enumerate(graph.value_info):
        if value.name in types:  # more than once, in some exports
            stated = types[value.name]
            seen.add(value.name)
            if stated is None:
                gone.append(place)
            else:
                value.type.CopyFrom(stated.type)
    for place in reversed(gone):
        del graph.value_info[place]
    graph.value_info.extend(value for name, value in types.items() if value is not None and name not in seen)


def _relay(graph: GraphProto, weights: Mapping[str, Relaid], dropped: frozenset[str]) -> None:
    gone = []
    for place, tensor in enumerate(graph.initializer):
        if tensor.name in dropped:
            gone.append(place)
        elif tensor.name in weights:
            relay(tensor, weights[tensor.name])
    for place in reversed(gone):
        del graph.initializer[place]


def relay(tensor: TensorProto, relaid: Relaid) -> None:
    """Give a tensor its new dimensions, moving its numbers only where they are transposed."""
    if relaid.transposed:
        matrix = numpy_helper.to_array(tensor)
        moved = numpy_helper.from_array(np.ascontiguousarray(matrix.T), tensor.name)
        for field_name in NUMBERS:
            tensor.ClearField(field_name)
        tensor.raw_data = moved.raw_data
    del tensor.dims[:]
    tensor.dims.extend(relaid.dims)
