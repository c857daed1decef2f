"""onnxruntime's own operators, for onnx's inference: each as an operator of onnx's own that gives the same type.

What onnxruntime's optimiser fuses, onnx has no inference for; without this, everything behind such a node would have no
known size. The stand-ins are used to infer types and never to compute.
"""

from __future__ import annotations

from onnx import GraphProto

# The operator by which each is inferred, which of its inputs that reads, and which attributes go.
_STAND_INS: dict[str, tuple[str, tuple[int, ...], tuple[str, ...]]] = {
    "QuickGelu": ("Identity", (0,), ("alpha",)),
    "Gelu": ("Identity", (0,), ()),
    "FastGelu": ("Identity", (0,), ()),
    "BiasGelu": ("Add", (0, 1), ()),
    "FusedConv": ("Conv", (0, 1, 2), ("activation", "activation_params")),
    "FusedGemm": ("Gemm", (0, 1, 2), ("activation", "activation_alpha", "activation_beta", "activation_gamma")),
    "FusedMatMul": ("MatMul", (0, 1), ("alpha", "transA", "transB", "transBatchA", "transBatchB")),
    "QLinearSigmoid": ("Identity", (0,), ()),
    "QLinearLeakyRelu": ("Identity", (0,), ("alpha",)),
    "QLinearAdd": ("Add", (0, 3), ()),
    "QLinearMul": ("Mul", (0, 3), ()),
    "QLinearAveragePool": ("AveragePool", (0,), ("channels_last",)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,), ("channels_last",)),
    "QGemm": ("Gemm", (0, 3), ("alpha",)),
}
_TRANSPOSING = ("transA", "transB", "transBatchA", "transBatchB")


def stand_in(graph: GraphProto) -> None:
    """Put the stand-ins in place, in a graph that is used for inference alone."""
    for node in graph.node:
        if node.domain != "com.microsoft" or node.op_type not in _STAND_INS:
            continue
        operator, inputs, gone = _STAND_INS[node.op_type]
        if any(found.name == "channels_last" and found.i for found in node.attribute):
            continue
        if operator == "MatMul" and any(found.i for found in node.attribute if found.name in _TRANSPOSING):
            continue
        node.op_type, node.domain = operator, ""
        read = [node.input[slot] for slot in inputs if slot < len(node.input)]
        del node.input[:]
        node.input.extend(read)
        kept = [found for found in node.attribute if found.name not in gone]
        del node.attribute[:]
        node.attribute.extend(kept)
