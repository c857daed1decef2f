"""Maps whose pixels are laid out anew before they are pooled or scaled.

That is `x.view(N, C, -1)`, or a 1-D map under a further axis.
"""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from tse_onnx.passes.forms.squeeze import Squeeze, channels_first
from tse_onnx.passes.graph.index import GraphIndex, element_count, takes_references
from tse_onnx.passes.graph.layout import view
from tse_onnx.passes.graph.operators import is_default
from tse_onnx.passes.graph.types import Types

_LAYING = frozenset({"Reshape", "Squeeze", "Unsqueeze"})
_MOVING = frozenset({"Identity", "Transpose"})


def laid_behind(squeeze: Squeeze, index: GraphIndex, types: Types) -> Squeeze | None:
    """The same mean, read as one of the map before its pixels were laid out anew; None where they were not.

    Batch and channels have to keep their axes and their sizes; then the rest is the same pixels in the same order. The
    descriptor is that of the node which pools: its rank is not the map's.
    """
    seen = view(squeeze.input, index, types)
    position = index.producer(seen.root)
    if position is None or any(index.nodes[place].op_type not in _MOVING for place in seen.nodes):
        return None
    node = index.nodes[position]
    if node.op_type not in _LAYING or not is_default(node.domain) or takes_references(node):
        return None
    rank = 2 + len(squeeze.spatial)
    axes = seen.along(rank)
    before = types[node.input[0]].dims
    if len(axes) != rank or axes[0] != 0 or before is None or not 3 <= len(before) <= 5:
        return None
    last = axes[squeeze.channel] == rank - 1  # as the root lies, which transposes may have turned
    channel, spatial = (len(before) - 1, range(1, len(before) - 1)) if last else (1, range(2, len(before)))
    if last and channels_first(node.input[0], index):
        return None
    if axes[squeeze.channel] not in (1, rank - 1) or not _same_pixels(node, index, types, last):
        return None
    return replace(squeeze, input=node.input[0], channel=channel, spatial=tuple(spatial))


def in_one_axis(value: str, squeeze: Squeeze, index: GraphIndex, types: Types) -> str | None:
    """The map whose pixels lie along one axis of `value`, with its channels where the pooled map has them; None where
    it is no such view."""
    position = index.producer(value)
    node = None if position is None else index.nodes[position]
    if node is None or node.op_type != "Reshape" or not is_default(node.domain) or takes_references(node):
        return None
    before, after = types[node.input[0]].dims, types[value].dims
    rank, last = 2 + len(squeeze.spatial), squeeze.channel != 1
    if before is None or after is None or len(before) != rank or len(after) != 3:
        return None
    return node.input[0] if _same_pixels(node, index, types, last) else None


def _same_pixels(node: NodeProto, index: GraphIndex, types: Types, last: bool) -> bool:
    """Whether the node keeps the channels on the second axis, or on the `last`, and lays out pixels only."""
    before, after = types[node.input[0]].dims, types[node.output[0]].dims
    if before is None or after is None:
        return False
    target = index.short_constant(node.input[1]) if node.op_type == "Reshape" and len(node.input) > 1 else None
    copied = {place for place, size in enumerate(() if target is None else target.reshape(-1)) if size == 0}
    place = -1 if last else 1
    if (before[place] is None or before[place] != after[place]) and (last or 1 not in copied):
        return False
    if 0 in copied or (before[0] is not None and before[0] == after[0]):
        return True
    # The sizes of a map that are known tell the batch as well.
    pixels = [dims[1:-1] if last else dims[2:] for dims in (before, after)]
    counts = [element_count(size for size in sizes if isinstance(size, int)) for sizes in pixels]
    return counts[0] == counts[1] and all(isinstance(size, int) for sizes in pixels for size in sizes)
