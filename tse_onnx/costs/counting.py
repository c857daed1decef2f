"""What each operator counts for one image: its multiply-accumulates, and which of its inputs are parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator

from onnx import NodeProto, defs

from tse_onnx.passes.graph.macs import MULTIPLIES
from tse_onnx.passes.graph.operators import Rules, is_default, operator
from tse_onnx.streaming.depths.work import work_of
from tse_onnx.streaming.network.network import Network, Stage

_ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sum")
# Inputs that hold weights or a bias, where the operator has some. Element by element, a vector is one: a number is not.
_PARAMETERS: Rules[tuple[int, ...]] = Rules(
    {
        ("Conv", "ConvTranspose", "DeformConv", "com.microsoft::FusedConv"): (1, 2),
        ("Gemm", "com.microsoft::FusedGemm"): (0, 1, 2),
        ("MatMul", "com.microsoft::FusedMatMul", "MatMulInteger"): (0, 1),
        ("PRelu", "ConvInteger"): (1,),
        "Gather": (0,),
        ("QLinearConv",): (3, 8),
        ("QLinearMatMul", "com.microsoft::QGemm"): (0, 3, 6),
        ("BatchNormalization",): (1, 2, 3, 4),
        ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"): (1, 2),
        ("LSTM", "GRU", "RNN"): (1, 2, 3, 7),
        _ELEMENTWISE: (0, 1),
    }
)
# Of onnx's own, what multiplies and has no rule here; of other domains, what multiplies nothing.
_UNRULED = frozenset(
    {
        "Attention", "DFT", "DeformConv", "Det", "Einsum", "GRU", "GridSample", "If", "LSTM", "LinearAttention", "Loop",
        "MelWeightMatrix", "RNN", "RotaryEmbedding", "STFT", "Scan", "SequenceMap",
    }
)  # fmt: skip
_FREE = frozenset(
    f"com.microsoft::{name}"
    for name in (
        "BiasGelu", "FastGelu", "Gelu", "QLinearAdd", "QLinearAveragePool", "QLinearConcat",
        "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul", "QLinearReduceMean", "QLinearSigmoid",
        "QLinearSoftmax", "QuantizeLinear", "DequantizeLinear", "QuickGelu", "SkipLayerNormalization",
    )
)  # fmt: skip
VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
"""Operators that compute nothing and leave the numbers as they lie: no layers."""


def macs_of(network: Network, stage: Stage) -> int | None:
    """The multiply-accumulates of a stage for one image, padding included and biases left out; 0 for what multiplies
    no two values of which one is summed over; None where the operator has no rule."""
    name = operator(stage.node)
    if name in MULTIPLIES:
        return work_of(network, stage).macs
    if name in _FREE:
        return 0
    known = is_default(stage.node.domain) and defs.has(stage.node.op_type)
    return 0 if known and name not in _UNRULED else None


def parameters_of(network: Network, node: NodeProto) -> Iterator[tuple[str, int]]:
    """The parameters that a node reads, by the names of their values, and their numbers of elements."""
    for slot in _PARAMETERS.of(node) or ():
        name = node.input[slot] if slot < len(node.input) else ""
        if name in network.constants.names and name not in network.tensors:
            elements = math.prod(network.constants.kind(name)[0])
            if elements > 1 or node.op_type not in _ELEMENTWISE:
                yield name, elements


def biased(network: Network, stage: Stage) -> tuple[int, int]:
    """The parameters and the multiply-accumulates of a stage that multiplies by weights, with a bias for each channel
    of its output, whether or not it has one."""
    made, macs = network.tensors[stage.output], work_of(network, stage).macs
    weights = max((elements for _, elements in parameters_of(network, stage.node)), default=0)
    channels = made.dims[1] if len(made.dims) > 1 else made.dims[0]
    return weights + channels, macs + made.elements
