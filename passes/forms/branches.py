"""The map of split attention and of selective kernels: a sum of branches that lie along an axis of their own."""

from __future__ import annotations

from dataclasses import dataclass

from tse_onnx.passes.forms.stepwise import keeps_axes, reduced_axes
from tse_onnx.passes.graph.index import GraphIndex, takes_references
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.graph.types import Types

# More axes than a map has: the batch, the channels, and one to three of space.
_RANKS = range(4, 7)


@dataclass(frozen=True)
class Stack:
    """`count` maps of one size side by side along the axis `axis` of `value`; the node at `position` adds them up."""

    position: int
    value: str
    axis: int
    count: int


def stack_behind(total: str, index: GraphIndex, types: Types) -> Stack | None:
    """The branches that `total` is the sum of; None where it is no sum along one axis of known extent."""
    position = index.producer(total)
    if position is None:
        return None
    node = index.nodes[position]
    if operator(node) != "ReduceSum" or takes_references(node) or keeps_axes(node):
        return None
    sizes, axes = types[node.input[0]].sizes, reduced_axes(node, index)
    if sizes is None or len(sizes) not in _RANKS or axes is None or len(axes) != 1:
        return None
    axis = axes[0] % len(sizes)
    count = sizes[axis]
    return Stack(position, node.input[0], axis, count) if axis and count is not None and count > 1 else None
