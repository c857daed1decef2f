"""The squeeze: every spelling of a global mean, as a table from operator to reader.

A map has its channels first or last, and is read so. The cases, to which the readers refer:

1. GlobalAveragePool.
2. ReduceMean over the spatial axes, which are an attribute or an input.
3. Two such ReduceMeans, one of what the other makes, over the spatial axes together.
4. ReduceSum over the spatial axes, then Div by the map's size or Mul with one over it.
5. AveragePool whose kernel is the map; a tentative one where the map's size is not known.
6. Einsum that leaves the spatial axes out, as `nchw->nc`, then as in 4.
7. Several of these one after the other, each for some of the axes; average pools whose windows lie side by side; MatMul
   with a column of one number; the numbers anywhere among them. `stepwise.py` reads what is taken in steps.
8. QLinearGlobalAveragePool, the first case in whole numbers.

A view of the map in between, as in `x.view(N, C, -1).mean(2)`, is read in `flat.py`. What pools a map otherwise, by a
maximum or a norm, is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.forms.quantised import ADVICE
from tse_onnx.passes.forms.stepwise import (
    STEPS,
    Stage,
    keeps_axes,
    left_out,
    mean_in_steps,
    opens,
    plain_pool,
    reduced_axes,
)
from tse_onnx.passes.graph.index import (
    GraphIndex,
    element_count,
    int_attribute,
    ints_attribute,
    takes_references,
)
from tse_onnx.passes.graph.operators import Rules
from tse_onnx.passes.graph.types import Types
from tse_onnx.passes.reasons import Refusal, quoted, refuse

MEAN, MAXIMUM = "mean", "maximum"
NORM, SUM_SQUARE, MEAN_SQUARE = "norm", "sum of squares", "mean of squares"


@dataclass(frozen=True)
class Squeeze:
    """A global mean: `output` holds, per channel, the mean of `input` over all of its spatial axes, or another
    `statistic` of it.

    `nodes` are the positions of the nodes that compute it, the one that makes `output` last; `channel` and `spatial`
    are axes of `input`, whose first axis is the batch. The descriptor has the rank of `output`, which need not be that
    of `input`. A `tentative` one is a mean over the whole map only if the map has the size it had when the model was
    exported.
    """

    nodes: tuple[int, ...]
    input: str
    output: str
    descriptor: Descriptor
    channel: int
    spatial: tuple[int, ...]
    tentative: bool = False
    statistic: str = MEAN


Found = Squeeze | Refusal | None
Reader = Callable[[int, NodeProto, GraphIndex, Types], Found]


def squeeze_at(position: int, index: GraphIndex, types: Types) -> Found:
    """The global mean made by the node at `position`; why it is none; or None where the node pools no map."""
    node = index.nodes[position]
    reader = READERS.of(node)
    if reader is None or not node.input or not node.output:
        return None
    if takes_references(node):
        return refuse("axes", "takes an attribute from the call of its function", node)
    steps = mean_in_steps(position, index, types, spatial_axes) if STEPS.of(node) is not None else None
    if steps is not None:  # it is read where it begins
        return _taken_in(steps, index) if position == opens(steps, index) else None
    return reader(position, node, index, types)


def _taken_in(steps: Stage, index: GraphIndex) -> Squeeze:
    """Cases 3, 4, 6 and 7."""
    part = steps.part
    spatial = spatial_axes(set(part.gone), steps.source, len(part.left), index) or ()
    (channel,) = (axis for axis in range(1, len(part.left)) if axis not in spatial)
    letters = {None: "1", 0: "N", channel: "C"}
    held = Descriptor("".join(letters[axis] for axis in part.axes), part.left[channel], part.left[0])
    return Squeeze(steps.nodes, steps.source, steps.output, held, channel, spatial)


def _global_average_pool(position: int, node: NodeProto, index: GraphIndex, types: Types) -> Found:
    """Case 1."""
    sizes = types[node.input[0]].sizes
    if sizes is None:
        return refuse("shape", f"pools {quoted(node.input[0])}, whose rank is not known", node)
    if not 3 <= len(sizes) <= 5:
        return refuse("rank", f"pools a tensor of rank {len(sizes)}; maps have one to three spatial axes", node)
    return mean_of((position,), node.input[0], node.output[0], sizes, tuple(range(2, len(sizes))), keeps=True)


def _reduce_mean(position: int, node: NodeProto, index: GraphIndex, types: Types) -> Found:
    """Why a mean is not case 2, and two of them not case 3."""
    if index.is_constant(node.input[0]):
        return None  # a mean of weights
    source, axes = node.input[0], reduced_axes(node, index)
    sizes: Sequence[int | None] | None = types[source].sizes
    if axes is None:
        return refuse("axes", "reduces axes that are computed while the model runs", node)
    if axes == () and int_attribute(node, "noop_with_empty_axes", 0):
        return None
    if sizes is None:
        return refuse("shape", f"pools {quoted(source)}, whose rank is not known", node)
    if len(sizes) < 3:
        return None  # a mean over a matrix: of features, not of a map
    reduced = {axis % len(sizes) for axis in axes or range(len(sizes))}
    first = _chained(index, node)
    if first is not None:  # the second of two means: over the axes of both
        inner = index.nodes[first]
        outer_sizes, inner_axes = types[inner.input[0]].sizes, reduced_axes(inner, index)
        if outer_sizes is not None and inner_axes:
            gone = {axis % len(outer_sizes) for axis in inner_axes}
            left = [axis for axis in range(len(outer_sizes)) if keeps_axes(inner) or axis not in gone]
            reduced, sizes = gone | {left[axis] for axis in reduced if axis < len(left)}, outer_sizes
    elif _continued(index, node):
        return None  # the first of two means: read together with the second
    if not 3 <= len(sizes) <= 5:
        return refuse("rank", f"pools a tensor of rank {len(sizes)}; maps have one to three spatial axes", node)
    spatial = spatial_axes(reduced, source, len(sizes), index)
    if spatial is None and _normalises(node, index):
        return None
    if spatial is None:
        listed = ", ".join(map(str, sorted(reduced)))
        return refuse(
            "axes", f"takes the mean over axes {listed} of {len(sizes)}, not over the spatial axes alone", node
        )
    if first is not None:
        return refuse("output", f"takes the mean of {quoted(source)}, which is an output of the graph", node)
    return mean_of((position,), source, node.output[0], sizes, spatial, keeps_axes(node))


def _normalises(node: NodeProto, index: GraphIndex) -> bool:
    """Whether a mean is taken to be subtracted from what it is of, or is that of squares: half of a layer
    normalisation."""
    source, uses = node.input[0], index.uses(node.output[0])
    if uses and all(
        use.slot == 1 and index.nodes[use.node].op_type == "Sub" and index.nodes[use.node].input[0] == source
        for use in uses
    ):
        return True
    position = index.producer(source)
    square = index.nodes[position] if position is not None else None
    if square is None or len(square.input) != 2:
        return False
    if square.op_type == "Mul":
        return square.input[0] == square.input[1]
    power = index.short_constant(square.input[1]) if square.op_type == "Pow" else None
    return power is not None and power.size == 1 and float(power.reshape(-1)[0]) == 2


def _sum(position: int, node: NodeProto, index: GraphIndex, types: Types) -> Found:
    """Why a sum over the map is not case 4 or 6: what it is divided by in the next node."""
    sizes = types[node.input[0]].sizes
    axes = reduced_axes(node, index) if node.op_type == "ReduceSum" else left_out(node)
    if index.is_constant(node.input[0]) or sizes is None or axes is None or not 3 <= len(sizes) <= 5:
        return None
    spatial = spatial_axes({axis % len(sizes) for axis in axes or range(len(sizes))}, node.input[0], len(sizes), index)
    uses = index.uses(node.output[0])
    if spatial is None or len(uses) != 1:
        return None
    after = index.nodes[uses[0].node]
    if after.op_type not in ("Div", "Mul") or len(after.input) != 2:
        return None
    other = after.input[1 - uses[0].slot]
    number = index.short_constant(other)
    extents = [sizes[axis] for axis in spatial]
    if number is None or number.size != 1 or None in extents or (after.op_type == "Div" and uses[0].slot != 0):
        if index.is_size(other) and not index.is_constant(other):
            return refuse("size", "adds up a map and is divided by a size that is computed while the model runs", node)
        return refuse("axes", f"adds up a map and is divided by {quoted(other)}, not by the map's size", node)
    area = element_count(extent or 0 for extent in extents)
    divisor = float(number.reshape(-1)[0]) if after.op_type == "Div" else 1 / (float(number.reshape(-1)[0]) or np.inf)
    return refuse("axes", f"adds up {area} values per channel and is divided by {divisor:g}: not their mean", node)


def _average_pool(position: int, node: NodeProto, index: GraphIndex, types: Types) -> Found:
    """Case 5."""
    kernel, sizes = ints_attribute(node, "kernel_shape"), types[node.input[0]].sizes
    if kernel is None or sizes is None or len(sizes) != 2 + len(kernel):
        return None
    if not plain_pool(node):
        return None  # padded by itself, it is a mean around each pixel
    spatial = tuple(range(2, len(sizes)))
    known = [(sizes[axis], size) for axis, size in zip(spatial, kernel, strict=True)]
    if any(extent is not None and extent != size for extent, size in known):
        return None
    tentative = any(extent is None for extent, _ in known)
    return mean_of((position,), node.input[0], node.output[0], sizes, spatial, True, tentative)


def _product(position: int, node: NodeProto, index: GraphIndex, types: Types) -> Found:
    """Nothing by itself: a product is a mean where `stepwise.py` says so."""
    return None


def _not_a_mean(what: str) -> Reader:
    def read(position: int, node: NodeProto, index: GraphIndex, types: Types) -> Found:
        return refuse("axes", f"takes {what} of each channel, not the mean", node)

    return read


def _reduce_max(position: int, node: NodeProto, index: GraphIndex, types: Types) -> Found:
    sizes, axes = types[node.input[0]].sizes, reduced_axes(node, index)
    if index.is_constant(node.input[0]) or sizes is None or axes is None or len(sizes) != 4:
        return None
    if {axis % 4 for axis in axes or range(4)} != {2, 3}:
        return None
    return refuse("axes", "takes the maximum of each channel, not the mean", node)


def _quantised_pool(position: int, node: NodeProto, index: GraphIndex, types: Types) -> Found:
    """Case 8."""
    if int_attribute(node, "channels_last", 0):
        return refuse("quantised", f"pools whole numbers with the channels last; {ADVICE}", node)
    if not all(index.is_constant(name) for name in node.input[1:] if name):
        return refuse("quantised", f"reads a scale or a zero point that is not constant; {ADVICE}", node)
    return _global_average_pool(position, node, index, types)


def mean_of(
    nodes: tuple[int, ...],
    source: str,
    output: str,
    sizes: Sequence[int | None],
    spatial: tuple[int, ...],
    keeps: bool,
    tentative: bool = False,
    statistic: str = MEAN,
) -> Squeeze:
    """The squeeze of a map of these sizes, whose spatial axes stay where it `keeps` them."""
    (channel,) = (axis for axis in range(1, len(sizes)) if axis not in spatial)
    letters = {0: "N", channel: "C"}
    axes = "".join(letters.get(axis, "1") for axis in range(len(sizes)) if keeps or axis in letters)
    descriptor = Descriptor(axes, sizes[channel], sizes[0])
    return Squeeze(nodes, source, output, descriptor, channel, spatial, tentative, statistic)


def spatial_axes(reduced: set[int], source: str, rank: int, index: GraphIndex) -> tuple[int, ...] | None:
    """The reduced axes, if they are the spatial ones of a map with its channels first or last."""
    if reduced == set(range(2, rank)):
        return tuple(range(2, rank))
    if reduced == set(range(1, rank - 1)) and not channels_first(source, index):
        return tuple(range(1, rank - 1))
    return None


def channels_first(value: str, index: GraphIndex) -> bool:
    """Whether what makes `value` says that its channels come first: a convolution or a pool, perhaps behind functions
    of each element."""
    for _ in range(16):
        position = index.producer(value)
        if position is None:
            return False
        node = index.nodes[position]
        if node.op_type in _SPATIAL_OPERATORS:
            return True
        if node.op_type not in _ELEMENTWISE or not node.input:
            return False
        value = next((name for name in node.input if not index.is_constant(name)), "")
    return False


_SPATIAL_OPERATORS = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "BatchNormalization", "Resize"})
_ELEMENTWISE = frozenset(
    {"Relu", "Sigmoid", "HardSigmoid", "HardSwish", "LeakyRelu", "Clip", "Mul", "Add", "Identity", "Cast",
     "QuantizeLinear", "DequantizeLinear", "Gelu", "Tanh", "Dropout", "Elu", "PRelu"}
)  # fmt: skip


def _chained(index: GraphIndex, node: NodeProto) -> int | None:
    """The position of the ReduceMean whose result `node` alone reads and takes the mean of once more."""
    position = index.producer(node.input[0])
    if position is None or index.nodes[position].op_type != "ReduceMean" or len(index.uses(node.input[0])) != 1:
        return None
    return position


def _continued(index: GraphIndex, node: NodeProto) -> bool:
    uses = index.uses(node.output[0])
    return len(uses) == 1 and uses[0].slot == 0 and index.nodes[uses[0].node].op_type == "ReduceMean"


READERS: Rules[Reader] = Rules(
    {
        "GlobalAveragePool": _global_average_pool,
        "ReduceMean": _reduce_mean,
        "ReduceSum": _sum,
        "Einsum": _sum,
        "MatMul": _product,
        "AveragePool": _average_pool,
        "com.microsoft::QLinearGlobalAveragePool": _quantised_pool,
        "GlobalMaxPool": _not_a_mean("the maximum"),
        "GlobalLpPool": _not_a_mean("a norm"),
        "ReduceMax": _reduce_max,
    }
)
