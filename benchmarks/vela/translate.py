"""From ONNX to int8 TFLite, for the operators of these networks: node by node, with the operands as they are.

What the compiler makes of a network depends on its operands' order and on copies being two; a general converter has its
own mind about both: TFLite's merges layers that have equal weights.
"""

from __future__ import annotations

import onnx

from benchmarks.vela.operators import RULES
from benchmarks.vela.translation import Translation, Unknown


def translate(model: onnx.ModelProto) -> bytes:
    """The TFLite file of a model with fixed shapes, one input and one output; raises Unknown."""
    network = Translation(model)
    fused = {id(node) for node in network.activations.values()}
    for node in network.graph.node:
        if id(node) in fused or node.op_type == "Constant":
            continue
        if node.op_type not in RULES:
            raise Unknown(f"{node.name}: no translation of {node.op_type}")
        RULES[node.op_type](network, node)
    return network.writer.finish(
        [network.tensor(network.graph.input[0].name)], [network.tensor(network.graph.output[0].name)]
    )
