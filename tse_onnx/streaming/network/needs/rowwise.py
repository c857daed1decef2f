"""Operators that make row i of row i: elementwise ones, normalisations that leave rows alone, running sums."""

from __future__ import annotations

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.network.needs.axis import Axis, spatial
from tse_onnx.streaming.network.needs.rows import Need, listed, same, single
from tse_onnx.streaming.network.needs.rule import Rule, barrier, by_data, count_of, needs_of
from tse_onnx.streaming.network.needs.unfit import at
from tse_onnx.streaming.network.needs.view import Flow, Operand, View, wrapped


def elementwise(view: View, direction: int) -> Flow:
    rank = len(view.dims)
    lies = [
        operand.axis.moved(operand.axis.axis + rank - len(operand.dims)) if operand.axis is not None else None
        for operand in view.streaming
    ]
    chosen = max((axis for axis in lies if axis is not None), key=lambda axis: axis.size, default=None)
    if chosen is None:
        chosen = spatial(view.dims, direction)
    elif view.size(chosen.axis) != chosen.outer * chosen.size * chosen.inner:
        chosen = Axis(chosen.axis, view.size(chosen.axis))  # a constant spreads one row over many
    return Flow(chosen, needs_of(view, lambda operand: aligned(operand, chosen, rank)))


def aligned(operand: Operand, chosen: Axis | None, rank: int) -> Need:
    if chosen is None or operand.axis is None:
        return operand.all(count_of(chosen))
    lies = operand.axis.moved(operand.axis.axis + rank - len(operand.dims))
    if lies == chosen:
        return same(chosen.size)
    along = chosen.axis + len(operand.dims) - rank
    if lies.axis == chosen.axis and operand.size(along) > 1:
        rows: list[set[int]] = [set() for _ in range(chosen.size)]
        for place in range(operand.size(along)):  # digits of one axis, maybe counted differently
            rows[place // chosen.inner % chosen.size].add(place // lies.inner % lies.size)
        return listed(lies.size, rows)
    return operand.all(chosen.size)


def _along_channels(view: View, direction: int) -> Flow:
    """Normalises over an axis that must not be the rows' own."""
    axis = view.axis("axis", -1 if view.opset >= 13 else 1, len(view.dims))
    lies = view.data.axis
    reached = {axis} if view.opset >= 13 or view.node.op_type == "LpNormalization" else set(range(axis, len(view.dims)))
    if lies is not None and lies.axis in reached and lies.size > 1:
        return barrier(view, direction, "it normalises over all rows")
    return elementwise(view, direction)


def _trailing_normalisation(view: View, direction: int) -> Flow:
    axis = view.axis("axis", -1, len(view.dims))
    if any(operand.axis is not None and operand.axis.axis >= axis and operand.tokens > 1 for operand in view.streaming):
        return barrier(view, direction, "it normalises over all rows")
    return elementwise(view, direction)


def _quantiser(view: View, direction: int) -> Flow:
    flow = elementwise(view, direction)
    if any(operand.tokens not in (1, count_of(flow.axis)) for operand in view.streaming):
        return barrier(view, direction, "scales of several rows are computed while the model runs")
    return flow


def _global_normalisation(view: View, direction: int) -> Flow:
    return barrier(view, direction, "it normalises over all rows")


def _batch_normalisation(view: View, direction: int) -> Flow:
    if view.integer("training_mode", 0):
        return barrier(view, direction, "it normalises over all rows")
    return elementwise(view, direction)


def _running(view: View, direction: int) -> Flow:
    """CumSum: the sum so far is an accumulator of one row."""
    operand, value = view.data, view.constant(1)
    lies = operand.axis
    if value is None or lies is None:
        return barrier(view, direction, "its axis is computed while the model runs")
    if wrapped(int(at(value.reshape(-1).tolist(), 0, "axis")), len(view.dims)) != lies.axis or operand.tokens == 1:
        return elementwise(view, direction)
    if view.integer("reverse", 0) or not lies.plain:
        return barrier(view, direction, "it adds from the last row on")
    back = view.integer("exclusive", 0)
    need = single(lies.size, (row - back if row >= back else None for row in range(lies.size)))
    return Flow(lies, needs_of(view, lambda _: need), accumulates=True)


# An elementwise operator is a line in one of these two lists: its kernel is found by the same name.
ONE_OPERAND = (
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitwiseNot",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "LRN",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "ai.onnx.ml::Binarizer",
    "com.microsoft::Gelu",
    "com.microsoft::QLinearLeakyRelu",
    "com.microsoft::QLinearSigmoid",
    "com.microsoft::QuickGelu",
)
"""Elementwise operators of one operand; what else they read is a parameter."""
SPREAD_OPERANDS = (
    "Add",
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "Pow",
    "PRelu",
    "Sub",
    "Sum",
    "Where",
    "Xor",
    "com.microsoft::BiasGelu",
    "com.microsoft::FastGelu",
    "com.microsoft::QLinearAdd",
    "com.microsoft::QLinearMul",
)
"""Elementwise operators of operands that are spread over each other."""

QUANTISERS = (
    "DequantizeLinear", "QuantizeLinear", "com.microsoft::DequantizeLinear", "com.microsoft::QuantizeLinear",
)  # fmt: skip

ROWWISE: Rules[Rule] = Rules(
    {
        ONE_OPERAND: elementwise,
        SPREAD_OPERANDS: elementwise,
        QUANTISERS: _quantiser,
        ("CastLike", "Expand"): by_data(elementwise),
        "BatchNormalization": _batch_normalisation,
        ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization"): _along_channels,
        ("LayerNormalization", "RMSNormalization"): _trailing_normalisation,
        ("InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization"): _global_normalisation,
        "CumSum": _running,
    }
)
