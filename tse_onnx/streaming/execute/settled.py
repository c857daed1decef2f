"""Nodes that read what is known before anything streams: the type or the shape of their output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from onnx import helper

from tse_onnx.streaming.network.constants import as_cast
from tse_onnx.streaming.network.network import Network, Stage

_RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze"})


def settled(stage: Stage, network: Network) -> tuple[Stage, Mapping[str, np.ndarray]]:
    """The stage with a node that reads its data alone, and the constant that the node then takes: of what a CastLike is
    like the type matters, and the shape that a Reshape is told while the model runs is the one of its output."""
    node, dims = stage.node, network.tensors[stage.output].dims
    if node.op_type == "CastLike":
        return replace(stage, node=as_cast(node, network.tensors[stage.output].dtype)), {}
    if node.op_type in _RESHAPES and any(name in network.tensors for name in node.input[1:]):
        shape = f"{stage.output}/shape"
        made = helper.make_node("Reshape", [node.input[0], shape], [stage.output], node.name)
        return replace(stage, node=made), {shape: np.array(dims, np.int64)}
    return stage, {}
