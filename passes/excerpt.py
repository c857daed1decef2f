"""A part of a graph as a model of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from tse_onnx.errors import ModelError
from tse_onnx.passes.index import GraphIndex, captured
from tse_onnx.passes.order import in_order
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.shapes import TensorType, value_info
from tse_onnx.passes.splice import Edit, relay


class Excerpts:
    """Cuts parts out of a model's main graph: what lies between some values and others."""

    def __init__(self, model: ModelProto, index: GraphIndex) -> None:
        self._model, self._index = model, index
        order, cyclic = in_order(index.nodes)
        self.rank = {position: place for place, position in enumerate((*order, *cyclic))}
        """Place of the node at a position in topological order."""

    def between(
        self, given: Mapping[str, TensorType], wanted: Collection[str], edit: Edit | None = None
    ) -> tuple[ModelProto, tuple[str, ...]]:
        """The model that makes `wanted` of `given`, and those of `given` that it needs, which are its inputs.

        With `edit` the graph is cut as it is after the edit. Raises `ModelError` where something else is needed.
        """
        made = {} if edit is None else _made(edit)
        nodes: dict[tuple[int, int], NodeProto] = {}
        weights: dict[str, TensorProto] = {}
        inputs: dict[str, None] = {}
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if not name or name in inputs or name in weights:
                continue
            if name in given:
                inputs[name] = None
            elif name in made:
                place, node = made[name]
                if place not in nodes:
                    nodes[place] = node
                    waiting += [*node.input, *captured(node)]
            elif (position := self._index.producer(name)) is not None:
                node = self._index.nodes[position]
                if (position, 0) not in nodes:
                    nodes[position, 0] = node
                    waiting += [*node.input, *captured(node)]
            elif name in self._index.initializers:
                weights[name] = self._weight(name, edit)
            elif name not in self._index.sparse_initializers:
                raise ModelError(f"the network cannot be cut: {quoted(name)} comes from elsewhere")
        return self._assembled(given, wanted, nodes, weights, inputs), tuple(inputs)

    def _assembled(
        self,
        given: Mapping[str, TensorType],
        wanted: Iterable[str],
        nodes: Mapping[tuple[int, int], NodeProto],
        weights: Mapping[str, TensorProto],
        inputs: Iterable[str],
    ) -> ModelProto:
        model = self._model
        part = ModelProto(
            ir_version=max(model.ir_version, 4), opset_import=model.opset_import, functions=model.functions
        )
        graph = part.graph
        graph.name = "excerpt"
        graph.node.extend(nodes[place] for place in sorted(nodes, key=lambda at: (self.rank[at[0]], at[1])))
        graph.initializer.extend(weights.values())
        graph.sparse_initializer.extend(self._index.sparse_initializers.values())
        graph.input.extend(value_info(name, given[name]) for name in inputs)
        graph.output.extend(ValueInfoProto(name=name) for name in wanted)
        return part

    def _weight(self, name: str, edit: Edit | None) -> TensorProto:
        tensor = self._index.initializers[name]
        if edit is None or name not in edit.weights:
            return tensor
        changed = TensorProto()
        changed.CopyFrom(tensor)
        relay(changed, edit.weights[name])
        return changed


def _made(edit: Edit) -> dict[str, tuple[tuple[int, int], NodeProto]]:
    """The nodes of an edit, with their places, by the values that they make."""
    return {
        name: ((position, number), node)
        for position, nodes in edit.nodes.items()
        for number, node in enumerate(nodes)
        for name in node.output
        if name
    }
