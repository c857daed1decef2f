"""Where rows and columns of a network's inputs lie."""

from __future__ import annotations

from collections.abc import Mapping

from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.streaming.network.needs.axis import Axis

_SPATIAL = frozenset({
    "AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose", "DepthToSpace", "GlobalAveragePool",
    "GlobalMaxPool", "InstanceNormalization", "LpPool", "MaxPool", "QLinearConv", "SpaceToDepth",
})  # fmt: skip
_STEPS = 64


def input_axes(name: str, index: GraphIndex, dims: Mapping[str, tuple[int, ...]]) -> tuple[Axis | None, Axis | None]:
    """Where rows and columns of an input lie: axes 2 and 3, unless a Transpose brings others there before the first
    operator that works in space."""
    shape = dims.get(name, ())
    rank = len(shape)
    order = tuple(range(rank))
    front: list[tuple[str, tuple[int, ...]]] = [(name, order)]
    seen = {name}
    for _ in range(_STEPS):
        if not front:
            break
        value, order = front.pop(0)
        for use in index.uses(value):
            node = index.nodes[use.node]
            if node.op_type in _SPATIAL:
                if use.slot == 0 and rank > 2:
                    return _axis(shape, order, 2), _axis(shape, order, 3)
                continue
            after = order
            if node.op_type == "Transpose":
                perm = next((tuple(each.ints) for each in node.attribute if each.name == "perm"), order[::-1])
                after = tuple(order[axis] for axis in perm) if sorted(perm) == list(range(rank)) else order
            for output in node.output:
                if output and output not in seen and len(dims.get(output, ())) == rank:
                    seen.add(output)
                    front.append((output, after))
    return _axis(shape, tuple(range(rank)), 2), _axis(shape, tuple(range(rank)), 3)


def _axis(shape: tuple[int, ...], order: tuple[int, ...], position: int) -> Axis | None:
    return Axis(order[position], shape[order[position]]) if position < len(order) else None
