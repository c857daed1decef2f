"""The way back from what tiled blocks remember.

The last step is undone first, and what comes out is compared with a digest of what once went in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from tse_onnx.errors import ModelError, TseError
from tse_onnx.passes.edit.record import Memory, Record, digest, first_output, recorded
from tse_onnx.passes.edit.splice import Relaid, relay
from tse_onnx.passes.edit.story import RAW, TYPED, Weight
from tse_onnx.passes.graph.nested import Container, container
from tse_onnx.passes.reasons import quoted


def restored(model: ModelProto, memory: Memory) -> tuple[ModelProto, tuple[str, ...]]:
    """A copy of the model as it was before any conversion, and the names of the blocks that were tiled.

    `memory` is what the model itself remembers; that stays in the copy. Raises `ModelError` where the model was edited
    since, so that it cannot be as it was.
    """
    made, names = ModelProto(), list[str]()
    made.CopyFrom(model)
    while found := list(recorded(made, memory)):
        step = max(record.step for _, records in found for record in records)
        # Innermost first, while the paths to them still hold.
        for path, records in sorted(found, key=lambda pair: len(pair[0]), reverse=True):
            last = [record for record in records if record.step == step]
            if last:
                names += [record.block for record in last]
                _undo(made, container(made, path), last)
    return made, tuple(names)


def _undo(model: ModelProto, graph: Container, records: Sequence[Record]) -> None:
    try:
        _put_back(model, graph, records)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, TseError):
            raise
        raise _edited(records[0]) from error
    if digest(graph) != records[0].story.digest:
        raise _edited(records[0])


class Edited(ModelError):
    """The graph was changed after a block was tiled."""


def _edited(record: Record) -> Edited:
    return Edited(
        f"the graph around block {quoted(record.block)} was edited after it was tiled, so the original cannot be "
        "restored: convert the original model anew"
    )


def _put_back(model: ModelProto, graph: Container, records: Sequence[Record]) -> None:
    old_nodes: dict[int, NodeProto] = {}
    old_types: dict[int, ValueInfoProto] = {}
    old_weights: dict[int, TensorProto] = {}
    gone, retyped, relaid = set[str](), set[str](), dict[str, Weight]()
    for record in records:
        story, kept = record.story, record.replaced
        for (position, made), node in zip(story.nodes, kept.node, strict=True):
            old_nodes[position] = node
            gone.update(made)
        old_types |= dict(zip(story.types, kept.value_info, strict=True))
        old_weights |= dict(zip(story.dropped, kept.initializer, strict=True))
        retyped.update(story.retyped)
        relaid |= {weight.name: weight for weight in story.weights}
        inputs = {value.name: value for value in kept.input}
        for value in model.graph.input:
            if value.name in inputs:
                value.CopyFrom(inputs[value.name])
    take_away(graph, records)
    there = {first_output(node) for node in graph.node}
    if not gone <= there:
        raise _edited(records[0])
    rebuilt = type(graph)()
    rebuilt.node.extend(_merged([node for node in graph.node if first_output(node) not in gone], old_nodes))
    del graph.node[:]
    graph.node.MergeFrom(rebuilt.node)
    if isinstance(graph, GraphProto) and isinstance(rebuilt, GraphProto):
        if retyped:
            others = [value for value in graph.value_info if value.name not in retyped]
            rebuilt.value_info.extend(_merged(others, old_types))
            del graph.value_info[:]
            graph.value_info.MergeFrom(rebuilt.value_info)
        for tensor in graph.initializer:
            if tensor.name in relaid:
                relaid_back(tensor, relaid[tensor.name])
        for place in sorted(old_weights):
            graph.initializer.insert(place, old_weights[place])


def take_away(graph: Container, records: Iterable[Record]) -> None:
    """Take the inputs, outputs and initializers that were added away from a graph again."""
    if isinstance(graph, GraphProto):
        for record in records:
            inputs, outputs, initializers = record.story.added
            _drop(graph.input, inputs)
            _drop(graph.output, outputs)
            _drop(graph.initializer, initializers)


def _drop(entries: Any, names: Sequence[str]) -> None:
    for place in reversed([place for place, entry in enumerate(entries) if entry.name in names]):
        del entries[place]


Entry = TypeVar("Entry")


def _merged(others: Sequence[Entry], placed: Mapping[int, Entry]) -> Iterator[Entry]:
    """`placed` at their places, and the others in between in their order."""
    count = len(others) + len(placed)
    if any(place >= count for place in placed):
        raise IndexError("a place behind the end")
    rest = iter(others)
    for place in range(count):
        yield placed[place] if place in placed else next(rest)


def relaid_back(tensor: TensorProto, weight: Weight) -> None:
    """Give a tensor the dimensions, and its numbers the order and the field, that they had."""
    relay(tensor, Relaid(weight.dims, weight.transposed))
    if weight.transposed and weight.field != RAW:
        numbers = np.frombuffer(tensor.raw_data, TYPED[weight.field])
        tensor.ClearField("raw_data")
        getattr(tensor, weight.field).extend(numbers.tolist())
