"""What a model remembers of weights that were trained: which ones, and what tells those that they came of.

An entry of the model's metadata. A conversion leaves it as it is, and the way back does, for it is true of the weights
whatever becomes of the blocks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, numpy_helper

from tse_onnx.decision.trained import fingerprints
from tse_onnx.errors import ModelError
from tse_onnx.files.source import Source

TRAINED = "tse_onnx.trained"
_FORMAT = 1


def retrained(model: ModelProto, weights: Mapping[str, np.ndarray]) -> ModelProto:
    """A copy of the model with other numbers in the initializers with these names, which then lie in the model itself;
    everything else as it is."""
    made = ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name in weights:
            changed = numpy_helper.from_array(weights[tensor.name], tensor.name)
            changed.doc_string = tensor.doc_string
            changed.metadata_props.extend(tensor.metadata_props)
            tensor.CopyFrom(changed)
    return made


def finetuned(source: Source, weights: Mapping[str, np.ndarray]) -> ModelProto:
    """The same, which remembers what these initializers were: of one that was trained before, what it was first."""
    made = retrained(source.model, weights)
    named = (tensor for tensor in source.model.graph.initializer if tensor.name in weights)
    before = dict(fingerprints(named, source.folder)) | dict(trained_weights(source.model))
    for place in reversed([place for place, entry in enumerate(made.metadata_props) if entry.key == TRAINED]):
        del made.metadata_props[place]
    made.metadata_props.add(key=TRAINED, value=json.dumps({"format": _FORMAT, "before": before}, separators=(",", ":")))
    return made


def trained_weights(model: ModelProto) -> Mapping[str, str]:
    """The initializers that were trained, by name, each with the fingerprint of the numbers that it had before; none
    for a model that remembers nothing. Raises `ModelError` where that cannot be read."""
    for entry in model.metadata_props:
        if entry.key == TRAINED:
            try:
                found = json.loads(entry.value)
                before = found["before"]
                known = found["format"] == _FORMAT
            except (ValueError, TypeError, KeyError) as error:
                raise ModelError(_DAMAGED) from error
            if not known or not isinstance(before, dict) or not all(isinstance(one, str) for one in before.values()):
                raise ModelError(_DAMAGED)
            return before
    return {}


_DAMAGED = "what the model's metadata remember of weights that were trained is damaged"
