"""The story of a candidate: what it pools, what acts on the descriptor, and where it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from tse_onnx.decision.analysis import analyse
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.errors import UsageError
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.blocks.block import KINDS, Block, Pooling, Refused, Step, Tiled
from tse_onnx.passes.forms.act import (
    AcrossChannels,
    Alias,
    ChannelsLast,
    Cut,
    Join,
    Keep,
    OverChannels,
    Permute,
    PointConvolution,
    Regroup,
    Sliced,
)
from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.forms.squeeze import MEAN
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.reasons import label, quoted

# How many names, and how long ones, are looked through for one that was meant: their comparison takes its time.
_COMPARED, _LONGEST = 10_000, 200


@dataclass(frozen=True)
class Line:
    """One step of a story: the node, what it does, and how the descriptor lies behind it ("" where it ends)."""

    node: str
    text: str
    axes: str = ""


@dataclass(frozen=True)
class Story:
    """How a candidate was read; `block` holds the outcome."""

    block: Block
    lines: tuple[Line, ...]


def explain(model: ModelLike, node: str | None = None, *, input_shapes: InputShapes | None = None) -> tuple[Story, ...]:
    """The stories of every candidate of `model`, or of the one that `node` belongs to: a block's name, or the name of a
    node or tensor of it. All kinds of blocks are looked for.

    Raises `ModelError`, and `UsageError` where no candidate has that name.
    """
    analysis = analyse(open_model(model), input_shapes, KINDS.keys())
    pairs = [(part.scope, block) for part in analysis.parts for block in part.blocks]
    if node is not None:
        chosen = [(scope, block) for scope, block in pairs if node in set(_names(scope.index, block))]
        if not chosen:
            names = [name for scope, block in pairs for name in _names(scope.index, block)]
            near = get_close_matches(node, [name for name in names[:_COMPARED] if len(name) <= _LONGEST], 1)
            hint = f"; did you mean {quoted(near[0])}?" if near else ""
            raise UsageError(f"no candidate is called {quoted(node)}, nor has such a node or tensor{hint}")
        pairs = chosen
    return tuple(Story(block, tuple(_lines(scope, block))) for scope, block in pairs)


def _names(index: GraphIndex, block: Pooling) -> Iterator[str]:
    yield block.name
    yield block.input
    positions = [block.squeeze.position, *(step.position for step in block.path)]
    positions += [place for beside in (block.anatomy.beside if block.anatomy else ()) for place in beside.nodes]
    if block.scale is not None:
        positions.append(block.scale.position)
    positions += [product.position for product in (block.anatomy.products if block.anatomy else ())]
    for position in positions:
        yield index.nodes[position].name
        yield from index.nodes[position].output


def _lines(scope: Scope, block: Pooling) -> Iterator[Line]:
    nodes = scope.index.nodes
    start = label(nodes[block.squeeze.position])
    statistic = MEAN if block.anatomy is None else block.anatomy.squeeze.statistic
    shape = "?" if block.shape is None else " × ".join("?" if dim is None else str(dim) for dim in block.shape)
    if block.path or block.scale:
        opens = block.tiled.opens if isinstance(block, Tiled) else f"takes the {statistic} of each channel of"
        yield Line(start, f"{opens} {quoted(block.input)} ({shape})")
    for beside in block.anatomy.beside if block.anatomy is not None else ():
        yield Line(label(nodes[beside.nodes[0]]), f"takes the {beside.statistic} of each channel of it")
    for step in block.path:
        yield Line(label(nodes[step.position]), _does(step), _shown(step.act.result))
    for product in block.anatomy.products if block.anatomy is not None else ():
        yield Line(label(nodes[product.position]), f"multiplies {quoted(product.gate)} with {quoted(product.map)}")
    if block.scale is not None and block.anatomy is not None and block.anatomy.products:
        yield Line(label(nodes[block.scale.position]), "adds up the products: the scale")
    elif block.scale is not None and block.scale != block.squeeze:
        scaled = block.anatomy.map if block.anatomy is not None else block.input
        yield Line(label(nodes[block.scale.position]), f"multiplies the result with {quoted(scaled)}: the scale")
    if block.anatomy is not None and block.anatomy.offset is not None:
        offset = block.anatomy.offset
        yield Line(
            label(nodes[offset.node.position]), f"adds {quoted(offset.value)} to it: an offset of the same means"
        )
    if isinstance(block, Refused):
        yield Line(block.refusal.node or start, f"refused ({block.refusal.code}): {block.refusal.text}")
    elif isinstance(block, Tiled):
        yield Line("", f"a block of kind {block.kind}, {block.tiled.already}")
    else:
        yield Line("", f"a block of kind {block.kind}, with {KINDS[block.kind]}; convertible")


def _does(step: Step) -> str:
    act = step.act
    how = _LOWERED[type(act.lowering)]
    if isinstance(act.lowering, Alias | Regroup | Permute | Cut | Join):
        return f"moves the axes of the descriptor; {how}"
    if act.mixes:
        return f"combines the channels, {act.macs:,} multiply-accumulates; {how}"
    return f"acts on each channel; {how}"


_LOWERED = {
    Keep: "stays as it is",
    Alias: "goes, since tiles lie as [N, C, tiles, 1]",
    PointConvolution: "a 1×1 convolution of the tiles",
    ChannelsLast: "stands between two transposes for the tiles",
    AcrossChannels: "slides over the channels of each tile",
    OverChannels: "reduces the channels of each tile",
    Sliced: "takes some of the channels of each tile",
    Regroup: "lays the channels of each tile so",
    Cut: "cuts the channels of each tile so",
    Join: "puts the channels of each tile side by side",
    Permute: "turns the axes of the channels of each tile",
}


def _shown(held: Descriptor) -> str:
    channels = "?" if held.channels is None else str(held.channels)
    parts = iter(map(str, held.parts or (channels,)))
    return "[" + ", ".join(next(parts) if axis in "CK" else axis for axis in held.axes) + "]"
