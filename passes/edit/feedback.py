"""Which outputs of a converted model are fed back, as its blocks remember."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto

from tse_onnx.passes.blocks.previous import Previous, gate_in, gate_out
from tse_onnx.passes.edit.memory import remembered
from tse_onnx.passes.edit.record import recorded


def fed_back(model: ModelProto) -> Mapping[str, str]:
    """For each input that takes the gates of the frame before the output that makes those of this one.

    Raises `ModelError` where what the model remembers cannot be read.
    """
    records = (record for _, found in recorded(model, remembered(model)) for record in found)
    return {gate_in(one.block): gate_out(one.block) for one in records if isinstance(one.choice, Previous)}
