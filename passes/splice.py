"""Apply edits to a model: the only place where a graph changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnx import GraphProto, NodeProto, ValueInfoProto


@dataclass(frozen=True)
class Edit:
    """A change of a graph, as data: the nodes that stand in place of a node, and the types of values that changed."""

    nodes: Mapping[int, tuple[NodeProto, ...]]
    types: Mapping[str, ValueInfoProto]


def splice(graph: GraphProto, edits: Iterable[Edit]) -> None:
    """Put the edits' nodes in place of the ones they replace; everything else stays as it is, in its order."""
    edits = tuple(edits)
    replaced = {position: nodes for edit in edits for position, nodes in edit.nodes.items()}
    if replaced:
        kept: list[NodeProto] = []
        for position, node in enumerate(graph.node):
            kept.extend(replaced.get(position, (node,)))
        # The new list is built before the old one is emptied: its messages live in the old one.
        rebuilt = GraphProto()
        rebuilt.node.extend(kept)
        del graph.node[:]
        graph.node.MergeFrom(rebuilt.node)
    types = {name: value for edit in edits for name, value in edit.types.items()}
    if types:
        for value in graph.value_info:
            if value.name in types:
                value.type.CopyFrom(types.pop(value.name).type)
        graph.value_info.extend(types.values())
