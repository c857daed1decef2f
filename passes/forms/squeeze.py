"""The squeeze: every spelling of a global mean, as a table from operator to reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx import NodeProto
from tse_onnx.passes.descriptor import Descriptor
from tse_onnx.passes.index import GraphIndex, int_attribute, ints_attribute
from tse_onnx.passes.reasons import Refusal, quoted, refuse
from tse_onnx.passes.shapes import Types


@dataclass(frozen=True)
class Squeeze:
    """A global mean: `output` holds, per channel, the mean of `input` over all of its spatial axes."""

    node: int
    input: str
    output: str
    descriptor: Descriptor


Reader = Callable[[int, NodeProto, GraphIndex, Types], Squeeze | Refusal | None]


def squeeze_at(position: int, index: GraphIndex, types: Types) -> Squeeze | Refusal | None:
    """The global mean made by the node at `position`; why it is none; or None where the node pools nothing."""
    node = index.nodes[position]
    reader = _READERS.get(node.op_type)
    if reader is None or node.domain not in ("", "ai.onnx") or not node.input or not node.output:
        return None
    return reader(position, node, index, types)


def _global_average_pool(position: int, node: NodeProto, index: GraphIndex, types: Types) -> Squeeze | Refusal:
    sizes = types[node.input[0]].sizes
    if sizes is None:
        return refuse("shape", f"pools {quoted(node.input[0])}, whose rank is not known", node)
    if len(sizes) != 4:
        return refuse("rank", f"pools a tensor of rank {len(sizes)}; maps of rank 4 (N, C, H, W) are converted", node)
    return Squeeze(position, node.input[0], node.output[0], Descriptor("NC11", sizes[1]))


def _reduce_mean(position: int, node: NodeProto, index: GraphIndex, types: Types) -> Squeeze | Refusal | None:
    axes = reduced_axes(node, index)
    if axes is None:
        return refuse("axes", "reduces axes that are computed while the model runs", node)
    if axes == () and int_attribute(node, "noop_with_empty_axes", 0):
        return None
    sizes = types[node.input[0]].sizes
    if sizes is None:
        return refuse("shape", f"pools {quoted(node.input[0])}, whose rank is not known", node)
    rank = len(sizes)
    reduced = {axis % rank if rank else axis for axis in axes or range(rank)}
    if rank != 4 or not {2, 3} <= reduced:
        return None  # a mean over channels, as in a layer normalisation: no pooling of a map
    if reduced != {2, 3}:
        listed = ", ".join(map(str, sorted(reduced)))
        return refuse("axes", f"takes the mean over axes {listed}, not over the spatial axes 2, 3 alone", node)
    if not int_attribute(node, "keepdims", 1):
        return refuse("axes", "drops the axes it reduces (keepdims = 0); the tiles need them", node)
    return Squeeze(position, node.input[0], node.output[0], Descriptor("NC11", sizes[1]))


def reduced_axes(node: NodeProto, index: GraphIndex) -> tuple[int, ...] | None:
    """The axes of a Reduce operator, an attribute up to opset 17 and an input from 18; () for all; None if computed."""
    if len(node.input) > 1 and node.input[1]:
        values = index.short_constant(node.input[1])
        return None if values is None else tuple(int(axis) for axis in values.reshape(-1))
    return ints_attribute(node, "axes") or ()


_READERS: dict[str, Reader] = {
    "GlobalAveragePool": _global_average_pool,
    "ReduceMean": _reduce_mean,
}
