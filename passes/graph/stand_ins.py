"""onnxruntime's own operators, for onnx's inference: each as an operator of onnx's own that gives the same type.

What onnxruntime's optimiser fuses, onnx has no inference for; without this, everything behind such a node would have no
known size. The stand-ins are used to infer types and never to compute.
"""

from __future__ import annotations

from onnx import GraphProto

# The operator by which each is inferred, how many of its inputs that has, and which attributes go.
_STAND_INS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "QuickGelu": ("Identity", 1, ("alpha",)),
    "Gelu": ("Identity", 1, ()),
    "FastGelu": ("Identity", 1, ()),
    "BiasGelu": ("Add", 2, ()),
    "FusedConv": ("Conv", 3, ("activation", "activation_params")),
    "FusedGemm": ("Gemm", 3, ("activation", "activation_alpha", "activation_beta", "activation_gamma")),
    "FusedMatMul": ("MatMul", 2, ("alpha", "transA", "transB", "transBatchA", "transBatchB")),
}
_TRANSPOSING = ("transA", "transB", "transBatchA", "transBatchB")


def stand_in(graph: GraphProto) -> None:
    """Put the stand-ins in place, in a graph that is used for inference alone."""
    for node in graph.node:
        if node.domain != "com.microsoft" or node.op_type not in _STAND_INS:
            continue
        operator, inputs, gone = _STAND_INS[node.op_type]
        if operator == "MatMul" and any(found.i for found in node.attribute if found.name in _TRANSPOSING):
            continue
        node.op_type, node.domain = operator, ""
        del node.input[inputs:]
        kept = [found for found in node.attribute if found.name not in gone]
        del node.attribute[:]
        node.attribute.extend(kept)
