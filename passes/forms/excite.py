"""The excite: what may stand between the squeeze and the scale.

An operator is admitted if it acts on each descriptor alone: then the same node, with the same weights, serves one
descriptor or one per tile. Every entry of `FORMS` is a family of operators with the rule that admits it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from onnx import NodeProto
from tse_onnx.passes.descriptor import Descriptor
from tse_onnx.passes.index import attribute, element_count, int_attribute, ints_attribute
from tse_onnx.passes.reasons import Refusal, refuse


@dataclass(frozen=True)
class Operand:
    """An input of an operator on the way: a descriptor, or a constant with its dimensions."""

    name: str
    descriptor: Descriptor | None
    dims: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Act:
    """What an admitted operator makes of a descriptor, and what one application costs.

    `mixes` tells a map that combines channels (a convolution) from one that treats each alone (an activation).
    """

    result: Descriptor
    mixes: bool = False
    macs: int = 0


Rule = Callable[[NodeProto, tuple[Operand, ...], int], Act | Refusal]


@dataclass(frozen=True)
class Form:
    """A family of operators and the rule that admits them; the rule gets the node, its operands and the opset."""

    operators: tuple[str, ...]
    rule: Rule


def act(node: NodeProto, operands: tuple[Operand, ...], opset: int) -> Act | Refusal:
    """What `node` makes of the descriptors among its `operands`, or why it is not admitted."""
    form = _BY_OPERATOR.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if form is None:
        return refuse("operator", "is not known to act on each descriptor alone", node)
    return form.rule(node, operands, opset)


def _pointwise(node: NodeProto, operands: tuple[Operand, ...], opset: int) -> Act | Refusal:
    """One descriptor, element by element; further inputs (bounds, ratios) are constant scalars."""
    first = operands[0].descriptor
    if first is None:
        return refuse("operator", "uses the descriptor as a parameter", node)
    if sum(bool(name) for name in node.output) > 1:
        return refuse("operator", "has more outputs than the descriptor", node)
    for operand in operands[1:]:
        if operand.name and (operand.dims is None or element_count(dim or 0 for dim in operand.dims) != 1):
            return refuse("operator", "has a parameter that is not a single number", node)
    return Act(first)


def _elementwise(node: NodeProto, operands: tuple[Operand, ...], opset: int) -> Act | Refusal:
    """Descriptors of one form combined element by element, with each other and with constants per channel."""
    forms = {operand.descriptor for operand in operands if operand.descriptor is not None}
    if len(forms) != 1:
        return refuse("operator", "combines descriptors of different forms", node)
    form = forms.pop()
    for operand in operands:
        if operand.descriptor is None and not form.admits(operand.dims):
            return refuse("operator", f"combines the descriptor with a constant of shape {_shown(operand.dims)}", node)
    return Act(form)


def _convolution(node: NodeProto, operands: tuple[Operand, ...], opset: int) -> Act | Refusal:
    """A 1×1 convolution: one affine map, applied to the descriptor of each tile."""
    source = operands[0].descriptor
    if source is None or any(operand.descriptor is not None for operand in operands[1:]):
        return refuse("weights", "takes its weights from the descriptor", node)
    dims = operands[1].dims
    if dims is None or None in dims:
        return refuse("shape", "has weights of unknown shape", node)
    kernel = dims[2:]
    if source.axes != "NC" + "1" * len(kernel):
        return refuse("operator", "does not run over the descriptor's channels", node)
    if any(size != 1 for size in kernel) or any(size != 1 for size in ints_attribute(node, "kernel_shape") or ()):
        return refuse("operator", f"has a kernel of {'×'.join(map(str, kernel))}: it would mix tiles", node)
    if any(stride != 1 for stride in ints_attribute(node, "strides") or ()):
        return refuse("operator", "has strides: it would drop tiles", node)
    if any(ints_attribute(node, "pads") or ()):
        return refuse("operator", "pads the descriptor", node)
    group = int_attribute(node, "group", 1)
    if group < 1 or dims[0] is None or dims[1] is None or dims[0] % group:
        return refuse("operator", "has groups that do not divide its channels", node)
    return Act(Descriptor(source.axes, dims[0]), mixes=dims[1] > 1 or dims[0] != group, macs=dims[0] * dims[1])


def _batch_normalization(node: NodeProto, operands: tuple[Operand, ...], opset: int) -> Act | Refusal:
    """Constant statistics: a scale and a shift per channel."""
    source = operands[0].descriptor
    if source is None or any(operand.descriptor is not None for operand in operands[1:]):
        return refuse("operator", "normalises by the descriptor", node)
    training = attribute(node, "training_mode")
    if (training is not None and training.i) or sum(bool(name) for name in node.output) > 1:
        return refuse("operator", "is in training mode: it mixes the samples of a batch", node)
    return Act(source)


def _shown(dims: Iterable[int | None] | None) -> str:
    return "unknown" if dims is None else "[" + ", ".join("?" if dim is None else str(dim) for dim in dims) + "]"


FORMS: tuple[Form, ...] = (
    Form(("Conv",), _convolution),
    Form(("BatchNormalization",), _batch_normalization),
    Form(
        (
            "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Sigmoid", "HardSigmoid", "HardSwish",
            "Swish", "Gelu", "Mish", "Tanh", "Softplus", "Softsign", "Erf", "Exp", "Log", "Sqrt", "Reciprocal",
            "Neg", "Abs", "Identity", "Cast", "Clip", "Dropout",
        ),
        _pointwise,
    ),
    Form(("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu"), _elementwise),
)  # fmt: skip

_BY_OPERATOR = {operator: form for form in FORMS for operator in form.operators}
