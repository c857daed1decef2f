"""What becomes of a positive scale for each channel in every operator.

1. A *source* takes it into its weights: Conv, ConvTranspose, Gemm, MatMul.
2. A *carrier* of one operand hands it on, along the axis that becomes of the channels': it is linear, or goes by signs
   alone (Relu, LeakyRelu, PRelu, a Clip at zero), or compares values of one channel (MaxPool).
3. A *join* does where all of its operands have it: Add, Sub, Sum, Max, Min, and Concat along another axis.
4. A *product* does where one of its operands has it and the others have not: Mul, and the numerator of Div.
5. A *sink* takes its inverse into its weights: the same as the sources.

Everything else ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import NodeProto

from tse_onnx.passes.equalisation.places import Place
from tse_onnx.passes.graph.index import attribute, element_count, int_attribute, ints_attribute
from tse_onnx.passes.graph.operators import Rules
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.reasons import label, quoted
from tse_onnx.passes.settings import setting


class Stays(Exception):
    """Why a scale ends at a node."""

    def __init__(self, reason: str, node: NodeProto | None = None) -> None:
        super().__init__(reason)
        self.node = "" if node is None else label(node)


Axes = tuple[int | None, ...]
"""For each axis of a node's operand the axis of its output, None where a scale along it cannot be handed on."""

_Carrier = Callable[[NodeProto, Scope], Axes]
_Layer = Callable[[NodeProto, Scope, int], "tuple[Place, ...]"]


def sizes_of(scope: Scope, value: str) -> tuple[int | None, ...]:
    """The sizes of a value. Raises `Stays` where its rank is not known."""
    sizes = scope.types[value].sizes
    if sizes is None:
        first = "run onnx's shape inference first, or give the input's by"
        raise Stays(f"the size of {quoted(value)} is not known: {first} {setting('input_shapes')}")
    return sizes


# Carriers.


def _same(node: NodeProto, scope: Scope) -> Axes:
    return tuple(range(len(sizes_of(scope, node.input[0]))))


def _clip(node: NodeProto, scope: Scope) -> Axes:
    """A Clip is a Relu where it has no bound but zero."""
    bounds = []
    for slot, name in ((1, "min"), (2, "max")):
        stated = attribute(node, name)
        given = node.input[slot] if len(node.input) > slot else ""
        number = scope.index.short_constant(given) if given else None
        if given and (number is None or number.size != 1):
            raise Stays("its bounds are not known", node)
        bounds.append(None if stated is None and number is None else stated.f if number is None else number.item())  # type: ignore[union-attr]
    if any(bound is not None and bound != 0 and abs(bound) < 3e38 for bound in bounds):
        raise Stays("it has a bound other than zero, which would have to be scaled as well", node)
    return _same(node, scope)


def _pool(node: NodeProto, scope: Scope) -> Axes:
    return (0, 1, *(None for _ in sizes_of(scope, node.input[0])[2:]))


def _axes_given(node: NodeProto, scope: Scope, slot: int) -> tuple[int, ...] | None:
    """Axes from the attribute or from an input, counted from the front; None where none are given."""
    rank, axes = len(sizes_of(scope, node.input[0])), ints_attribute(node, "axes")
    if axes is None and len(node.input) > slot and node.input[slot]:
        numbers = scope.index.short_constant(node.input[slot])
        if numbers is None:
            raise Stays("its axes are not known", node)
        axes = tuple(int(axis) for axis in numbers.reshape(-1))
    return None if axes is None else tuple(axis % rank for axis in axes)


def _reduce(node: NodeProto, scope: Scope) -> Axes:
    rank, axes = len(sizes_of(scope, node.input[0])), _axes_given(node, scope, 1)
    if not axes:
        if int_attribute(node, "noop_with_empty_axes", 0):
            return _same(node, scope)
        axes = tuple(range(rank))
    kept = [axis for axis in range(rank) if axis not in axes]
    new = {axis: axis if int_attribute(node, "keepdims", 1) else place for place, axis in enumerate(kept)}
    return tuple(new.get(axis) for axis in range(rank))


def _view(node: NodeProto, scope: Scope) -> Axes:
    """The same numbers in other dimensions: an axis is still there where one of its size has as many behind it."""
    before, after = sizes_of(scope, node.input[0]), sizes_of(scope, node.output[0])
    return tuple(
        next((other for other, size in enumerate(after)
              if size == before[axis] and _behind(after, other) == _behind(before, axis) is not None), None)
        if (before[axis] or 0) > 1 else None
        for axis in range(len(before))
    )  # fmt: skip


