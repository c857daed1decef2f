"""Lower a recomputed block: the nodes that make its map, once more, for the squeeze alone.

The originals keep their names and go on to the scale; the copies read the same weights.
"""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto, ValueInfoProto

from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.recompute import Recomputed
from tse_onnx.passes.edit.prune import prune
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.forms.squeeze import Squeeze
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.graph.types import value_info
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.passes.lowering.style import Style, lowering
from tse_onnx.passes.names import fresh

# What gives the mean of a map as well from the means of its rows.
_MEANS = ("GlobalAveragePool", "ReduceMean")


@lowering.register
def again(form: Recomputed, block: Convertible, scope: Scope, taken: set[str], style: Style) -> Edit:
    """The edit that makes the map of `block` twice."""
    squeeze, index = block.anatomy.squeeze, scope.index
    draft = Draft(block.name, block.anatomy, scope, taken)
    types: dict[str, ValueInfoProto | None] = {}
    for position in form.nodes:
        node = index.nodes[position]
        for name in filter(None, node.output):
            draft.now[name] = fresh(f"{block.name}/again/{name}", taken)
            if (stated := scope.types.stated(name)) is not None:
                types[draft.now[name]] = value_info(draft.now[name], stated)
        draft.add(_copy(node, block, draft, all_outputs=True))
    if form.cascade:
        _rows_first(draft, squeeze)
    for position in block.anatomy.squeeze_nodes:
        draft.add(_copy(index.nodes[position], block, draft))
        draft.put(position)
    if form.cascade:
        _map_first(draft, block)
    return prune(replace(draft.edit(), types=types), index)


def _rows_first(draft: Draft, squeeze: Squeeze) -> None:
    """The mean of each row of the copy, which is known when the row is there; the squeeze then takes that of the rows.

    A mean that is spelled in several nodes stays as it is.
    """
    mean = draft.index.nodes[squeeze.nodes[0]]
    if len(squeeze.nodes) == 1 and len(squeeze.spatial) > 1 and mean.op_type in _MEANS:
        copied = draft.current(mean.input[0])
        draft.now[mean.input[0]] = draft.reduced("ReduceMean", "again/row_means", copied, squeeze.spatial[1:])


def _map_first(draft: Draft, block: Convertible) -> None:
    """The scale with the map as its first operand: what such compilers stream is the first."""
    scale = draft.index.nodes[block.scale.position]
    if scale.op_type == "Mul" and list(scale.input) == [block.anatomy.gate, block.anatomy.map]:
        turned = NodeProto()
        turned.CopyFrom(scale)
        turned.input[:] = [block.anatomy.map, block.anatomy.gate]
        draft.add(turned)
        draft.put(block.scale.position)


def _copy(node: NodeProto, block: Convertible, draft: Draft, all_outputs: bool = False) -> NodeProto:
    """A node under a new name, which reads the copies where there are some."""
    made = NodeProto()
    made.CopyFrom(node)
    made.name = fresh(f"{block.name}/again/{node.name or node.op_type}", draft.taken)
    for slot, name in enumerate(node.input):
        made.input[slot] = draft.current(name)
    if all_outputs:
        for slot, name in enumerate(node.output):
            made.output[slot] = draft.current(name)
    return made
