"""Names: what a block is called, and names that nothing in the model bears yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

# The key of a node's metadata under which it bears the name of the block that it was made for.
MADE_FOR = "tse_onnx.block"

# torch's dynamo exporter notes the module that a node came from: a list of scopes, outermost first.
_SCOPES = "pkg.torch.onnx.name_scopes"


def marked(node: NodeProto) -> bool:
    """Whether a node was made for a block by an earlier conversion."""
    return any(entry.key == MADE_FOR for entry in node.metadata_props)


def module_of(nodes: Sequence[NodeProto]) -> str:
    """The module of the source network that all of `nodes` came from, as far as the exporter kept it; "" where not.

    torch's dynamo exporter notes it in the metadata; its TorchScript exporter and others put it into the names, as the
    path that these have in common.
    """
    scopes = [_scope(node) for node in nodes]
    if all(scopes):
        common = _common([scope[:-1] for scope in scopes])
        return common[-1] if common else ""
    return "/".join(_common([node.name.split("/")[:-1] for node in nodes]))


def _scope(node: NodeProto) -> list[str]:
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            return [part.strip().strip("'\"") for part in entry.value.strip("[]").split(",")]
    return []


def _common(paths: Sequence[Sequence[str]]) -> list[str]:
    """The longest path that all of `paths` begin with."""
    common = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) != 1:
            break
        common.append(parts[0])
    return common


def fresh(wanted: str, taken: set[str]) -> str:
    """`wanted`, or `wanted` with a number that makes it new, the first where the taken ones have no gaps; remembered
    in `taken`."""
    name = wanted
    if name in taken:
        low, high = 1, 2
        while f"{wanted}_{high}" in taken:  # by doubling: a thousand nodes of one name are no million questions
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if f"{wanted}_{middle}" in taken else (low, middle)
        name = f"{wanted}_{high}"
    taken.add(name)
    return name


def taken_names(model: ModelProto) -> set[str]:
    """Every name of a node or value in the model, nested graphs and functions included."""
    taken: set[str] = set()
    _graph_names(model.graph, taken)
    for function in model.functions:
        taken.update(function.input)
        _node_names(function.node, taken)
    return taken


def names_of(nodes: Iterable[NodeProto]) -> set[str]:
    """Every name of the nodes and of what they make, nested graphs included."""
    taken: set[str] = set()
    _node_names(nodes, taken)
    return taken


def _graph_names(graph: GraphProto, taken: set[str]) -> None:
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        taken.update(value.name for value in values)
    taken.update(sparse.values.name for sparse in graph.sparse_initializer)
    _node_names(graph.node, taken)


def _node_names(nodes: Iterable[NodeProto], taken: set[str]) -> None:
    for node in nodes:
        taken.add(node.name)
        taken.update(node.output)
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _graph_names(attribute.g, taken)
            elif attribute.type == AttributeProto.GRAPHS:
                for graph in attribute.graphs:
                    _graph_names(graph, taken)