def _behind(sizes: Sequence[int | None], axis: int) -> int | None:
    known = [size for size in sizes[axis + 1 :] if size is not None]
    return element_count(known) if len(known) == len(sizes) - axis - 1 else None


def _transpose(node: NodeProto, scope: Scope) -> Axes:
    rank = len(sizes_of(scope, node.input[0]))
    perm = ints_attribute(node, "perm") or tuple(reversed(range(rank)))
    return tuple(perm.index(axis) for axis in range(rank))


def _but_some(node: NodeProto, scope: Scope, axes: Sequence[int]) -> Axes:
    return tuple(None if axis in axes else axis for axis in range(len(sizes_of(scope, node.input[0]))))


def _slice(node: NodeProto, scope: Scope) -> Axes:
    axes = _axes_given(node, scope, 3)
    if axes is None:
        axes = tuple(range(len(sizes_of(scope, node.input[0]))))
    return _but_some(node, scope, axes)


def _axis(node: NodeProto, scope: Scope) -> Axes:
    return _but_some(node, scope, [int_attribute(node, "axis", 0) % len(sizes_of(scope, node.input[0]))])


def _cumsum(node: NodeProto, scope: Scope) -> Axes:
    axis = scope.index.short_constant(node.input[1])
    if axis is None or axis.size != 1:
        raise Stays("its axis is not known", node)
    return _but_some(node, scope, [int(axis.item()) % len(sizes_of(scope, node.input[0]))])


def _pad(node: NodeProto, scope: Scope) -> Axes:
    mode, value = attribute(node, "mode"), attribute(node, "value")
    if mode is None or mode.s in (b"", b"constant"):
        number = 0.0 if value is None else value.f
        if len(node.input) > 2 and node.input[2]:
            constant = scope.index.short_constant(node.input[2])
            if constant is None:
                raise Stays("what it pads with is not known", node)
            number = float(constant.reshape(-1)[0]) if constant.size else 0.0
        if number:
            raise Stays("it pads with a number that would have to be scaled as well", node)
    pads = ints_attribute(node, "pads")
    if pads is None:
        numbers = scope.index.short_constant(node.input[1]) if len(node.input) > 1 else None
        if numbers is None or (len(node.input) > 3 and node.input[3]):
            raise Stays("its pads are not known", node)
        pads = tuple(int(pad) for pad in numbers.reshape(-1))
    rank = len(pads) // 2
    return _but_some(node, scope, [axis for axis in range(rank) if pads[axis] or pads[axis + rank]])


def _resize(node: NodeProto, scope: Scope) -> Axes:
    mode = attribute(node, "coordinate_transformation_mode")
    if mode is not None and mode.s == b"tf_crop_and_resize":
        raise Stays("what it fills up with would have to be scaled as well", node)
    before, after = sizes_of(scope, node.input[0]), sizes_of(scope, node.output[0])
    return tuple(
        axis if size is not None and size == new else None
        for axis, (size, new) in enumerate(zip(before, after, strict=True))
    )


CARRIERS: Rules[_Carrier] = Rules(
    {
        ("Relu", "LeakyRelu", "PRelu", "Identity", "Dropout", "Neg", "Abs"): _same,
        "Clip": _clip,
        ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"): _pool,
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"): _reduce,
        ("Flatten", "Reshape", "Squeeze", "Unsqueeze"): _view,
        "Transpose": _transpose,
        "Slice": _slice,
        "Split": _axis,
        "CumSum": _cumsum,
        "Pad": _pad,
        ("Resize", "Upsample"): _resize,
    }
)

# Joins and products: all axes are those of the output, counted from behind.

JOINS = Rules({("Add", "Sub", "Sum", "Max", "Min", "Concat"): True})
PRODUCTS: Rules[tuple[int, ...]] = Rules({"Mul": (0, 1), "Div": (0,)})
"""The operands that may have a scale."""

BLIND = Rules({("Shape", "Size"): True})
"""What does not look at the numbers."""

