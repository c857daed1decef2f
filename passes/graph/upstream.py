"""What a value is made from: the values that all of it passes, from the nearest up.

Seen from the inputs these are the dominators of the value. The walk goes up node by node, last one first, and keeps the
values that are still open: where only one is left, everything passes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tse_onnx.passes.graph.copyable import why_not
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.macs import macs_of
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.reasons import label, quoted

# A walk this long has left the block's neighbourhood far behind.
_FARTHEST = 1024


@dataclass(frozen=True)
class Narrows:
    """A value that all of another one is made from.

    `nodes` are the positions of those between the two, in data-flow order, `macs` their multiply-accumulates for one
    image.
    """

    value: str
    nodes: tuple[int, ...]
    macs: int


@dataclass(frozen=True)
class Upstream:
    """Every such value from the nearest up, and why there is none further up."""

    values: tuple[Narrows, ...]
    end: str


def upstream(value: str, scope: Scope, ranks: Mapping[int, int], stops: Mapping[int, str]) -> Upstream:
    """What `value` is made from, as far up as every node between may be computed twice.

    `ranks` are the places of the nodes in data-flow order, `stops` nodes that end the walk, each with a sentence's end.
    Constants and sizes are not followed: both copies read the same.
    """
    index, types = scope.index, scope.types
    frontier, nodes, macs, found = {value}, list[int](), 0, list[Narrows]()
    while True:
        if len(frontier) == 1 and nodes:
            found.append(Narrows(next(iter(frontier)), tuple(reversed(nodes)), macs))
        positions = {position for name in frontier if (position := index.producer(name)) is not None}
        if not positions:
            return Upstream(tuple(found), _inputs(frontier))
        position = max(positions, key=ranks.__getitem__)
        node = index.nodes[position]
        why = stops.get(position) or why_not(node, scope)
        if len(nodes) == _FARTHEST:
            why = f"is {_FARTHEST:,} nodes away"
        if why:
            return Upstream(tuple(found), f"{label(node)} {why}")
        frontier -= set(node.output)
        frontier |= {name for name in node.input if name and not _settled(name, index)}
        nodes.append(position)
        macs += macs_of(node, types)


def _settled(name: str, index: GraphIndex) -> bool:
    return index.is_constant(name) or index.is_size(name)


def _inputs(frontier: set[str]) -> str:
    if len(frontier) == 1:
        return f"{quoted(next(iter(frontier)))} comes from outside"
    return "it is made from " + " and ".join(map(quoted, sorted(frontier)[:3])) + ", which come from outside"
