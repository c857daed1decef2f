"""Lower a recomputed block: the nodes that make its map, once more, for the squeeze alone.

The originals keep their names and go on to the scale; the copies read the same weights.
"""

from __future__ import annotations

from onnx import NodeProto, ValueInfoProto

from tse_onnx.passes.block import Block
from tse_onnx.passes.lowering.style import Style, lowering
from tse_onnx.passes.names import fresh
from tse_onnx.passes.prune import prune
from tse_onnx.passes.recompute import Recomputed
from tse_onnx.passes.scope import Scope
from tse_onnx.passes.shapes import value_info
from tse_onnx.passes.splice import Edit


@lowering.register
def again(form: Recomputed, block: Block, scope: Scope, taken: set[str], style: Style) -> Edit:
    """The edit that makes the map of `block` twice."""
    assert block.anatomy is not None
    squeeze, index = block.anatomy.squeeze, scope.index
    now: dict[str, str] = {}
    types: dict[str, ValueInfoProto | None] = {}
    copies = []
    for position in form.nodes:
        node = index.nodes[position]
        for name in filter(None, node.output):
            now[name] = fresh(f"{block.name}/again/{name}", taken)
            if (stated := scope.types.stated(name)) is not None:
                types[now[name]] = value_info(now[name], stated)
        copies.append(_copy(node, block, now, taken, all_outputs=True))
    nodes: dict[int, tuple[NodeProto, ...]] = {
        position: (_copy(index.nodes[position], block, now, taken),) for position in squeeze.nodes
    }
    first = squeeze.nodes[0]
    nodes[first] = (*copies, *nodes[first])
    return prune(Edit(nodes, types, bearer=squeeze.output), index)


def _copy(node: NodeProto, block: Block, now: dict[str, str], taken: set[str], all_outputs: bool = False) -> NodeProto:
    """A node under a new name, which reads the copies where there are some."""
    made = NodeProto()
    made.CopyFrom(node)
    made.name = fresh(f"{block.name}/again/{node.name or node.op_type}", taken)
    for slot, name in enumerate(node.input):
        made.input[slot] = now.get(name, name)
    if all_outputs:
        for slot, name in enumerate(node.output):
            made.output[slot] = now.get(name, name)
    return made
