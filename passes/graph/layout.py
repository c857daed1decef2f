"""Maps seen through other layouts: the same pixels under a permutation, a cast or a pair of quantisers.

An exporter may pool one view of a map and scale another: NCHW here and NHWC there, a quantised copy here and its source
there. Both are the same map if they come from the same root without anything else in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from tse_onnx.passes.graph.index import GraphIndex, int_attribute, ints_attribute, takes_references
from tse_onnx.passes.graph.operators import Rules
from tse_onnx.passes.graph.types import Types

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})

# Spatial axes by rank, in order: the first one is streamed. N is the batch, C the channels, R the branches of a sum.
SPATIAL, OWN = "HWD", "NRC"
"""The letters of axes along which a map is averaged, and of those along which each entry is one of its own."""


@dataclass(frozen=True)
class View:
    """A value as a view of `root`: `axes[i]` is the axis of the root that axis i of the value runs along.

    `nodes` are the positions of the nodes between, nearest to the value first.
    """

    root: str
    axes: tuple[int, ...] | None
    nodes: tuple[int, ...]

    def along(self, rank: int) -> tuple[int, ...]:
        """`axes`, where no layout change says otherwise: those of a root of this rank, in order."""
        return self.axes if self.axes is not None else tuple(range(rank))


def view(value: str, index: GraphIndex, types: Types) -> View:
    """The root of `value` and how the value lies along it."""
    axes: tuple[int, ...] | None = None
    nodes: list[int] = []
    seen = {value}
    while (position := index.producer(value)) is not None:
        node = index.nodes[position]
        reader = VIEWS.of(node)
        step = reader(node, index, types) if reader is not None and not takes_references(node) else None
        if step is None or node.input[0] in seen:
            break
        if step:
            axes = step if axes is None else tuple(step[axis] for axis in axes if axis < len(step))
        nodes.append(position)
        value = node.input[0]
        seen.add(value)
    return View(value, axes, tuple(nodes))


# What a reader finds: the axes of the node's input that its output's axes run along; () where nothing moves; None where
# the node is no view.
_Reader = Callable[[NodeProto, GraphIndex, Types], "tuple[int, ...] | None"]


def _same(node: NodeProto, index: GraphIndex, types: Types) -> tuple[int, ...] | None:
    return ()


def _cast(node: NodeProto, index: GraphIndex, types: Types) -> tuple[int, ...] | None:
    return () if int_attribute(node, "to", 0) in _FLOATS else None


def _transpose(node: NodeProto, index: GraphIndex, types: Types) -> tuple[int, ...] | None:
    perm = ints_attribute(node, "perm")
    if perm is None:
        sizes = types[node.input[0]].sizes
        return None if sizes is None else tuple(reversed(range(len(sizes))))
    return perm if sorted(perm) == list(range(len(perm))) else None


def _quantised(node: NodeProto, index: GraphIndex, types: Types) -> tuple[int, ...] | None:
    return () if all(index.is_constant(name) for name in node.input[1:] if name) else None


def _zero_pad(node: NodeProto, index: GraphIndex, types: Types) -> tuple[int, ...] | None:
    """A Pad by nothing, as older exporters put before an average pool."""
    pads = ints_attribute(node, "pads")
    if pads is None and len(node.input) > 1:
        values = index.short_constant(node.input[1])
        pads = None if values is None else tuple(int(pad) for pad in values.reshape(-1))
    return () if pads is not None and not any(pads) else None


_QUANTISERS = ("QuantizeLinear", "DequantizeLinear", "com.microsoft::QuantizeLinear", "com.microsoft::DequantizeLinear")
VIEWS: Rules[_Reader] = Rules(
    {
        "Identity": _same,
        "Cast": _cast,
        "Transpose": _transpose,
        _QUANTISERS: _quantised,
        ("Pad", "com.microsoft::Pad"): _zero_pad,
    }
)
