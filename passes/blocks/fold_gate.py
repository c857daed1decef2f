"""Which convolution takes a frozen gate into its weights."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from tse_onnx.passes.blocks.block import Anatomy, Convertible
from tse_onnx.passes.graph.index import GraphIndex, holds_numbers
from tse_onnx.passes.graph.operators import is_default

_FOLDED = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})


@dataclass(frozen=True)
class Fold:
    """The convolution whose weights take a frozen gate in: the block's only reader, or what makes its map.

    `source` is the value that the convolution then reads, `target` the one that it makes.
    """

    position: int
    source: str
    target: str
    behind: bool
    """Whether it reads what the block scales; else it makes the block's map."""


def fold_of(block: Convertible, index: GraphIndex) -> Fold | None:
    """The convolution that a frozen gate of `block` folds into, so that nothing is left to multiply; None where there
    is none that nobody else shares.

    A convolution is linear in each channel that it reads, and its zero padding stays zero under any gate; it is linear
    in each channel that it makes as well, bias included.
    """
    anatomy, scale = block.anatomy, block.scale
    if anatomy.map_axes[:2] != "NC" or anatomy.gate_parts or anatomy.products:
        return None
    return _behind(anatomy, scale.output, index) or _before(anatomy, scale.output, index)


def _behind(anatomy: Anatomy, output: str, index: GraphIndex) -> Fold | None:
    uses = index.uses(output)
    if len(uses) != 1 or uses[0].slot != 0 or output in index.outputs:
        return None
    position = uses[0].node
    node = index.nodes[position]
    if not _convolution(node) or not _own(node.input[1], index):
        return None
    return Fold(position, anatomy.map, node.output[0], True)


def _before(anatomy: Anatomy, output: str, index: GraphIndex) -> Fold | None:
    position = index.producer(anatomy.map)
    if position is None or anatomy.map != anatomy.root or anatomy.map in index.outputs:
        return None
    node = index.nodes[position]
    if not _convolution(node) or not all(_own(name, index) for name in node.input[1:] if name):
        return None
    maker = index.producer(node.input[0])
    if maker is not None and index.nodes[maker].op_type == "Mul":
        return None  # perhaps the scale of another block, whose gate wants to go into the same weights
    gone = {*anatomy.squeeze_nodes, *(step.position for step in anatomy.steps)}
    readers = {use.node for use in index.uses(anatomy.map)}
    scales = {use.node for use in index.uses(anatomy.gate)}
    if not readers <= gone | scales:
        return None
    return Fold(position, node.input[0], output, False)


def _convolution(node: NodeProto) -> bool:
    return node.op_type == "Conv" and is_default(node.domain)


def _own(name: str, index: GraphIndex) -> bool:
    """Whether a weight lies in the model itself and only one node reads it."""
    tensor = index.initializers.get(name)
    return (
        tensor is not None
        and tensor.data_type in _FOLDED
        and holds_numbers(tensor)
        and len(index.uses(name)) == 1
        and name not in index.outputs
        and name not in index.inputs
    )
