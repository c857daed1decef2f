"""Remove what an edit leaves unread: the nodes that only fed nodes which are gone."""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.graph.index import GraphIndex


def prune(edit: Edit, index: GraphIndex) -> Edit:
    """The edit, with every node and initializer removed that nothing reads once it is applied.

    What was unread before stays; the cost is that of the edit, not of the graph.
    """
    nodes = dict(edit.nodes)
    read = {name for made in nodes.values() for node in made for name in node.input}
    lost = [name for position in nodes for name in index.nodes[position].input]
    types, dropped = dict(edit.types), set[str]()
    while lost:
        name = lost.pop()
        if not name or name in read or name in index.outputs or name in index.inputs:
            continue
        if any(use.node not in nodes or use.slot < 0 for use in index.uses(name)):
            continue
        position = index.producer(name)
        if position is None:
            if name in index.initializers:
                dropped.add(name)
                types[name] = None
        elif position not in nodes and not _read_otherwise(index.nodes[position], name, index):
            nodes[position] = ()
            types.update(dict.fromkeys(index.nodes[position].output))
            lost.extend(index.nodes[position].input)
    return replace(edit, nodes=nodes, types=types, dropped_weights=frozenset(dropped))


def _read_otherwise(node: NodeProto, name: str, index: GraphIndex) -> bool:
    return any(output in index.outputs or index.uses(output) for output in node.output if output not in ("", name))
