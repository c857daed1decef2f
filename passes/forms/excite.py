"""The excite: what may stand between the squeeze and the scale.

An operator is admitted if it acts on each descriptor alone: then the same weights serve one descriptor or one per tile.
To add a spelling, add its rule to the table in the file of its family.
"""

from __future__ import annotations

from onnx import NodeProto

from tse_onnx.passes.forms import mixers, norms, pointwise, views
from tse_onnx.passes.forms.act import Act, Forms, Site, Unfit
from tse_onnx.passes.graph.index import takes_references
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.reasons import Refusal, refuse

FORMS: Forms = pointwise.FORMS | mixers.FORMS | norms.FORMS | views.FORMS


# Operators that work in whole integers, or choose their quantisation while the model runs.
QUANTISED = frozenset(
    {"QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
    | {f"com.microsoft::{name}" for name in (
        "QLinearConv", "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax",
        "QLinearConcat", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearReduceMean", "QLinearWhere", "QGemm",
        "DynamicQuantizeMatMul", "MatMulInteger16", "MatMulIntegerToFloat",
    )}
)  # fmt: skip


def quantised_as(node: NodeProto) -> str:
    """Why an operator that is quantised as a whole is not read, and what to do."""
    how = "while the model runs" if node.op_type.startswith("Dynamic") else "as a whole (QOperator)"
    return f"is quantised {how}; convert the model first and quantise what comes out, or quantise it with Q/DQ pairs"


def act(site: Site) -> Act | Refusal:
    """What the node makes of the descriptors among its operands, or why it is not admitted."""
    node = site.node
    rule = FORMS.of(node)
    if rule is None:
        if operator(node) in QUANTISED:
            return refuse("quantised", quantised_as(node), node)
        return refuse("operator", "is not known to act on each descriptor alone", node)
    if takes_references(node):
        return refuse("operator", "takes an attribute from the call of its function", node)
    try:
        return rule(site)
    except Unfit:
        return refuse("operator", "does not fit the descriptor", node)