_BOUND = frozenset(
    {
        *("Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Celu", "Gelu", "Softplus", "Softsign", "Mish"),
        *("Swish", "ThresholdedRelu", "Softmax", "LogSoftmax", "Erf", "Exp", "Log", "Sqrt", "Pow"),
        *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "LRN"),
    }
)
_QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def stops(node: NodeProto) -> Stays:
    """Why a scale ends at a node for which there is no rule."""
    if node.op_type in _BOUND:
        return Stays(
            f"{node.op_type} is not positively homogeneous: what goes in scaled does not come out scaled", node
        )
    if node.op_type in _QUANTISERS or node.op_type.startswith(("QLinear", "ConvInteger", "MatMulInteger")):
        return Stays("it is quantised already: scales are exchanged before", node)
    if node.op_type == "BatchNormalization":
        return Stays("a BatchNormalization is in between: fold it into its convolution first (onnxsim)", node)
    return Stays(f"there is no rule for how {node.op_type} passes on a scale", node)


# Layers.


def _conv_out(node: NodeProto, scope: Scope, axis: int) -> tuple[Place, ...]:
    _along(node, axis, 1)
    return (Place(_weights(node, scope, 1), 0, 1), *_bias(node, scope, 2))


def _conv_in(node: NodeProto, scope: Scope, axis: int) -> tuple[Place, ...]:
    _along(node, axis, 1)
    return (Place(_weights(node, scope, 1), 1, -1, int_attribute(node, "group", 1)),)


def _transposed_out(node: NodeProto, scope: Scope, axis: int) -> tuple[Place, ...]:
    _along(node, axis, 1)
    return (Place(_weights(node, scope, 1), 1, 1, int_attribute(node, "group", 1)), *_bias(node, scope, 2))


def _transposed_in(node: NodeProto, scope: Scope, axis: int) -> tuple[Place, ...]:
    _along(node, axis, 1)
    return (Place(_weights(node, scope, 1), 0, -1),)


def _gemm_out(node: NodeProto, scope: Scope, axis: int) -> tuple[Place, ...]:
    _along(node, axis, 1)
    turned = int_attribute(node, "transB", 0)
    weights = Place(_weights(node, scope, 1), 0 if turned else 1, 1)
    return (weights, *_bias(node, scope, 2, dims(scope, weights.tensor)[weights.axis]))


def _gemm_in(node: NodeProto, scope: Scope, axis: int) -> tuple[Place, ...]:
    _along(node, axis, 1)
    if int_attribute(node, "transA", 0):
        raise Stays("it reads its input transposed", node)
    return (Place(_weights(node, scope, 1), 1 if int_attribute(node, "transB", 0) else 0, -1),)


def _matmul(node: NodeProto, scope: Scope, axis: int, value: str, along: int, power: int) -> tuple[Place, ...]:
    _along(node, axis, len(sizes_of(scope, value)) - 1)
    name = _weights(node, scope, 1)
    if len(dims(scope, name)) != 2:
        raise Stays("its weights are no matrix", node)
    return (Place(name, along, power),)


def _matmul_out(node: NodeProto, scope: Scope, axis: int) -> tuple[Place, ...]:
    return _matmul(node, scope, axis, node.output[0], 1, 1)


def _matmul_in(node: NodeProto, scope: Scope, axis: int) -> tuple[Place, ...]:
    return _matmul(node, scope, axis, node.input[0], 0, -1)


def _along(node: NodeProto, axis: int, wanted: int) -> None:
    if axis != wanted:
        raise Stays("the channels do not lie along the axis that it sums over", node)


def _weights(node: NodeProto, scope: Scope, slot: int) -> str:
    name = node.input[slot]
    if scope.index.weight(name) is None:
        raise Stays(
            "its weights are no initializer: fold constants first (onnxsim), and leave quantised layers out", node
        )
    return name


def _bias(node: NodeProto, scope: Scope, slot: int, channels: int | None = None) -> tuple[Place, ...]:
    name = node.input[slot] if len(node.input) > slot else ""
    if not name:
        return ()
    _weights(node, scope, slot)
    found = dims(scope, name)
    if channels is not None and found[-1:] != (channels,):
        raise Stays("its bias has one number for all channels", node)
    return (Place(name, len(found) - 1, 1),)


def dims(scope: Scope, tensor: str) -> tuple[int, ...]:
    """The dimensions of an initializer."""
    found = scope.index.weight(tensor)
    assert found is not None
    return tuple(found.dims)


SOURCES: Rules[_Layer] = Rules(
    {"Conv": _conv_out, "ConvTranspose": _transposed_out, "Gemm": _gemm_out, "MatMul": _matmul_out}
)
"""What of a layer takes the scales of the channels along an axis of its output."""

SINKS: Rules[_Layer] = Rules(
    {"Conv": _conv_in, "ConvTranspose": _transposed_in, "Gemm": _gemm_in, "MatMul": _matmul_in}
)
"""What of a layer takes away the scales of the channels along an axis of its input."""
