"""The map of split attention and of selective kernels: a sum of branches, which lie along an axis of their own in one
tensor, or are tensors of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tse_onnx.passes.forms.stepwise import keeps_axes, reduced_axes
from tse_onnx.passes.graph.index import GraphIndex, takes_references
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.graph.types import Types

# More axes than a map has: the batch, the channels, and one to three of space.
_RANKS = range(4, 7)
_SUMS = frozenset({"Add", "Sum"})
_MOST = 64


@dataclass(frozen=True)
class Stack:
    """`count` maps of one size side by side along the axis `axis` of `value`; the node at `position` adds them up."""

    position: int
    value: str
    axis: int
    count: int

    @property
    def positions(self) -> tuple[int, ...]:
        """The node that adds them up."""
        return (self.position,)


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


@dataclass(frozen=True)
class Parts:
    """Maps of one size, each a tensor of its own; the nodes at `positions` add them up."""

    positions: tuple[int, ...]
    values: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many branches there are."""
        return len(self.values)


Branches = Stack | Parts


def parts_behind(total: str, index: GraphIndex, types: Types) -> Parts | None:
    """The branches that `total` is the sum of; None where it is none of several of its own size."""
    positions, values, waiting = list[int](), list[str](), [total]
    while waiting and len(positions) < _MOST:
        name = waiting.pop(0)
        position = index.producer(name)
        adds = position is not None and operator(index.nodes[position]) in _SUMS
        if position is None or not adds or (name != total and not _alone(name, index)):
            values.append(name)
            continue
        positions.append(position)
        waiting[:0] = _added(position, index)
    sizes = {types[name].dims for name in (total, *values)}
    dims = sizes.pop()
    if len(values) < 2 or len(set(values)) < len(values) or sizes or dims is None or None in dims[1:]:
        return None
    return Parts(tuple(positions), tuple(values))


def total_of(values: tuple[str, ...], index: GraphIndex) -> int | None:
    """The position of the node that ends the sum of these values, if they serve nothing else."""
    left, position = set(values), None
    while len(left) > 1 or position is None:
        makers = {use.node for name in left for use in index.uses(name) if _alone(name, index)}
        position = next((place for place in sorted(makers) if _adds(place, left, index)), None)
        if position is None:
            return None
        left = left.difference(index.nodes[position].input) | {index.nodes[position].output[0]}
    while (zero := _added_alone(next(iter(left)), index)) is not None:
        position, left = zero, {index.nodes[zero].output[0]}
    return position


def _added_alone(name: str, index: GraphIndex) -> int | None:
    """The position of the node that adds nothing but a zero to a value."""
    uses = index.uses(name)
    return uses[0].node if _alone(name, index) and _adds(uses[0].node, {name}, index) else None


def _adds(position: int, left: set[str], index: GraphIndex) -> bool:
    return operator(index.nodes[position]) in _SUMS and set(_added(position, index)) <= left


def _added(position: int, index: GraphIndex) -> list[str]:
    """What a sum adds up, without zeros, which a loop begins with."""
    return [name for name in index.nodes[position].input if not _is_zero(name, index)]


def _is_zero(name: str, index: GraphIndex) -> bool:
    number = index.short_constant(name) if index.is_constant(name) else None
    return number is not None and number.size == 1 and not bool(np.any(number))


def _alone(name: str, index: GraphIndex) -> bool:
    """Whether a value has one reader."""
    return len(index.uses(name)) == 1 and name not in index.outputs
