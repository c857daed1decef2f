"""Names: what a block is called, and names that nothing in the model bears yet."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

# The key of a node's metadata under which it bears the name of the block that it was made for.
MADE_FOR = "tse_onnx.block"

# torch's dynamo exporter notes the module that a node came from: a list of scopes, outermost first.
_SCOPES = "pkg.torch.onnx.name_scopes"


def marked(node: NodeProto) -> bool:
    """Whether a node was made for a block by an earlier conversion."""
    return any(entry.key == MADE_FOR for entry in node.metadata_props)


def name_of(node: NodeProto) -> str:
    """How people call a node: by its name, or by its output."""
    return node.name or node.output[0]


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
