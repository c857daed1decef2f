"""Blocks that are tiled already, as their nodes remember them."""

from __future__ import annotations

from tse_onnx.errors import ModelError
from tse_onnx.passes.blocks.block import Anatomy, NodeRef, Tiled
from tse_onnx.passes.edit.record import Memory, Record, recalled
from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.forms.squeeze import Squeeze
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.types import Types


def tiled_at(position: int, index: GraphIndex, types: Types, memory: Memory) -> Tiled | None:
    """The tiled block whose means, or whose frozen gate, the node at `position` makes, by what it or `memory` says."""
    node = index.nodes[position]
    try:
        record = recalled(node, memory, index.names)
        return None if record is None else _block(record, position, index, types)
    except (ModelError, KeyError, TypeError):  # damaged: then it is like any other graph
        return None


def _block(record: Record, position: int, index: GraphIndex, types: Types) -> Tiled | None:
    story, node = record.story, index.nodes[position]
    source = types[story.input]
    where = index.producer(story.scale)
    channel, spatial = story.channel, story.spatial
    if where is None and record.choice.may_lose_scale:
        where = position
    if where is None or (source.sizes is not None and max(channel, *spatial) >= len(source.sizes)):
        return None  # edited since
    scale = index.nodes[where]
    channels = None if source.sizes is None else source.sizes[channel]
    squeeze = Squeeze(
        (position,), story.input, node.output[0], Descriptor("NC" + "1" * len(spatial), channels), channel, spatial
    )
    # What a rewriter would ask for is not there: nothing rewrites a block that is tiled.
    anatomy = Anatomy(squeeze, (), "", story.input, "", "", story.input, "", ())
    return Tiled(
        record.block,
        story.kind,
        NodeRef(position, node.name, node.output[0]),
        NodeRef(where, scale.name, scale.output[0]),
        story.input,
        source.sizes,
        source.dtype,
        anatomy=anatomy,
        tiled=record.choice,
        branches=story.branches,
    )
