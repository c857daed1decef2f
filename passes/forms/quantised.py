"""Operators in whole numbers, as onnxruntime's quantiser writes them without Q/DQ pairs (QOperator).

Beside each value such an operator reads its scale and its zero point. All of these are constants of the layer, so one
descriptor and many are rounded alike.
"""

from __future__ import annotations

from onnx import NodeProto

from tse_onnx.passes.forms.act import AcrossChannels, Act, ChannelsLast, Forms, PointConvolution, Site
from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.forms.mixers import convolution
from tse_onnx.passes.forms.pointwise import elementwise, unary
from tse_onnx.passes.graph.index import attribute, int_attribute
from tse_onnx.passes.graph.operators import Rules
from tse_onnx.passes.reasons import Refusal, refuse

SCALES: Rules[tuple[int, int]] = Rules({"Mul": (0, 1), "com.microsoft::QLinearMul": (0, 3)})
"""Operators that scale a map, with the slots of the two that they multiply."""

QUANTISED = frozenset(
    {"QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
    | {f"com.microsoft::{name}" for name in (
        "QLinearConv", "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax",
        "QLinearConcat", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearReduceMean", "QLinearWhere", "QGemm",
        "DynamicQuantizeMatMul", "MatMulInteger16", "MatMulIntegerToFloat",
    )}
)  # fmt: skip
"""Operators that work in whole numbers, or choose their quantisation while the model runs."""

ADVICE = "convert the model first and quantise what comes out, or quantise it with Q/DQ pairs"


def quantised_as(node: NodeProto) -> str:
    """Why an operator that is quantised as a whole is not read, and what to do."""
    how = "while the model runs" if node.op_type.startswith("Dynamic") else "as a whole (QOperator)"
    return f"is quantised {how}; {ADVICE}"


def scaled_by(node: NodeProto, gate: str, scaled: str) -> bool:
    """Whether a node multiplies a gate with a map, and reads neither otherwise."""
    slots = SCALES.of(node)
    if slots is None or len(node.input) <= max(slots):
        return False
    return {node.input[slot] for slot in slots} == {gate, scaled} and sum(map((gate, scaled).count, node.input)) == 2


def _convolution(site: Site) -> Act | Refusal:
    act = convolution(site, weight=3, bias=8)
    sliding = isinstance(act, Act) and isinstance(act.lowering, AcrossChannels)
    if sliding or (isinstance(act, Act) and isinstance(act.lowering, PointConvolution) and act.lowering.tap):
        return refuse("quantised", f"has a kernel of more than one number and {quantised_as(site.node)}", site.node)
    return act


def _gemm(site: Site) -> Act | Refusal:
    """A linear layer on [N, C], with its bias in the steps of its products."""
    source, node = site.source, site.node
    if source is None or not site.constants_elsewhere or source.axes != "NC":
        return refuse("operator", "is not applied to a descriptor of the form [N, C]", node)
    dims, alpha = site.operand(3).dims, attribute(node, "alpha")
    if dims is None or len(dims) != 2 or None in dims:
        return refuse("shape", "has weights of a shape that is not known", node)
    if alpha is not None and alpha.f != 1:
        return refuse("operator", f"has alpha = {alpha.f:g}; only 1 is converted", node)
    if int_attribute(node, "transA", 0):
        return refuse("operator", "transposes the descriptor", node)
    if len(node.input) < 9 or not all(node.input[7:9]):
        return refuse("quantised", f"makes numbers that are not quantised of some that are: {ADVICE}", node)
    order = "OI" if int_attribute(node, "transB", 0) else "IO"
    outputs, inputs = (dims[0], dims[1]) if order == "OI" else (dims[1], dims[0])
    if source.channels not in (None, inputs):
        return refuse("operator", "has weights that do not fit the descriptor's channels", node)
    bias = 6 if node.input[6] else None
    if bias is not None and site.operand(bias).dims not in ((outputs,), (1, outputs)):
        return refuse("operator", "adds something else than a vector", node)
    macs = (outputs or 0) * (inputs or 0)
    return Act(Descriptor("NC", outputs, source.batch), PointConvolution(0, 3, order, bias), "full", macs)


def _matmul(site: Site) -> Act | Refusal:
    """Rows of channels times a constant matrix."""
    source, node = site.source, site.node
    if source is None or not site.constants_elsewhere or source.axes[-1] != "C":
        return refuse("operator", "does not run over the descriptor's channels", node)
    dims = site.operand(3).dims
    if dims is None or len(dims) != 2 or None in dims or source.channels not in (None, dims[0]):
        return refuse("operator", "has weights that do not fit the descriptor's channels", node)
    result = Descriptor(source.axes, dims[1], source.batch)
    return Act(result, ChannelsLast(axis=False), "full", (dims[0] or 0) * (dims[1] or 0))


FORMS: Forms = Forms(
    {
        "QLinearConv": _convolution,
        "QLinearMatMul": _matmul,
        "com.microsoft::QGemm": _gemm,
        ("com.microsoft::QLinearSigmoid", "com.microsoft::QLinearLeakyRelu"): unary,
        ("com.microsoft::QLinearAdd", "com.microsoft::QLinearMul"): elementwise,
    }
)
