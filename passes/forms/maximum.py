"""The maximum of a map over all spatial axes, which goes through the excite beside the mean: channel attention of CBAM.

1. GlobalMaxPool.
2. ReduceMax over the spatial axes.
3. MaxPool whose kernel is the map, of known size.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import NodeProto

from tse_onnx.passes.forms.squeeze import MAXIMUM, Squeeze, mean_of, spatial_axes
from tse_onnx.passes.forms.stepwise import keeps_axes, plain_pool, reduced_axes
from tse_onnx.passes.graph.index import GraphIndex, ints_attribute, takes_references
from tse_onnx.passes.graph.operators import Rules
from tse_onnx.passes.graph.types import Types

_Reader = Callable[[NodeProto, "tuple[int | None, ...]", GraphIndex], "tuple[tuple[int, ...], bool] | None"]
"""The axes over which a node takes the maximum of a map of these sizes, and whether they stay."""


def maximum_at(position: int, index: GraphIndex, types: Types) -> Squeeze | None:
    """The global maximum that the node at `position` makes, or None."""
    node = index.nodes[position]
    reader = _READERS.of(node)
    if reader is None or not node.input or sum(bool(name) for name in node.output) != 1 or takes_references(node):
        return None
    sizes = types[node.input[0]].sizes
    if sizes is None or not 3 <= len(sizes) <= 5 or index.is_constant(node.input[0]):
        return None
    found = reader(node, sizes, index)
    if found is None:
        return None
    return mean_of((position,), node.input[0], node.output[0], sizes, *found, statistic=MAXIMUM)


def _global(node: NodeProto, sizes: tuple[int | None, ...], index: GraphIndex) -> tuple[tuple[int, ...], bool] | None:
    return tuple(range(2, len(sizes))), True


def _reduced(node: NodeProto, sizes: tuple[int | None, ...], index: GraphIndex) -> tuple[tuple[int, ...], bool] | None:
    axes = reduced_axes(node, index)
    if not axes:
        return None
    spatial = spatial_axes({axis % len(sizes) for axis in axes}, node.input[0], len(sizes), index)
    return None if spatial is None else (spatial, keeps_axes(node))


def _pooled(node: NodeProto, sizes: tuple[int | None, ...], index: GraphIndex) -> tuple[tuple[int, ...], bool] | None:
    whole = ints_attribute(node, "kernel_shape") == sizes[2:] and plain_pool(node)
    return (tuple(range(2, len(sizes))), True) if whole else None


_READERS: Rules[_Reader] = Rules({"GlobalMaxPool": _global, "ReduceMax": _reduced, "MaxPool": _pooled})
