"""What `inspect` says of a model: its blocks, and what else stops the stream."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from tse_onnx.decision.analysis import Analysis, analyse
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.errors import ModelError
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.blocks.block import Pooling
from tse_onnx.passes.search.match import DEFAULT_KINDS
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
    return Inspection(source.title, source.opset, analysis.blocks, stops_of(network, made))


def _treated(analysis: Analysis) -> set[str]:
    """What the nodes make of the blocks that are converted, or can be."""
    found = set[str]()
    for part in analysis.parts:
        for block in part.blocks:
            if block.refusal is None:
                anatomy = block.anatomy
                positions = [*anatomy.squeeze_nodes, *(step.position for step in anatomy.steps), block.scale.position]
                found.update(name for position in positions for name in part.scope.index.nodes[position].output)
    return found
