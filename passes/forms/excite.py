"""The excite: what may stand between the squeeze and the scale.

An operator is admitted if it acts on each descriptor alone: then the same weights serve one descriptor or one per tile.
To add a spelling, add its rule to the table in the file of its family.
"""

from __future__ import annotations

from collections.abc import Sequence

from tse_onnx.passes.forms import cuts, mixers, norms, pointwise, quantised, views
from tse_onnx.passes.forms.act import AcrossChannels, Act, Alias, Forms, Keep, Site, Unfit
from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.graph.index import takes_references
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.reasons import Refusal, refuse

FORMS: Forms = pointwise.FORMS | mixers.FORMS | norms.FORMS | views.FORMS | cuts.FORMS | quantised.FORMS


def act(site: Site) -> Act | Refusal:
    """What the node makes of the descriptors among its operands, or why it is not admitted."""
    node = site.node
    rule = FORMS.of(node)
    if rule is None:
        if operator(node) in quantised.QUANTISED:
            return refuse("quantised", quantised.quantised_as(node), node)
        return refuse("operator", "is not known to act on each descriptor alone", node)
    if takes_references(node):
        return refuse("operator", "takes an attribute from the call of its function", node)
    try:
        found = rule(site)
    except Unfit:
        return refuse("operator", "does not fit the descriptor", node)
    held = [operand.descriptor for operand in site.operands if operand.descriptor is not None]
    if isinstance(found, Act) and any("F" in each.axes for each in held) and not _for_each_filter(found, held):
        return refuse("operator", "does not act on each number alone that windows have made of the channels", node)
    return found


def _for_each_filter(act: Act, held: Sequence[Descriptor]) -> bool:
    """Whether an operator may stand between windows that slide over the channels, where each has several numbers."""
    if isinstance(act.lowering, Keep):
        return act.lowering == Keep() and all(each == act.result for each in held)
    return isinstance(act.lowering, AcrossChannels) or (isinstance(act.lowering, Alias) and act.result in held)
