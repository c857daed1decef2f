"""Maps that combine channels: convolutions, matrix products, and the sliding window of ECA."""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from tse_onnx.passes.forms.act import AcrossChannels, Act, Forms, PointConvolution, Site, Unfit
from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.graph.index import attribute, int_attribute, ints_attribute
from tse_onnx.passes.reasons import Refusal, refuse


def _convolution(site: Site) -> Act | Refusal:
    return convolution(site)


def convolution(site: Site, weight: int = 1, bias: int = 2) -> Act | Refusal:
    """A 1×1 convolution; or a window that slides over the channels, where these lie along its spatial axis.

    One in whole numbers has its weights and its bias in other slots.
    """
    source, node = site.source, site.node
    if source is None or not site.constants_elsewhere:
        return refuse("weights", "takes its weights from the descriptor", node)
    if weight == 1 and len(node.input) > 3 and node.input[3]:
        return refuse("operator", "adds a further tensor", node)
    dims = site.operand(weight).dims
    if dims is None or None in dims or len(dims) != len(source.axes):
        return refuse("shape", "has weights of a shape that is not known", node)
    sizes = tuple(dim or 0 for dim in dims)
    kernel, pads = sizes[2:], ints_attribute(node, "pads") or (0,) * (2 * len(dims) - 4)
    if any(stride != 1 for stride in ints_attribute(node, "strides") or ()):
        return refuse("operator", "has strides: it would drop tiles", node)
    auto = attribute(node, "auto_pad")
    if auto is not None and auto.s not in (b"NOTSET", b"VALID") and any(size != 1 for size in kernel):
        return refuse("operator", "pads by itself (auto_pad)", node)
    if source.axes.replace("F", "1") in ("N1C", "N11C", "N1C1"):
        return _sliding(site, source, sizes, kernel, pads)
    if source.axes != "NC" + "1" * len(kernel):
        return refuse("operator", "does not run over the descriptor's channels", node)
    tap = _tap(node, kernel, pads)
    if tap is None and any(size != 1 for size in kernel):
        return refuse("operator", f"has a kernel of {'×'.join(map(str, kernel))}: it would mix tiles", node)
    if tap is None:
        return refuse("operator", "pads the descriptor", node)
    group = int_attribute(node, "group", 1)
    if group < 1 or sizes[0] % group or source.channels not in (None, sizes[1] * group):
        return refuse("operator", "has weights that do not fit the descriptor's channels", node)
    result = Descriptor(source.axes, sizes[0], source.batch)
    added = bias if len(node.input) > bias and node.input[bias] else None
    mixes = "full" if sizes[1] > 1 or sizes[0] != group else ""
    return Act(result, PointConvolution(0, weight, "OI", added, tap), mixes, sizes[0] * sizes[1])


