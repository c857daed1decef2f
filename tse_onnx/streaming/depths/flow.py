"""The largest flow through a graph of capacities, which is its smallest cut (Dinic's algorithm)."""

from __future__ import annotations

UNBOUNDED = 1 << 60
SOURCE, SINK = 0, 1


class FlowGraph:
    """Nodes by number, of which there are two, and edges with capacities."""

    def __init__(self) -> None:
        self._from: list[list[int]] = [[], []]
        # An edge and its reverse are neighbours: each is the other's number with the lowest bit changed.
        self._to: list[int] = []
        self._left: list[int] = []

    def node(self) -> int:
        """A new node's number."""
        self._from.append([])
        return len(self._from) - 1

    def edge(self, tail: int, head: int, capacity: int = UNBOUNDED) -> None:
        """Connect two nodes."""
        for one, other, room in ((tail, head, capacity), (head, tail, 0)):
            self._from[one].append(len(self._to))
            self._to.append(other)
            self._left.append(room)

    def largest(self) -> tuple[int, list[bool]]:
        """The largest flow from `SOURCE` to `SINK`, which uses up the capacities, and which nodes lie on the source's
        side of the smallest cut."""
        total = 0
        while (levels := self._levels())[SINK] >= 0:
            total += self._blocking(levels)
        return total, [level >= 0 for level in levels]

    def _levels(self) -> list[int]:
        """Edges on the shortest way from the source to each node, as far as the sink; −1 where there is none."""
        levels = [-1] * len(self._from)
        levels[SOURCE] = 0
        front = [SOURCE]
        while front and levels[SINK] < 0:
            reached = []
            for node in front:
                for edge in self._from[node]:
                    head = self._to[edge]
                    if self._left[edge] and levels[head] < 0:
                        levels[head] = levels[node] + 1
                        reached.append(head)
            front = reached
        return levels

    def _blocking(self, levels: list[int]) -> int:
        """Fill the shortest ways, until none is left."""
        total, way, node = 0, list[int](), SOURCE
        tried = [0] * len(self._from)
        while True:
            if node == SINK:
                most = min(self._left[edge] for edge in way)
                total += most
                for edge in way:
                    self._left[edge] -= most
                    self._left[edge ^ 1] += most
                full = next(number for number, edge in enumerate(way) if not self._left[edge])
                node = self._to[way[full] ^ 1]
                del way[full:]
            edges, deeper = self._from[node], levels[node] + 1
            while tried[node] < len(edges):
                edge = edges[tried[node]]
                if self._left[edge] and levels[self._to[edge]] == deeper:
                    way.append(edge)
                    node = self._to[edge]
                    break
                tried[node] += 1
            else:
                if not way:
                    return total
                node = self._to[way.pop() ^ 1]
                tried[node] += 1
