"""Normalisations of a descriptor over its channels, and the reductions that they are made of."""

from __future__ import annotations

from tse_onnx.passes.forms.act import Act, Alias, ChannelsLast, Forms, Keep, Operand, OverChannels, Site
from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.forms.stepwise import keeps_axes, reduced_axes
from tse_onnx.passes.graph.index import attribute, element_count, int_attribute
from tse_onnx.passes.reasons import Refusal, refuse


def _batch_normalization(site: Site) -> Act | Refusal:
    """Constant statistics: a scale and a shift per channel."""
    source, node = site.source, site.node
    if source is None or not site.constants_elsewhere:
        return refuse("operator", "normalises by the descriptor", node)
    if source.axes[:2] != "NC":
        return refuse("operator", "does not normalise the descriptor's channels", node)
    training = attribute(node, "training_mode")
    if (training is not None and training.i) or sum(bool(name) for name in node.output) > 1:
        return refuse("operator", "is in training mode: it mixes the samples of a batch", node)
    return Act(source)


def _softmax(site: Site) -> Act | Refusal:
    """A softmax over the channels, or over one of the axes that they lie along, as that of branches. Before opset 13 it
    runs over every axis from `axis` on."""
    source, node = site.source, site.node
    if source is None:
        return refuse("operator", "is not applied to the descriptor", node)
    axis = int_attribute(node, "axis", -1 if site.opset >= 13 else 1) % len(source.axes)
    place = 1 + source.axes[:axis].count("K")
    if site.opset >= 13:
        if source.axes[axis] not in "CK":
            return refuse("operator", "is a softmax over another axis than the channels", node)
        return Act(source, Keep(axis=place))
    if source.axes[axis:].replace("1", "") not in ("C", "K"):
        return refuse("operator", "is a softmax over another axis than the channels", node)
    return Act(source, ChannelsLast(place=place))


def _layer_normalization(site: Site) -> Act | Refusal:
    """A normalisation over the channels; axes of extent one may come with them."""
    source, node = site.source, site.node
    if source is None or not site.constants_elsewhere:
        return refuse("operator", "normalises by the descriptor", node)
    axis = int_attribute(node, "axis", -1) % len(source.axes)
    if source.axes[axis:].replace("1", "") != "C":
        return refuse("operator", "does not normalise over the descriptor's channels", node)
    if sum(bool(name) for name in node.output) > 1:
        return refuse("operator", "has more outputs than the descriptor", node)
    for operand in site.operands[1:]:
        if operand.name and not (source.admits(operand.dims) and _elements(operand) == source.channels):
            return refuse("operator", "has a scale or a shift that is not one number per channel", node)
    return Act(source, ChannelsLast(flat=tuple(range(1, len(node.input)))))


def _over_channels(site: Site) -> Act | Refusal:
    """A number for each descriptor, made of all its channels: a mean, a norm. Over axes of extent one, itself."""
    source, node = site.source, site.node
    axes = reduced_axes(node, site.index)
    if source is None or not site.constants_elsewhere or not axes:
        return refuse("operator", "does not reduce known axes of the descriptor", node)
    places = {axis % len(source.axes) for axis in axes}
    letters, keeps = {source.axes[place] for place in places}, keeps_axes(node)
    if letters == {"1"} and node.op_type in _OF_ONE:
        kept = (axis for place, axis in enumerate(source.axes) if keeps or place not in places)
        return Act(source.with_axes("".join(kept)), Alias())
    if "C" not in letters or not letters <= {"C", "1"}:
        return refuse("operator", "does not reduce the descriptor's channels", node)
    if not keeps:
        return refuse("operator", "drops the axis of the channels; with keepdims it would be read", node)
    return Act(Descriptor(source.axes, 1, source.batch), OverChannels())


# Reductions that give back the one number that they are given.
_OF_ONE = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"})


def _elements(operand: Operand) -> int:
    return element_count(dim or 0 for dim in operand.dims or ())


FORMS = Forms(
    {
        "BatchNormalization": _batch_normalization,
        "Softmax": _softmax,
        "LayerNormalization": _layer_normalization,
        (*sorted(_OF_ONE), "ReduceL2", "ReduceSumSquare"): _over_channels,
    }
)
