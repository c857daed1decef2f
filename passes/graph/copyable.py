"""Which nodes may be computed twice: those that give the same both times, and that make rows of rows.

An operator that is not in the tables is not copied, however harmless it may be.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from tse_onnx.passes.graph.index import GraphIndex, int_attribute, ints_attribute
from tse_onnx.passes.graph.operators import is_default
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.graph.types import Types
from tse_onnx.passes.names import marked

_POINTWISE = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "Cast", "CastLike",
    "Ceil", "Celu", "Clip", "Cos", "Cosh", "DequantizeLinear", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp",
    "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
    "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or",
    "PRelu", "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign",
    "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu",
    "Where", "Xor",
})  # fmt: skip
_WINDOWS = frozenset({
    "AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose", "LRN", "LpPool", "MaxPool",
    "QLinearConv",
})  # fmt: skip
_MOVES = frozenset({
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Pad", "Reshape", "Resize", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Upsample",
})  # fmt: skip
_COPYABLE = _POINTWISE | _WINDOWS | _MOVES
# onnxruntime's own.
_CONTRIBUTED = frozenset({
    "BiasGelu", "DequantizeLinear", "FastGelu", "FusedConv", "Gelu", "Pad", "QLinearAdd",
    "QLinearAveragePool", "QLinearConcat", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid",
    "QuantizeLinear", "QuickGelu",
})  # fmt: skip
_RANDOM = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
})  # fmt: skip
_NESTING = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
_RANK_OF_BRANCHES = 5
_NO_IS_TEST = 7  # the opset from which on Dropout and BatchNormalization have no is_test
_POOLS = frozenset({"AveragePool", "LpPool", "MaxPool"})


def why_not(node: NodeProto, scope: Scope) -> str:
    """Why a node is not computed twice, as the end of a sentence about it; "" where it may be."""
    op, index, types = node.op_type, scope.index, scope.types
    if not is_default(node.domain):
        known = node.domain == "com.microsoft" and op in _CONTRIBUTED
        return "" if known else "is of a domain of which it is not known whether it computes the same twice"
    if op in _RANDOM or (op == "Dropout" and _drops(node, scope)):
        return "draws random numbers: two copies would differ"
    if op in _NESTING or op in _RECURRENT or "Sequence" in op or "Optional" in op:
        return "holds a state or graphs of its own"
    if op == "BatchNormalization" and _learns(node, scope):
        return "is in training mode: it takes its statistics from the whole map"
    if op not in _COPYABLE and not _product(node, index, types) and not _adds_branches(node, index, types):
        return "is not known to make rows of rows: it may need the whole map"
    if op in _POOLS and _covers(node, types):
        return "pools the whole map"
    return "was made by an earlier conversion" if marked(node) else ""


def _drops(node: NodeProto, scope: Scope) -> bool:
    """Whether a Dropout is, or may be, in training mode: an input from opset 12 on, an attribute up to opset 6."""
    if len(node.input) > 2 and node.input[2]:
        mode = scope.index.short_constant(node.input[2])
        return mode is None or bool(mode.any())
    return scope.opset < _NO_IS_TEST and not int_attribute(node, "is_test", 0)


def _learns(node: NodeProto, scope: Scope) -> bool:
    """Whether a BatchNormalization is in training mode: an attribute, or up to opset 13 that it gives statistics."""
    if scope.opset < _NO_IS_TEST and not int_attribute(node, "is_test", 0):
        return True
    return bool(int_attribute(node, "training_mode", 0)) or len([name for name in node.output if name]) > 1


def _product(node: NodeProto, index: GraphIndex, types: Types) -> bool:
    """Whether a node multiplies the last axis of a map by constant weights."""
    sizes = types[node.input[0]].sizes if node.input else None
    return node.op_type == "MatMul" and sizes is not None and len(sizes) >= 4 and index.is_constant(node.input[1])


def _adds_branches(node: NodeProto, index: GraphIndex, types: Types) -> bool:
    """Whether a node adds up maps that lie along the second axis, in front of the channels and the rows."""
    sizes = types[node.input[0]].sizes if node.op_type == "ReduceSum" else None
    if sizes is None or len(sizes) < _RANK_OF_BRANCHES:
        return False
    axes = index.short_constant(node.input[1]) if len(node.input) > 1 else np.array(ints_attribute(node, "axes") or ())
    return axes is not None and axes.tolist() == [1]


def _covers(node: NodeProto, types: Types) -> bool:
    """Whether a pool makes one pixel of a map of several."""
    before, after = types[node.input[0]].sizes, types[node.output[0]].sizes
    if before is None or after is None:
        return True
    return all(size == 1 for size in after[2:]) and any(size != 1 for size in before[2:])
