"""A part of a graph as a model of its own."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto

from tse_onnx.passes.edit.splice import Edit, relay
from tse_onnx.passes.graph.index import GraphIndex, captured
from tse_onnx.passes.graph.types import TensorType, value_info


@dataclass(frozen=True)
class Excerpt:
    """What lies between some values and others.

    The nodes stand in their order, an outer graph's first; with them are the weights that they read. `given` are the
    values that they start from, `missing` those that nothing gives.
    """

    nodes: tuple[NodeProto, ...]
    weights: tuple[TensorProto, ...]
    sparse_weights: tuple[SparseTensorProto, ...]
    given: tuple[str, ...]
    missing: tuple[str, ...]

    def model(self, whole: ModelProto, inputs: Mapping[str, TensorType], outputs: Iterable[str]) -> ModelProto:
        """The excerpt from `whole` as a model."""
        # Before IR version 4 every weight has to be an input as well.
        part = ModelProto(
            ir_version=max(whole.ir_version, 4), opset_import=whole.opset_import, functions=whole.functions
        )
        graph = part.graph
        graph.name = "excerpt"
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.weights)
        graph.sparse_initializer.extend(self.sparse_weights)
        graph.input.extend(value_info(name, kind) for name, kind in inputs.items())
        graph.output.extend(ValueInfoProto(name=name) for name in outputs)
        return part


def excerpt(index: GraphIndex, given: Container[str], wanted: Iterable[str], edit: Edit | None = None) -> Excerpt:
    """What makes `wanted` of `given` in a graph and in those around it; with `edit`, as it is after the edit."""
    made = {} if edit is None else _made(edit)
    new = {} if edit is None else _new_weights(edit)
    nodes: dict[tuple[int, int, int], NodeProto] = {}
    weights: dict[str, TensorProto] = {}
    sparse: dict[str, SparseTensorProto] = {}
    used: dict[str, None] = {}
    missing: dict[str, None] = {}
    waiting = [name for name in wanted if name]
    while waiting:
        name = waiting.pop()
        if name in given:
            used[name] = None
            continue
        if name in new:
            weights[name] = new[name]
            continue
        depth, at = 0, index
        if name in made:
            position, number, node = made[name]
        else:
            while not _knows(at, name) and at.outer is not None:
                depth, at = depth - 1, at.outer
            if name in at.initializers:
                if name not in weights:
                    weights[name] = _weight(at.initializers[name], edit)
                continue
            if name in at.sparse_initializers:
                sparse[name] = at.sparse_initializers[name]
                continue
            producer = at.producer(name)
            if producer is None:
                missing[name] = None
                continue
            position, number, node = producer, 0, at.nodes[producer]
        if (depth, position, number) not in nodes:
            nodes[depth, position, number] = node
            waiting += [read for read in (*node.input, *captured(node)) if read]
    return Excerpt(
        tuple(nodes[place] for place in sorted(nodes)),
        tuple(weights.values()),
        tuple(sparse.values()),
        tuple(used),
        tuple(missing),
    )


def _knows(index: GraphIndex, name: str) -> bool:
    return index.producer(name) is not None or name in index.initializers or name in index.sparse_initializers


def _weight(tensor: TensorProto, edit: Edit | None) -> TensorProto:
    if edit is not None and tensor.name in edit.numbers:
        return edit.numbers[tensor.name]
    if edit is None or tensor.name not in edit.weights:
        return tensor
    changed = TensorProto()
    changed.CopyFrom(tensor)
    relay(changed, edit.weights[tensor.name])
    return changed


def _new_weights(edit: Edit) -> dict[str, TensorProto]:
    """The initializers of an edit, without those that something else may be fed for."""
    fed = {value.name for value in edit.inputs}
    return {tensor.name: tensor for tensor in edit.initializers if tensor.name not in fed}


def _made(edit: Edit) -> dict[str, tuple[int, int, NodeProto]]:
    """The nodes of an edit, with their places, by the values that they make."""
    return {
        name: (position, number, node)
        for position, nodes in edit.nodes.items()
        for number, node in enumerate(nodes)
        for name in node.output
        if name
    }
