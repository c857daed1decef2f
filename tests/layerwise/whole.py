"""The same edits in the whole model, which is run as it is: what cuts have to come to."""

import onnx

from tests.layerwise.by_hand import noise
from tse_onnx.decision.analysis import analyse
from tse_onnx.files.source import open_model
from tse_onnx.layerwise.quantisers import quantised_layers
from tse_onnx.layerwise.rounding import Rounder
from tse_onnx.passes.edit.splice import splice
from tse_onnx.passes.graph.nested import taken_names
from tse_onnx.passes.graph.order import in_order


def levels_on_the_whole(model, quantised, feeds):
    """Noise to signal of each output, layer by layer."""
    source = open_model(model)
    index = analyse(source).main.index
    rank = {position: place for place, position in enumerate(in_order(index.nodes)[0])}
    rounder = Rounder.of(index, rank, taken_names(model))
    found = {}
    for layer in quantised_layers(source, index, open_model(quantised)):
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        splice(changed.graph, [rounder.edit([layer])])
        found[layer.name] = list(noise(model, changed, feeds).values())
    return found
