"""The norm of a map over all spatial axes, as global response normalisation takes it, and the squares that it is of.

1. ReduceL2 over the spatial axes.
2. GlobalLpPool, or LpPool whose kernel is the map, of the power 2.
3. ReduceSumSquare, or ReduceSum of squares: the norm before its root, which is a step of the excite.
4. The mean of squares, in every spelling of the mean, before its root as well.

Squares are `x · x` or `x ** 2`. An Abs before them, or before a norm, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnx import NodeProto, TensorProto

from tse_onnx.passes.forms.squeeze import MEAN_SQUARE, NORM, SUM_SQUARE, Found, Squeeze, mean_of, spatial_axes
from tse_onnx.passes.forms.stepwise import keeps_axes, plain_pool, reduced_axes
from tse_onnx.passes.graph.index import GraphIndex, int_attribute, ints_attribute, takes_references
from tse_onnx.passes.graph.operators import Rules, is_default
from tse_onnx.passes.graph.types import Types
from tse_onnx.passes.reasons import Refusal, refuse

_Sizes = tuple["int | None", ...]
_Reader = Callable[[NodeProto, str, _Sizes, GraphIndex], "tuple[tuple[int, ...], bool] | None"]
"""The axes over which a node takes its statistic of a map of these sizes, and whether they stay."""

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})


def norm_at(position: int, mean: Found, index: GraphIndex, types: Types) -> Squeeze | None:
    """The norm over space that begins at `position`, or its square, or the mean of squares; None where nothing of the
    kind does. `mean` is the global mean that was read there."""
    node = index.nodes[position]
    if isinstance(mean, Squeeze):
        return _mean_of_squares(mean, index, types)
    rule = _READERS.of(node)
    if rule is None or not node.input or len(node.output) != 1 or takes_references(node):
        return None
    statistic, reader = rule
    source, before = _behind(node.input[0], _is_magnitude, index)
    if node.op_type == "ReduceSum":
        squared = _squared(node.input[0], index)
        if squared is None:
            return None
        source, before = squared
    sizes = types[source].sizes
    if sizes is None or not 3 <= len(sizes) <= 5 or index.is_constant(source) or types[source].dtype not in _FLOATS:
        return None
    found = reader(node, source, sizes, index)
    if found is None:
        return None
    return mean_of((*before, position), source, node.output[0], sizes, *found, statistic=statistic)


def partial_norm(position: int, index: GraphIndex, types: Types) -> Refusal | None:
    """Why a norm that goes on to a mean, as in global response normalisation, is none over space alone."""
    node = index.nodes[position]
    if node.op_type != "ReduceL2" or not is_default(node.domain) or takes_references(node):
        return None
    sizes, axes = types[node.input[0]].sizes, reduced_axes(node, index)
    averaged = any(index.nodes[use.node].op_type == "ReduceMean" for use in index.uses(node.output[0]))
    if sizes is None or len(sizes) != 4 or not axes or not averaged:
        return None
    reduced = sorted({axis % 4 for axis in axes})
    if 2 not in reduced or spatial_axes(set(reduced), node.input[0], 4, index) is not None:
        return None
    listed = ", ".join(map(str, reduced))
    return refuse("axes", f"takes a norm over axes {listed} of 4, not over the spatial axes alone", node)


def _mean_of_squares(mean: Squeeze, index: GraphIndex, types: Types) -> Squeeze | None:
    squared = _squared(mean.input, index)
    if squared is None or mean.tentative:
        return None
    source, before = squared
    if types[source].dtype not in _FLOATS:
        return None
    rank = 2 + len(mean.spatial)
    if spatial_axes(set(mean.spatial), source, rank, index) is None:
        return None
    return replace(mean, nodes=(*before, *mean.nodes), input=source, statistic=MEAN_SQUARE)


def _squared(value: str, index: GraphIndex) -> tuple[str, tuple[int, ...]] | None:
    """What a value is the square of, and the nodes in between, none of which anything else reads."""
    source, nodes = _behind(value, _is_square, index)
    if not nodes:
        return None
    source, more = _behind(source, _is_magnitude, index)
    return source, (*more, *nodes)


def _behind(
    value: str, rule: Callable[[NodeProto, GraphIndex], bool], index: GraphIndex
) -> tuple[str, tuple[int, ...]]:
    position = index.producer(value)
    if position is None or value in index.outputs or len({use.node for use in index.uses(value)}) != 1:
        return value, ()
    node = index.nodes[position]
    if not is_default(node.domain) or takes_references(node) or not rule(node, index):
        return value, ()
    return node.input[0], (position,)


def _is_magnitude(node: NodeProto, index: GraphIndex) -> bool:
    return node.op_type == "Abs"


def _is_square(node: NodeProto, index: GraphIndex) -> bool:
    if node.op_type == "Mul":
        return node.input[0] == node.input[1]
    power = index.short_constant(node.input[1]) if node.op_type == "Pow" else None
    return power is not None and power.size == 1 and float(power.reshape(-1)[0]) == 2


def _reduced(node: NodeProto, source: str, sizes: _Sizes, index: GraphIndex) -> tuple[tuple[int, ...], bool] | None:
    axes = reduced_axes(node, index)
    if not axes:
        return None
    spatial = spatial_axes({axis % len(sizes) for axis in axes}, source, len(sizes), index)
    return None if spatial is None else (spatial, keeps_axes(node))


def _global(node: NodeProto, source: str, sizes: _Sizes, index: GraphIndex) -> tuple[tuple[int, ...], bool] | None:
    return (tuple(range(2, len(sizes))), True) if int_attribute(node, "p", 2) == 2 else None


def _pooled(node: NodeProto, source: str, sizes: _Sizes, index: GraphIndex) -> tuple[tuple[int, ...], bool] | None:
    if ints_attribute(node, "kernel_shape") != sizes[2:] or not plain_pool(node):
        return None
    return _global(node, source, sizes, index)


_READERS: Rules[tuple[str, _Reader]] = Rules(
    {
        "ReduceL2": (NORM, _reduced),
        "GlobalLpPool": (NORM, _global),
        "LpPool": (NORM, _pooled),
        "ReduceSumSquare": (SUM_SQUARE, _reduced),
        "ReduceSum": (SUM_SQUARE, _reduced),
    }
)
