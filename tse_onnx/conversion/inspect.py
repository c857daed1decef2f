"""What `inspect` says of a model: its blocks, and what else stops the stream."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from onnx import NodeProto

from tse_onnx.decision.analysis import Analysis, Part, analyse
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.errors import ModelError
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.blocks.block import Pooling, Refused
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.passes.settings import setting
from tse_onnx.shown import Shown
from tse_onnx.streaming.depths.stops import Stop, stops_of
from tse_onnx.streaming.network.read import network_of

# How the inliner of onnx calls a value of a function where it has inlined its call.
_INLINED = re.compile(r"__\d+$")


@dataclass(frozen=True, repr=False)
class Inspection(Shown):
    """The blocks of a model, and what else stops its stream: `stops` is None where that is not known, and `unknown`
    says why."""

    title: str
    opset: int
    blocks: tuple[Pooling, ...]
    stops: tuple[Stop, ...] | None
    unknown: str = ""


def inspect(
    model: ModelLike, *, input_shapes: InputShapes | None = None, kinds: Collection[str] = DEFAULT_KINDS
) -> Inspection:
    """Find the blocks of `model` that are of these `kinds`, and what else stops a machine that streams it row by row.

    Raises `ModelError` for a model that cannot be read, `UsageError` for input shapes that do not fit.
    """
    source = open_model(model)
    analysis = analyse(source, input_shapes, kinds)
    try:
        network = network_of(source.model, analysis.bound, types=analysis.main.types)
    except ModelError as error:  # sizes that are open, or loops
        return Inspection(source.title, source.opset, analysis.blocks, None, str(error))
    treated = _treated(analysis)
    copies = tuple(f"{block.name}/again/" for block in analysis.blocks if block.tiled is not None)
    made = {
        stage.output
        for stage in network.stages
        if stage.output in treated or _INLINED.sub("", stage.output) in treated or stage.node.name.startswith(copies)
    }
    kinds_of = _not_asked_for(analysis)
    stops = (_advised(stop, kinds_of.get(stop.node)) for stop in stops_of(network, made))
    return Inspection(source.title, source.opset, analysis.blocks, tuple(stops))


def _advised(stop: Stop, kind: str | None) -> Stop:
    """A stop, with what would convert it where it is of a block that only has to be asked for."""
    if kind is None:
        return stop
    return replace(stop, advice=f"it is of a block of kind {kind}: {setting('kinds', {kind})} converts it")


def _not_asked_for(analysis: Analysis) -> dict[str, str]:
    """The kind of each block that is refused for that alone, by what messages call its nodes."""
    found = {}
    for part in analysis.parts:
        for block in part.blocks:
            if isinstance(block, Refused) and block.refusal.code == "kind":
                found.update({node.name or node.output[0]: block.kind for node in _nodes(part, block)})
    return found


def _treated(analysis: Analysis) -> set[str]:
    """What the nodes make of the blocks that are converted, or can be."""
    return {
        name
        for part in analysis.parts
        for block in part.blocks
        if block.refusal is None
        for node in _nodes(part, block)
        for name in node.output
    }


def _nodes(part: Part, block: Pooling) -> Iterator[NodeProto]:
    """The nodes of a block that was read to its end."""
    anatomy, nodes = block.anatomy, part.scope.index.nodes
    if anatomy is not None and block.scale is not None:
        positions = [*anatomy.squeeze_nodes, *(step.position for step in anatomy.steps)]
        positions += [block.scale.position, *(product.position for product in anatomy.products)]
        yield from (nodes[position] for position in positions)
