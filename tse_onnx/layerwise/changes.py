"""What is measured of a network: each layer rounded, each block tiled, each in several ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tse_onnx.layerwise.measure import Change
from tse_onnx.layerwise.quantisers import OUTPUT, Layer, Rounding
from tse_onnx.layerwise.rounding import Rounder, merged
from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.runtime.cuts import Cuts

WEIGHTS, ACTIVATIONS, QUANTISED, TILES, BOTH = "weights", "activations", "quantised", "tiles", "both"


def layer_changes(layers: Sequence[Layer], cuts: Cuts, rounder: Rounder) -> Iterator[Change]:
    """A change for each layer: with its weights rounded, its activations, both."""
    for layer in layers:
        ways = {QUANTISED: rounder.edit([layer])}
        if layer.rounds_weights and layer.rounds_activations:
            ways[WEIGHTS] = rounder.edit([layer], activations=False)
            ways[ACTIVATIONS] = rounder.edit([layer], weights=False)
        node = cuts.index.nodes[layer.position]
        outputs = [name for name in node.output if name]
        beside = _read_elsewhere(layer, rounder)
        watched = tuple((name, next((made for was, made in beside if was == name), name)) for name in outputs)
        places = [cuts.rank[edge.position] for edge in layer.edges]
        made = (*outputs, *(made for _, made in beside))
        yield Change(layer.name, min([cuts.rank[layer.position], *places]), ways, made, watched)


def block_changes(
    blocks: Sequence[Convertible], tiles: Mapping[str, Edit], layers: Sequence[Layer], cuts: Cuts, rounder: Rounder
) -> Iterator[Change]:
    """The changes of each block that is tiled, or has layers between its squeeze and its gate: tiled, quantised, both.
    Each is one of its own, as not the same is read behind it."""
    for block in blocks:
        inside = layers_of(block, layers)
        ways: dict[str, Edit] = {}
        if block.name in tiles:
            ways[TILES] = tiles[block.name]
        if inside:
            ways[QUANTISED] = rounder.edit(inside)
        both = merged(*ways.values())
        if len(ways) == 2 and both is not None:
            ways[BOTH] = both
        for way, edit in ways.items():
            beside = [made for layer in inside for _, made in _read_elsewhere(layer, rounder)] if way != TILES else []
            at = min(cuts.rank[position] for position in edit.nodes)
            yield Change(block.name, at, {way: edit}, (block.made, *beside), ((block.made, block.made),))


def layers_of(block: Convertible, layers: Sequence[Layer]) -> list[Layer]:
    """The layers between a block's squeeze and its gate."""
    inside = {step.position for step in block.anatomy.steps}
    return [layer for layer in layers if layer.position in inside]


def _read_elsewhere(layer: Layer, rounder: Rounder) -> list[tuple[str, str]]:
    """The values that other nodes read rounded because of a layer, each with its name once it is."""
    found = {}
    for edge in layer.edges:
        if isinstance(edge.how, Rounding) and edge.slot != OUTPUT and edge.position != layer.position:
            found[rounder.name(edge)] = rounder.index.nodes[edge.position].input[edge.slot]
    return [(was, made) for made, was in found.items()]
