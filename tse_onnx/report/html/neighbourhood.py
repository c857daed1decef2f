"""The graph around a block, from the value that it squeezes to the one that it makes, before and after."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from tse_onnx.passes.blocks.block import Block
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.graph.order import in_order
from tse_onnx.report.html.figure import Figure, label, svg

_MOST = 48  # nodes of a picture
_WIDE, _HIGH, _ACROSS, _DOWN, _MARGIN = 168.0, 34.0, 18.0, 22.0, 12.0
_LETTERS = 26


@dataclass(frozen=True)
class Graph:
    """A model's nodes by the values that they make."""

    nodes: tuple[NodeProto, ...]
    producer: Mapping[str, int]

    @classmethod
    def of(cls, model: ModelProto) -> Graph:
        """The main graph of a model."""
        nodes = tuple(model.graph.node)
        return cls(nodes, {name: place for place, node in enumerate(nodes) for name in node.output if name})


def graph_figure(block: Block, before: Graph, after: Graph | None) -> Figure | None:
    """What makes the block's output of its input, before and after side by side. None of a block that is not in the
    main graph, or that too many nodes make."""
    if block.scale is None or block.scope:
        return None
    own = _between(before, block.input, block.scale.output, ())
    made = None if after is None else _between(after, block.input, block.scale.output, before.producer)
    if not own or len(own) > _MOST or (made is not None and len(made) > _MOST):
        return None
    drawn = [_drawn(before, own, block.input)]
    if after is not None and made and [after.nodes[each] for each in made] != [before.nodes[each] for each in own]:
        drawn.append(_drawn(after, made, block.input))
    left, bodies, high = 0.0, [], 0.0
    for title, (body, wide, tall) in zip(("before", "after"), drawn, strict=False):
        bodies.append(f'<g transform="translate({left:.0f} 0)">{label(_MARGIN, 16, title, kind="heading")}{body}</g>')
        left, high = left + wide + 40, max(high, tall)
    name = f"The graph of {block.name}"
    said = "; after: ".join(
        ", ".join(operator(graph.nodes[each]) for each in places)
        for graph, places in (
            (before, own),
            *([(after, made)] if after is not None and len(drawn) > 1 and made else []),
        )
    )
    return Figure("The graph around it", f"{name}: {said}.", svg(left, high, name, "".join(bodies)), block.name)


def _between(graph: Graph, source: str, target: str, known: Collection[str]) -> list[int]:
    """The nodes that make `target` of `source`, in order: those behind it on which the target depends. Of a model that
    was made of another, whose values are `known`, also what is new before it."""
    behind: set[str] = {source}
    seen: set[int] = set()
    for node in graph.nodes:
        if any(name in behind for name in node.input) and source not in node.output:
            behind.update(name for name in node.output if name)
    wanted = [target]
    while wanted:
        name = wanted.pop()
        place = graph.producer.get(name)
        if place is None or place in seen or (name == source):
            continue
        node = graph.nodes[place]
        if not node.input or not (
            behind & set(node.output) or (known and not any(each in known for each in node.output))
        ):
            continue
        seen.add(place)
        if len(seen) > _MOST:
            break
        wanted.extend(each for each in node.input if each)
    return sorted(seen)


def _drawn(graph: Graph, places: Sequence[int], source: str) -> tuple[str, float, float]:
    """The nodes in layers, each below what it reads; its width and height."""
    made = {name: place for place in places for name in graph.nodes[place].output if name}
    layer: dict[int, int] = {}
    order, _ = in_order([graph.nodes[place] for place in places])
    for place in (places[number] for number in order):
        reads = [layer[made[name]] for name in graph.nodes[place].input if name in made]
        layer[place] = 1 + max(reads, default=0)
    rows: dict[int, list[int]] = {}
    for place, number in layer.items():
        rows.setdefault(number, []).append(place)
    wide = 2 * _MARGIN + max(len(row) for row in rows.values()) * (_WIDE + _ACROSS)
    spots = {source: (wide / 2, 30 + _HIGH / 2)}
    where: dict[int, tuple[float, float]] = {}
    for number, row in sorted(rows.items()):
        row.sort(
            key=lambda place: min((where[made[n]][0] for n in graph.nodes[place].input if n in made), default=wide / 2)
        )
        begin = (wide - len(row) * (_WIDE + _ACROSS) + _ACROSS) / 2
        for column, place in enumerate(row):
            where[place] = (begin + column * (_WIDE + _ACROSS) + _WIDE / 2, 30 + number * (_HIGH + _DOWN) + _HIGH / 2)
    edges = []
    for place, (x, y) in where.items():
        for name in dict.fromkeys(graph.nodes[place].input):
            start = where.get(made.get(name, -1)) or spots.get(name)
            if start is not None:
                edges.append(_edge(*start, x, y))
    boxes = [_box(*spots[source], source, "value", "input")]
    boxes += [
        _box(x, y, graph.nodes[place].name or graph.nodes[place].output[0], "node", operator(graph.nodes[place]))
        for place, (x, y) in where.items()
    ]
    return "".join([*edges, *boxes]), wide, 30 + (max(rows) + 1) * (_HIGH + _DOWN) + 4


def _box(x: float, y: float, name: str, kind: str, first: str) -> str:
    left, top = x - _WIDE / 2, y - _HIGH / 2
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{_WIDE:.0f}" height="{_HIGH:.0f}" rx="5" class="{kind}"/>'
        + label(x, y - 3, first, _LETTERS, "operator", "middle")
        + label(x, y + 11, name, _LETTERS, "tick", "middle")
    )


def _edge(x: float, y: float, to_x: float, to_y: float) -> str:
    start, end = y + _HIGH / 2, to_y - _HIGH / 2
    if end - start > 2 * (_HIGH + _DOWN) and abs(x - to_x) < 1:  # beside the nodes between them
        side = x - _WIDE / 2 - 26
        return (
            f'<path d="M{x - _WIDE / 2:.1f},{y:.1f} C{side:.1f},{y + 20:.1f} {side:.1f},{to_y - 20:.1f} '
            f'{to_x - _WIDE / 2:.1f},{to_y:.1f}" class="edge"/>'
        )
    bend = (end - start) / 2
    middle = f"{x:.1f},{start + bend:.1f} {to_x:.1f},{end - bend:.1f}"
    return f'<path d="M{x:.1f},{start:.1f} C{middle} {to_x:.1f},{end:.1f}" class="edge"/>'
