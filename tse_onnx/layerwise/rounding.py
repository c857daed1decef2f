"""Layers, rounded: the edit that puts their quantisers into the float model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tse_onnx.errors import ModelError
from tse_onnx.layerwise.quantisers import OUTPUT, Edge, Layer, Numbers, Rounding
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.graph.index import GraphIndex

_FIRST = 10  # the opset from which on there is a QuantizeLinear
_MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Rounder:
    """Puts quantisers into a graph, under names that none of those `taken` begins with."""

    index: GraphIndex
    rank: Mapping[int, int] = field(repr=False)
    prefix: str

    @classmethod
    def of(cls, index: GraphIndex, rank: Mapping[int, int], taken: Collection[str]) -> Rounder:
        """The one for a graph in whose model these names are taken."""
        prefix = "rounded"
        while any(name.startswith(prefix) for name in taken):
            prefix += "_"
        return cls(index, rank, prefix)

    def edit(self, layers: Iterable[Layer], *, weights: bool = True, activations: bool = True) -> Edit:
        """The edit that rounds these layers. Where it does not round their `activations`, the values that other nodes
        read in place of theirs are there all the same, as they are."""
        changed: dict[int, NodeProto] = {}
        added: dict[int, list[NodeProto]] = {}
        behind: dict[int, list[NodeProto]] = {}
        constants: dict[str, TensorProto] = {}
        made: set[str] = set()
        ends = [(layer, edge) for layer in layers for edge in layer.edges]
        for layer, edge in sorted(ends, key=lambda end: self.rank[end[1].position]):
            if isinstance(edge.how, Numbers):
                if weights:
                    name = f"{self.prefix}/{edge.position}/{edge.slot}"
                    constants[name] = numpy_helper.from_array(edge.how.array, name)
                    self._read(changed, edge, name)
            elif edge.slot == OUTPUT:
                if activations:
                    node = self._node(changed, edge.position)
                    whole, before = node.output[0], f"{self.prefix}/made/{node.output[0]}"
                    node.output[0] = before
                    behind.setdefault(edge.position, []).extend(self._pair(edge.how, before, whole, constants))
            elif activations or edge.position != layer.position:
                read, name = self._value(edge), self.name(edge)
                self._read(changed, edge, name)
                if name not in made:
                    made.add(name)
                    pair = self._pair(edge.how, read, name, constants)
                    same = [helper.make_node("Identity", [read], [name])]
                    added.setdefault(edge.position, []).extend(pair if activations else same)
        nodes = {
            position: (*added.get(position, ()), node, *behind.get(position, ())) for position, node in changed.items()
        }
        return Edit(nodes, initializers=tuple(constants.values()))

    def name(self, edge: Edge) -> str:
        """How what an edge reads is called once it is rounded."""
        assert isinstance(edge.how, Rounding)
        return f"{self.prefix}/{edge.how.value}/{self._value(edge)}"

    def _value(self, edge: Edge) -> str:
        return self.index.nodes[edge.position].input[edge.slot]

    def _node(self, changed: dict[int, NodeProto], position: int) -> NodeProto:
        if position not in changed:
            changed[position] = NodeProto()
            changed[position].CopyFrom(self.index.nodes[position])
        return changed[position]

    def _read(self, changed: dict[int, NodeProto], edge: Edge, name: str) -> None:
        node = self._node(changed, edge.position)
        node.input.extend([""] * (edge.slot + 1 - len(node.input)))  # a bias that the float model has not
        node.input[edge.slot] = name

    def _pair(self, how: Rounding, read: str, made: str, constants: dict[str, TensorProto]) -> list[NodeProto]:
        """QuantizeLinear and DequantizeLinear from one value to another."""
        names = {name: f"{self.prefix}/constant/{name}" for name in how.constants}
        constants.update((names[name], _tensor(array, names[name])) for name, array in how.constants.items())
        nodes = []
        for node, first, last in zip(how.pair, (read, f"{made}/integers"), (f"{made}/integers", made), strict=True):
            copied = NodeProto()
            copied.CopyFrom(node)
            copied.name = ""
            copied.input[0], copied.output[0] = first, last
            for slot, name in enumerate(node.input[1:], 1):
                copied.input[slot] = names.get(name, "")
            nodes.append(copied)
        return nodes


def header_of(model: ModelProto, layers: Iterable[Layer], opset: int) -> ModelProto:
    """The opsets and functions that a rounded part of `model` needs. Raises `ModelError` where its opset has no
    quantisers."""
    pairs = [edge.how.pair for layer in layers for edge in layer.edges if isinstance(edge.how, Rounding)]
    domains = {node.domain for pair in pairs for node in pair}
    if domains - {_MICROSOFT} and opset < _FIRST:
        raise ModelError(f"the model uses opset {opset}; quantisers are operators from opset {_FIRST} on: convert it")
    header = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    if _MICROSOFT in domains and all(entry.domain != _MICROSOFT for entry in model.opset_import):
        header.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    return header


def merged(*edits: Edit) -> Edit | None:
    """Several edits as one; None where they change the same node."""
    nodes = {position: those for edit in edits for position, those in edit.nodes.items()}
    if len(nodes) < sum(len(edit.nodes) for edit in edits):
        return None
    return Edit(
        nodes,
        weights={name: relaid for edit in edits for name, relaid in edit.weights.items()},
        initializers=tuple(tensor for edit in edits for tensor in edit.initializers),
    )


def _tensor(array: np.ndarray, name: str) -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)
