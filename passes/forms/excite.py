"""The excite: what may stand between the squeeze and the scale.

An operator is admitted if it acts on each descriptor alone: then the same weights serve one descriptor or one per tile.
To add a spelling, add a `Form` to the file of its family.
"""

from __future__ import annotations

from tse_onnx.passes.forms import mixers, norms, pointwise, views
from tse_onnx.passes.forms.act import Act, Form, Site
from tse_onnx.passes.graph.index import takes_references
from tse_onnx.passes.graph.operators import is_default
from tse_onnx.passes.reasons import Refusal, refuse

FORMS: tuple[Form, ...] = (*pointwise.FORMS, *mixers.FORMS, *norms.FORMS, *views.FORMS)

_BY_OPERATOR = {operator: form for form in FORMS for operator in form.operators}


def act(site: Site) -> Act | Refusal:
    """What the node makes of the descriptors among its operands, or why it is not admitted."""
    node = site.node
    key = node.op_type if is_default(node.domain) else f"{node.domain}::{node.op_type}"
    form = _BY_OPERATOR.get(key)
    if form is None:
        if node.op_type.startswith("QLinear"):
            text = "is quantised as a whole (QOperator); export or quantise the model with Q/DQ pairs instead"
            return refuse("quantised", text, node)
        return refuse("operator", "is not known to act on each descriptor alone", node)
    if takes_references(node):
        return refuse("operator", "takes an attribute from the call of its function", node)
    try:
        return form.rule(site)
    except (LookupError, ValueError, ArithmeticError):  # an axis that is not there, pads for another rank
        return refuse("operator", "does not fit the descriptor", node)
