"""Topological order: the checker wants it, onnxruntime does not, and some converters do not keep it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from onnx import GraphProto, NodeProto

from tse_onnx.passes.graph.index import captured


def in_order(nodes: Sequence[NodeProto]) -> tuple[list[int], list[int]]:
    """Positions of the nodes in topological order, as close to today's as it gets, and those that lie on or behind a
    cycle."""
    makers = {name: position for position, node in enumerate(nodes) for name in node.output if name}
    read = [(*node.input, *captured(node)) for node in nodes]
    if all(makers.get(name, -1) < position for position, names in enumerate(read) for name in names):
        return list(range(len(read))), []
    needs = [{makers[name] for name in names if name in makers} for names in read]
    readers: dict[int, list[int]] = {}
    for position, need in enumerate(needs):
        for maker in need:
            readers.setdefault(maker, []).append(position)
    left = [len(need) for need in needs]
    ready = [position for position, count in enumerate(left) if not count]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers.get(order[-1], ()):
            left[reader] -= 1
            if not left[reader]:
                heapq.heappush(ready, reader)
    return order, [position for position, count in enumerate(left) if count]


def sort_nodes(graph: GraphProto) -> Sequence[int]:
    """Put a graph's nodes in topological order, those on a cycle last; the new place of each."""
    order, cyclic = in_order(graph.node)
    order += cyclic
    if order == list(range(len(order))):
        return order
    arranged = GraphProto()
    arranged.node.extend(graph.node[position] for position in order)
    del graph.node[:]
    graph.node.MergeFrom(arranged.node)
    places = [0] * len(order)
    for place, position in enumerate(order):
        places[position] = place
    return places
