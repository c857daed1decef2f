"""Graphs within graphs: every graph of a model, and the way to each.

The bodies of If, Loop and Scan lie in the attributes of nodes, local functions beside the main graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto

Container = GraphProto | FunctionProto
Held = TypeVar("Held", bound=Container)


@dataclass(frozen=True)
class Body:
    """One way down: the graph in an attribute of the node at `position`; `number` counts within a list of graphs."""

    position: int
    attribute: str
    number: int = 0


@dataclass(frozen=True)
class Function:
    """One way down: the model's local function with this number."""

    number: int


Path = tuple[Body | Function, ...]

_HOLDING = frozenset({AttributeProto.GRAPH, AttributeProto.GRAPHS})


def graphs_of(model: ModelProto) -> Iterator[tuple[Path, Container]]:
    """Every graph of the model with the way to it: the main one and the functions, each before the bodies in it."""
    yield from within(model.graph)
    for number, function in enumerate(model.functions):
        yield from within(function, (Function(number),))


def within(graph: Held, path: Path = ()) -> Iterator[tuple[Path, Held | GraphProto]]:
    """A graph, to which `path` leads, and the bodies in it at any depth, each with the way to it."""
    yield path, graph
    for position, node in enumerate(graph.node):
        for attribute in node.attribute:  # written out: most nodes hold no graph, and large models have many
            if attribute.type in _HOLDING:
                for number, inner in enumerate(graphs_in(attribute)):
                    yield from within(inner, (*path, Body(position, attribute.name, number)))


def steps(node: NodeProto, position: int) -> Iterator[tuple[Body, GraphProto]]:
    """The graphs in the node at `position`, not those within these, each with the way to it."""
    for attribute in node.attribute:
        for number, graph in enumerate(graphs_in(attribute)):
            yield Body(position, attribute.name, number), graph


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs in a node, not those within these."""
    for attribute in node.attribute:
        if attribute.type in _HOLDING:
            yield from graphs_in(attribute)


def graphs_in(attribute: AttributeProto) -> Sequence[GraphProto]:
    """The graphs that an attribute holds: one, a list of them, or none."""
    if attribute.type == AttributeProto.GRAPH:
        return (attribute.g,)
    return attribute.graphs if attribute.type == AttributeProto.GRAPHS else ()


def container(model: ModelProto, path: Path) -> Container:
    """The graph or function at the end of `path`."""
    found: Container = model.graph
    for step in path:
        found = model.functions[step.number] if isinstance(step, Function) else body(found.node[step.position], step)
    return found


def body(node: NodeProto, step: Body) -> GraphProto:
    """The graph that `step` leads to from its node."""
    return graphs_in(next(found for found in node.attribute if found.name == step.attribute))[step.number]


def taken_names(model: ModelProto) -> set[str]:
    """Every name of a node or value in the model."""
    return _names(graph for _, graph in graphs_of(model))


def names_of(nodes: Iterable[NodeProto]) -> set[str]:
    """Every name of the nodes and of what they make, nested graphs included."""
    nodes = list(nodes)
    inner = (graph for node in nodes for body in bodies(node) for _, graph in within(body))
    return {name for node in nodes for name in (node.name, *node.output)} | _names(inner)


def _names(graphs: Iterable[Container]) -> set[str]:
    taken: set[str] = set()
    for graph in graphs:
        if isinstance(graph, GraphProto):
            for values in (graph.input, graph.output, graph.value_info, graph.initializer):
                taken.update(value.name for value in values)
            taken.update(sparse.values.name for sparse in graph.sparse_initializer)
        else:
            taken.update(graph.input)
        for node in graph.node:
            taken.add(node.name)
            taken.update(node.output)
    return taken
