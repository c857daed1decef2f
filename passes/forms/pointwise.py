"""Functions of each element alone: activations, gates, quantisers, and their decompositions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tse_onnx.passes.forms.act import Act, ChannelsLast, Forms, Keep, Site
from tse_onnx.passes.graph.index import element_count
from tse_onnx.passes.reasons import Refusal, refuse


def unary(site: Site) -> Act | Refusal:
    """One descriptor; further inputs (bounds, ratios, scales) are single constant numbers."""
    source, node = site.source, site.node
    if source is None:
        return refuse("operator", "uses the descriptor as a parameter", node)
    if sum(bool(name) for name in node.output) > 1:
        return refuse("operator", "has more outputs than the descriptor", node)
    for operand in site.operands[1:]:
        if operand.name and (operand.dims is None or element_count(dim or 0 for dim in operand.dims) != 1):
            return refuse("operator", "has a parameter that is not a single number", node)
    return Act(source)


def _dropout(site: Site) -> Act | Refusal:
    """Dropout as in inference; in training mode it would draw another mask for each tile."""
    training = site.numbers(2)
    if len(site.node.input) > 2 and site.node.input[2] and (training is None or bool(training.any())):
        return refuse("operator", "is in training mode", site.node)
    return unary(site)


def elementwise(site: Site) -> Act | Refusal:
    """Descriptors of one form combined element by element, with each other and with constants per channel. What was
    made of all channels, one number for each descriptor, goes with each of them."""
    forms = {operand.descriptor for operand in site.operands if operand.descriptor is not None}
    form = max(forms, key=lambda form: form.channels or 0)
    if any(other != form and other != replace(form, channels=1) for other in forms):
        return refuse("operator", "combines descriptors of different forms", site.node)
    per_channel = []
    for slot, operand in enumerate(site.operands):
        if operand.descriptor is not None:
            continue
        if not form.admits(operand.dims):
            return refuse(
                "operator", f"combines the descriptor with a constant of shape {_shown(operand.dims)}", site.node
            )
        if element_count(dim or 0 for dim in operand.dims or ()) != 1:
            per_channel.append(slot)
    return Act(form, Keep(tuple(per_channel)))


def _slope(site: Site) -> Act | Refusal:
    """A slope for each channel. It takes the shape of the data and never the other way round, so that slopes for many
    tiles would not fit data that are constant."""
    if site.source is None:
        return refuse("operator", "takes its slopes from the descriptor, not its data", site.node)
    return elementwise(site)


def _bias_activation(site: Site) -> Act | Refusal:
    """An activation fused with the addition of a vector before it, which runs along the last axis."""
    source, node = site.source, site.node
    if len(site.operands) < 2 or not site.operands[1].name:
        return unary(site)
    if source is None or not site.constants_elsewhere:
        return refuse("operator", "takes the vector that it adds from the descriptor", node)
    if source.axes[-1] != "C" or site.operands[1].dims != (source.channels,):
        return refuse("operator", "does not add a vector along the descriptor's channels", node)
    return Act(source, ChannelsLast(flat=(1,), axis=False))


def _shown(dims: Sequence[int | None] | None) -> str:
    return "unknown" if dims is None else "[" + ", ".join("?" if dim is None else str(dim) for dim in dims) + "]"


FORMS = Forms(
    {
        (
            "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Sigmoid", "HardSigmoid", "HardSwish",
            "Swish", "Gelu", "Mish", "Tanh", "Softplus", "Softsign", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Neg",
            "Abs", "Clip", "Cast", "QuantizeLinear", "DequantizeLinear",
            "com.microsoft::Gelu", "com.microsoft::QuickGelu",
        ): unary,
        "Dropout": _dropout,
        ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Pow"): elementwise,
        "PRelu": _slope,
        ("com.microsoft::FastGelu", "com.microsoft::BiasGelu"): _bias_activation,
    }
)  # fmt: skip