def _tap(node: NodeProto, kernel: tuple[int, ...], pads: tuple[int, ...]) -> tuple[int, ...] | None:
    """The place in a kernel, axis by axis, that meets a map of one pixel where all others meet zeros, and which makes
    one pixel of it; () where it has no other. None where none does."""
    dilations, places = ints_attribute(node, "dilations") or (1,) * len(kernel), []
    if len(pads) != 2 * len(kernel) or len(dilations) != len(kernel):
        raise Unfit
    for axis, (size, dilation) in enumerate(zip(kernel, dilations, strict=True)):
        before, after = pads[axis], pads[axis + len(kernel)]
        if dilation < 1 or before < 0 or before + after != dilation * (size - 1) or before % dilation:
            return None
        places.append(before // dilation)
    return tuple(places) if any(size != 1 for size in kernel) else ()


def _sliding(
    site: Site, source: Descriptor, sizes: tuple[int, ...], kernel: tuple[int, ...], pads: tuple[int, ...]
) -> Act | Refusal:
    node, axis = site.node, source.axes.index("C") - 2
    if sizes[1] != source.filters or int_attribute(node, "group", 1) != 1:
        return refuse("operator", "slides over the channels with filters for some of what each has", node)
    spatial = len(kernel)
    dilations = ints_attribute(node, "dilations") or (1,) * spatial
    if len(dilations) != spatial or dilations[axis] < 1:
        raise Unfit
    if len(pads) != 2 * spatial:
        raise Unfit
    if any(size != 1 for other, size in enumerate(kernel) if other != axis):
        return refuse("operator", "has a kernel along more than the channels", node)
    before, after = pads[axis], pads[axis + spatial]
    if sum(pads) != before + after or before + after != dilations[axis] * (kernel[axis] - 1):
        return refuse("operator", "does not give one value per channel", node)
    made = replace(source, axes=f"N{'F' if sizes[0] > 1 else '1'}{source.axes[2:]}", filters=sizes[0])
    lowering = AcrossChannels(kernel[axis], (before, after), dilations[axis], sizes[1], sizes[0])
    return Act(made, lowering, "local", (source.channels or 0) * kernel[axis] * sizes[0] * sizes[1])


def _gemm(site: Site) -> Act | Refusal:
    """A linear layer on [N, C]."""
    source, node = site.source, site.node
    if source is None or not site.constants_elsewhere or source.axes != "NC":
        return refuse("operator", "is not applied to a descriptor of the form [N, C]", node)
    dims = site.operand(1).dims
    if dims is None or len(dims) != 2 or None in dims:
        return refuse("shape", "has weights of a shape that is not known", node)
    for name in ("alpha", "beta"):
        found = attribute(node, name)
        if found is not None and found.f != 1:
            return refuse("operator", f"has {name} = {found.f:g}; only 1 is converted", node)
    if int_attribute(node, "transA", 0):
        return refuse("operator", "transposes the descriptor", node)
    order = "OI" if int_attribute(node, "transB", 0) else "IO"
    outputs, inputs = (dims[0], dims[1]) if order == "OI" else (dims[1], dims[0])
    if source.channels not in (None, inputs):
        return refuse("operator", "has weights that do not fit the descriptor's channels", node)
    bias = 2 if len(node.input) > 2 and node.input[2] else None
    result = Descriptor("NC", outputs, source.batch)
    if bias is not None and not result.admits(site.operands[bias].dims):
        return refuse("operator", "adds something else than a vector", node)
    return Act(result, PointConvolution(0, 1, order, bias), "full", (outputs or 0) * (inputs or 0))


def _matmul(site: Site) -> Act | Refusal:
    """A matrix product with constant weights on either side: rows of channels times a matrix, or a matrix times a
    column of them."""
    node = site.node
    if len(site.operands) != 2 or sum(operand.descriptor is not None for operand in site.operands) != 1:
        return refuse("weights", "multiplies two things that depend on the input", node)
    data = 0 if site.operands[0].descriptor is not None else 1
    source, dims = site.operands[data].descriptor, site.operands[1 - data].dims
    if dims is None or None in dims:
        return refuse("shape", "has weights of a shape that is not known", node)
    if len(dims) != 2 or source is None:
        return refuse("operator", "has weights that are not a matrix", node)
    place = len(source.axes) - 1 if data == 0 else len(source.axes) - 2
    if source.axes.find("C") != place:
        return refuse("operator", "does not run over the descriptor's channels", node)
    order = "IO" if data == 0 else "OI"
    outputs, inputs = (dims[1], dims[0]) if data == 0 else (dims[0], dims[1])
    if source.channels not in (None, inputs):
        return refuse("operator", "has weights that do not fit the descriptor's channels", node)
    result = Descriptor(source.axes, outputs, source.batch)
    return Act(result, PointConvolution(data, 1 - data, order), "full", (outputs or 0) * (inputs or 0))


def _fused_convolution(site: Site) -> Act | Refusal:
    """onnxruntime's convolution with an activation, which it keeps."""
    act = _convolution(site)
    if isinstance(act, Act) and isinstance(act.lowering, AcrossChannels):
        return refuse("operator", "slides over the channels and is fused with an activation", site.node)
    if isinstance(act, Act) and isinstance(act.lowering, PointConvolution) and act.lowering.tap:
        return refuse("operator", "has a kernel of more than a pixel and is fused with an activation", site.node)
    return act


def _fused_gemm(site: Site) -> Act | Refusal:
    """onnxruntime's linear layer with an activation; a convolution and that activation take its place."""
    activation = attribute(site.node, "activation")
    if activation is None or activation.s.decode("utf-8", "replace") not in FUSED_ACTIVATIONS:
        return refuse("operator", "is fused with an activation that is not known", site.node)
    return _gemm(site)


# What onnxruntime fuses, by the names of onnx's own operators, with the attributes that these take.
FUSED_ACTIVATIONS = {
    "Relu": (),
    "LeakyRelu": ("alpha",),
    "Sigmoid": (),
    "Tanh": (),
    "HardSigmoid": ("alpha", "beta"),
    "Elu": ("alpha",),
    "Softplus": (),
    "Softsign": (),
}


FORMS = Forms(
    {
        "Conv": _convolution,
        "Gemm": _gemm,
        "MatMul": _matmul,
        "com.microsoft::FusedConv": _fused_convolution,
        "com.microsoft::FusedGemm": _fused_gemm,
    }
)
