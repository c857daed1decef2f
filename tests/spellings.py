"""Blocks in every spelling: each part of a block is drawn from a table and built as real ONNX nodes.

The tables are the parts that stand in real exports. A block is one model: `input` → Relu → x, and y = x · gate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DTYPES = {"float32": (TensorProto.FLOAT, np.float32), "float16": (TensorProto.FLOAT16, np.float16)}
CHANNELS, REDUCED = 6, 3


@dataclass(frozen=True)
class Spelling:
    """One choice for each part."""

    squeeze: str = "gap"
    excite: str = "conv"
    activation: str = "relu"
    gate: str = "sigmoid"
    broadcast: str = "implicit"
    between: str = "none"
    layout: str = "first"
    weights: str = "initializer"
    dtype: str = "float32"
    opset: int = 17
    extents: tuple[int, ...] = (15, 4)
    batch: int = 2
    dynamic_batch: bool = True
    gate_first: bool = False
    beside: str = "none"
    norm: str = ""
    branches: int = 0
    stacked: str = "first"
    seed: int = 0


@dataclass
class Builder:
    """Nodes and weights of a graph that grows; every method that makes a value returns its name."""

    spelling: Spelling
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.spelling.seed)
        self.kind, self.numpy = DTYPES[self.spelling.dtype]

    def node(self, op: str, inputs: list[str], domain: str = "", **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n{len(self.nodes)}", domain=domain, **attributes))
        return name

    def const(self, values: object, dtype: object = None) -> str:
        array = np.asarray(values, dtype or self.numpy)
        name = f"w{len(self.weights)}_{len(self.nodes)}"
        tensor = numpy_helper.from_array(array, name)
        if self.spelling.weights == "constant" and dtype is None:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.weights.append(tensor)
            if self.spelling.weights == "identity" and dtype is None:
                return self.node("Identity", [name])
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def noise(self, *shape: int) -> np.ndarray:
        return self.random.standard_normal(shape) / max(shape[-1], 1) ** 0.5 * 2

    # Views of a descriptor whose axes have one letter each.

    def squeezed(self, value: str, axes: str) -> tuple[str, str]:
        """To [N, C]."""
        places = [place for place, axis in enumerate(axes) if axis == "1"]
        if not places:
            return value, axes
        style = self.random.integers(3)
        if style == 0 and axes.startswith("NC"):
            return self.node("Flatten", [value], axis=1), "NC"
        if style == 1:
            return self.node("Reshape", [value, self.ints(-1, CHANNELS)]), "NC"
        if self.spelling.opset >= 13:
            return self.node("Squeeze", [value, self.ints(*places)]), "NC"
        return self.node("Squeeze", [value], axes=places), "NC"

    def unsqueezed(self, value: str, axes: str, wanted: str) -> str:
        """From [N, C] (or the wanted axes themselves) to `wanted`."""
        if axes == wanted:
            return value
        if axes != "NC":
            value, axes = self.squeezed(value, axes)
        places = [place for place, axis in enumerate(wanted) if axis == "1"]
        if self.random.integers(2):
            target = [{"N": -1, "C": CHANNELS, "1": 1}[axis] for axis in wanted]
            return self.node("Reshape", [value, self.ints(*target)])
        if self.spelling.opset >= 13:
            return self.node("Unsqueeze", [value, self.ints(*places)])
        return self.node("Unsqueeze", [value], axes=places)


def reduce(build: Builder, op: str, value: str, axes: tuple[int, ...], keepdims: int) -> str:
    if build.spelling.opset >= (13 if op == "ReduceSum" else 18):
        return build.node(op, [value, build.ints(*axes)], keepdims=keepdims)
    return build.node(op, [value], axes=list(axes), keepdims=keepdims)


# Squeezes: (builder, x, spatial axes) -> the descriptor, and whether the reduced axes are kept.

Squeezer = Callable[[Builder, str, tuple[int, ...]], tuple[str, bool]]


def _gap(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    return build.node("GlobalAveragePool", [x]), True


def _mean(keepdims: int, negative: bool) -> Squeezer:
    def squeeze(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
        rank = 2 + len(axes)
        chosen = tuple(axis - rank for axis in reversed(axes)) if negative else axes
        return reduce(build, "ReduceMean", x, chosen, keepdims), bool(keepdims)

    return squeeze


def _two_means(keepdims: int) -> Squeezer:
    def squeeze(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
        if len(axes) == 1:
            return _mean(keepdims, False)(build, x, axes)
        last = reduce(build, "ReduceMean", x, axes[-1:], keepdims)
        return reduce(build, "ReduceMean", last, axes[:-1], keepdims), bool(keepdims)

    return squeeze


def _flat_mean(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    flat = build.node("Reshape", [x, build.ints(0, CHANNELS, -1)]) if len(axes) > 1 else x
    return reduce(build, "ReduceMean", flat, (2,), 0), False


def _sum_div(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    total = reduce(build, "ReduceSum", x, axes, 1)
    return build.node("Div", [total, build.const(float(np.prod(build.spelling.extents)))]), True


def _sum_mul(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    total = reduce(build, "ReduceSum", x, axes, 0)
    return build.node("Mul", [build.const(1 / float(np.prod(build.spelling.extents))), total]), False


def _average_pool(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    return build.node("AveragePool", [x], kernel_shape=list(build.spelling.extents)), True


def _flat_mean_kept(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    """[N, C, 1], whatever the rank of the map."""
    flat = build.node("Reshape", [x, build.ints(0, CHANNELS, -1)])
    mean = reduce(build, "ReduceMean", flat, (2,), 1)
    return build.node("Reshape", [mean, build.ints(-1, CHANNELS, *(1,) * len(axes))]), True


def _two_sums(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    """One axis after the other, the last one first; the number between them where there are two."""
    for axis in reversed(axes):
        x = reduce(build, "ReduceSum", x, (axis,), 1)
        x = build.node("Div", [x, build.const(float(build.spelling.extents[axis - axes[0]]))])
    return x, True


def _sum_scaled_before(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    scaled = build.node("Mul", [x, build.const(1 / float(np.prod(build.spelling.extents)))])
    return reduce(build, "ReduceSum", scaled, axes, 0), False


def _sum_viewed(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    total = reduce(build, "ReduceSum", x, axes, 0)
    viewed = build.node("Reshape", [total, build.ints(-1, CHANNELS, *(1,) * len(axes))])
    return build.node("Div", [viewed, build.const(float(np.prod(build.spelling.extents)))]), True


def _product(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    area = int(np.prod(build.spelling.extents))
    flat = build.node("Reshape", [x, build.ints(0, CHANNELS, -1)])
    total = build.node("MatMul", [flat, build.const(np.full((area, 1), 1 / area))])
    return build.node("Reshape", [total, build.ints(-1, CHANNELS, *(1,) * len(axes))]), True


def _two_pools(build: Builder, x: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    """Windows as large as the largest divisors of the extents, then all of them."""
    extents = build.spelling.extents
    sizes = [max(size for size in range(1, extent) if extent % size == 0) if extent > 1 else 1 for extent in extents]
    small = build.node("AveragePool", [x], kernel_shape=sizes, strides=sizes)
    return build.node("GlobalAveragePool", [small]), True


SQUEEZES: dict[str, Squeezer] = {
    "gap": _gap,
    "mean": _mean(1, False),
    "mean-negative": _mean(1, True),
    "mean-drop": _mean(0, False),
    "two-means": _two_means(1),
    "two-means-drop": _two_means(0),
    "flat-mean": _flat_mean,
    "sum-div": _sum_div,
    "sum-mul": _sum_mul,
    "average-pool": _average_pool,
    "flat-mean-kept": _flat_mean_kept,
    "two-sums": _two_sums,
    "sum-scaled-before": _sum_scaled_before,
    "sum-viewed": _sum_viewed,
    "product": _product,
    "two-pools": _two_pools,
}
CHANNELS_FIRST_ONLY = {"gap", "flat-mean", "average-pool", "flat-mean-kept", "sum-viewed", "product", "two-pools"}
FLAT = {"flat-mean", "flat-mean-kept", "product"}

# Excite layers: (builder, descriptor, its axes, outputs, inputs) -> the value and its axes.

Layer = Callable[[Builder, str, str, int, int], tuple[str, str]]


def _conv(bias: str, kernel: int = 1) -> Layer:
    def layer(build: Builder, value: str, axes: str, outputs: int, inputs: int) -> tuple[str, str]:
        rank = 2 + len(build.spelling.extents)
        wanted = "NC" + "1" * (rank - 2)
        value = to(build, value, axes, wanted, inputs)
        operands = [value, build.const(build.noise(outputs, inputs, *(1,) * (rank - 2)))]
        vector = build.noise(outputs)
        if bias == "fused":
            operands.append(build.const(vector))
        value = build.node("Conv", operands)
        if bias == "added":
            value = build.node("Add", [value, build.const(vector.reshape(1, -1, *(1,) * (rank - 2)))])
        if bias == "normalised":
            numbers = [build.const(part) for part in (vector, vector / 2, vector / 3, np.abs(vector) + 1)]
            value = build.node("BatchNormalization", [value, *numbers])
        return value, wanted

    return layer


def _gemm(transposed: int, bias: bool) -> Layer:
    def layer(build: Builder, value: str, axes: str, outputs: int, inputs: int) -> tuple[str, str]:
        value = to(build, value, axes, "NC", inputs)
        shape = (outputs, inputs) if transposed else (inputs, outputs)
        operands = [value, build.const(build.noise(*shape)), *([build.const(build.noise(outputs))] if bias else [])]
        return build.node("Gemm", operands, transB=transposed), "NC"

    return layer


def _matmul(swap: bool) -> Layer:
    def layer(build: Builder, value: str, axes: str, outputs: int, inputs: int) -> tuple[str, str]:
        value = to(build, value, axes, "NC", inputs)
        value = build.node("MatMul", [value, build.const(build.noise(inputs, outputs))])
        pair = [value, build.const(build.noise(outputs))]
        return build.node("Add", pair[::-1] if swap else pair), "NC"

    return layer


def _matmul_last(build: Builder, value: str, axes: str, outputs: int, inputs: int) -> tuple[str, str]:
    """Channels last, as in Keras: [N, 1, 1, C] times a matrix."""
    wanted = "N" + "1" * len(build.spelling.extents) + "C"
    value = to(build, value, axes, wanted, inputs)
    value = build.node("MatMul", [value, build.const(build.noise(inputs, outputs))])
    return build.node("Add", [value, build.const(build.noise(outputs))]), wanted


def _normalised(build: Builder, value: str, axes: str, outputs: int, inputs: int) -> tuple[str, str]:
    value, axes = _gemm(1, True)(build, value, axes, outputs, inputs)
    numbers = [build.const(build.noise(outputs)) for _ in range(2)]
    return build.node("LayerNormalization", [value, *numbers], axis=-1), axes


def _normalised_apart(build: Builder, value: str, axes: str, outputs: int, inputs: int) -> tuple[str, str]:
    """A layer normalisation in the operators that it is made of."""
    value, axes = _gemm(1, True)(build, value, axes, outputs, inputs)
    centred = build.node("Sub", [value, reduce(build, "ReduceMean", value, (-1,), 1)])
    variance = reduce(build, "ReduceMean", build.node("Mul", [centred, centred]), (1,), 1)
    below = build.node("Sqrt", [build.node("Add", [variance, build.const(1e-3)])])
    value = build.node("Mul", [build.node("Div", [centred, below]), build.const(build.noise(outputs))])
    return build.node("Add", [value, build.const(build.noise(outputs))]), axes


def _wide_conv(build: Builder, value: str, axes: str, outputs: int, inputs: int) -> tuple[str, str]:
    """A kernel of three on a map of one pixel, padded."""
    rank = len(build.spelling.extents)
    wanted = "NC" + "1" * rank
    value = to(build, value, axes, wanted, inputs)
    weights = build.noise(outputs, inputs, *(3,) * rank)
    return build.node(
        "Conv", [value, build.const(weights), build.const(build.noise(outputs))], pads=[1] * 2 * rank
    ), wanted


LAYERS: dict[str, Layer] = {
    "conv": _conv("fused"),
    "conv-bare": _conv("none"),
    "conv-add": _conv("added"),
    "conv-bn": _conv("normalised"),
    "gemm-transposed": _gemm(1, True),
    "gemm": _gemm(0, True),
    "gemm-bare": _gemm(0, False),
    "matmul-add": _matmul(False),
    "matmul-add-first": _matmul(True),
    "matmul-last": _matmul_last,
    "gemm-layer-norm": _normalised,
    "gemm-norm-apart": _normalised_apart,
    "conv-wide": _wide_conv,
}
NEWEST_ONLY = {
    "gemm-norm-apart": 11,
    "resize-sizes": 11,
    "gemm-bare": 11,
    "gemm-layer-norm": 17,
    "hard-swish": 14,
    "mish": 18,
    "gelu": 20,
}


def to(build: Builder, value: str, axes: str, wanted: str, channels: int = CHANNELS) -> str:
    """The same descriptor under other axes."""
    if axes == wanted:
        return value
    if sorted(axes) == sorted(wanted) and build.random.integers(2):
        perm, left = [], list(axes)
        for axis in wanted:
            place = left.index(axis)
            left[place] = ""
            perm.append(place)
        return build.node("Transpose", [value], perm=perm)
    target = [{"N": -1, "C": channels, "1": 1}[axis] for axis in wanted]
    if wanted == "NC" and axes.startswith("NC") and build.random.integers(2):
        return build.node("Flatten", [value], axis=1)
    places = [place for place, axis in enumerate(wanted) if axis == "1"]
    if axes == "NC" and wanted.replace("1", "") == "NC" and build.random.integers(2):
        if build.spelling.opset >= 13:
            return build.node("Unsqueeze", [value, build.ints(*places)])
        return build.node("Unsqueeze", [value], axes=places)
    return build.node("Reshape", [value, build.ints(*target)])


# Functions of each element.

Function = Callable[[Builder, str], str]


def _op(op: str, **attributes: object) -> Function:
    return lambda build, value: build.node(op, [value], **attributes)


def _silu(build: Builder, value: str) -> str:
    return build.node("Mul", [value, build.node("Sigmoid", [value])])


def _hard_sigmoid_swish(build: Builder, value: str) -> str:
    return build.node("Mul", [build.node("HardSigmoid", [value], alpha=1 / 6, beta=0.5), value])


def _clip(build: Builder, value: str, low: float, high: float) -> str:
    if build.spelling.opset >= 11:
        return build.node("Clip", [value, build.const(low), build.const(high)])
    return build.node("Clip", [value], min=float(low), max=float(high))


def _prelu(build: Builder, value: str) -> str:
    return build.node("PRelu", [value, build.const(0.2)])


def _mish(build: Builder, value: str) -> str:
    return build.node("Mul", [value, build.node("Tanh", [build.node("Softplus", [value])])])


def _erf_gelu(build: Builder, value: str) -> str:
    inner = build.node("Erf", [build.node("Div", [value, build.const(2**0.5)])])
    scaled = build.node("Mul", [value, build.node("Add", [inner, build.const(1)])])
    return build.node("Mul", [scaled, build.const(0.5)])


def _tanh_gelu(build: Builder, value: str) -> str:
    cube = build.node("Mul", [build.node("Pow", [value, build.const(3)]), build.const(0.044715)])
    inner = build.node("Mul", [build.node("Add", [value, cube]), build.const(0.7978845)])
    return build.node("Mul", [build.node("Mul", [value, build.const(0.5)]),
                              build.node("Add", [build.node("Tanh", [inner]), build.const(1)])])  # fmt: skip


def _relu6(build: Builder, value: str) -> str:
    return _clip(build, value, 0, 6)


ACTIVATIONS: dict[str, Function] = {
    "relu": _op("Relu"),
    "silu": _silu,
    "hard-swish": _op("HardSwish"),
    "hard-swish-apart": _hard_sigmoid_swish,
    "leaky": _op("LeakyRelu", alpha=0.1),
    "prelu": _prelu,
    "elu": _op("Elu"),
    "relu6": _relu6,
    "tanh": _op("Tanh"),
    "mish": _op("Mish"),
    "mish-apart": _mish,
    "gelu": _op("Gelu"),
    "gelu-erf": _erf_gelu,
    "gelu-tanh": _tanh_gelu,
    "none": lambda build, value: value,
}


def _add_clip(divide: bool) -> Function:
    def gate(build: Builder, value: str) -> str:
        value = _clip(build, build.node("Add", [value, build.const(3)]), 0, 6)
        return build.node("Div" if divide else "Mul", [value, build.const(6 if divide else 1 / 6)])

    return gate


def _max_min(build: Builder, value: str) -> str:
    value = build.node("Max", [build.node("Add", [value, build.const(3)]), build.const(0)])
    return build.node("Div", [build.node("Min", [value, build.const(6)]), build.const(6)])


def _twice(build: Builder, value: str) -> str:
    return build.node("Mul", [build.node("Sigmoid", [value]), build.const(2)])


def _plus_one(op: str) -> Function:
    return lambda build, value: build.node("Add", [build.const(1), build.node(op, [value])])


def _reciprocal(build: Builder, value: str) -> str:
    below = build.node("Add", [build.node("Exp", [build.node("Neg", [value])]), build.const(1)])
    return build.node("Div", [build.const(1), below])


def _softmax(build: Builder, value: str) -> str:
    return build.node("Softmax", [value], axis=1)


GATES: dict[str, Function] = {
    "sigmoid": _op("Sigmoid"),
    "hard-sigmoid": _op("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard-sigmoid-0.2": _op("HardSigmoid"),
    "add-clip-mul": _add_clip(False),
    "add-clip-div": _add_clip(True),
    "max-min": _max_min,
    "clip": lambda build, value: _clip(build, value, 0, 1),
    "twice": _twice,
    "plus-one": _plus_one("Sigmoid"),
    "tanh": _op("Tanh"),
    "tanh-plus-one": _plus_one("Tanh"),
    "reciprocal": _reciprocal,
    "softmax": _softmax,
    "softplus": _op("Softplus"),
}

BETWEEN: dict[str, Function] = {
    "none": lambda build, value: value,
    "identity": _op("Identity"),
    "dropout": _op("Dropout"),
    "cast": lambda build, value: build.node("Cast", [build.node("Cast", [value], to=TensorProto.FLOAT)], to=build.kind),
}

BROADCASTS = ("implicit", "expand", "expand-shape", "tile", "resize", "resize-sizes")
LAYOUTS = ("first", "last", "pooled-first", "pooled-last", "scaled-flat")
WEIGHTS = ("initializer", "constant", "identity")


def _excited(build: Builder, value: str, axes: str) -> tuple[str, str]:
    """The two layers of an excite, with weights of their own."""
    spelling = build.spelling
    value, axes = LAYERS[spelling.excite](build, value, axes, REDUCED, CHANNELS)
    value = BETWEEN[spelling.between](build, ACTIVATIONS[spelling.activation](build, value))
    return LAYERS[spelling.excite](build, value, axes, CHANNELS * (spelling.branches or 1), REDUCED)


# Branches: maps side by side along an axis of their own, before the channels ("first"), behind them, or at the end; or
# tensors of their own ("apart").

STACKED = ("first", "behind", "last", "apart")


def branch_axes(spelling: Spelling) -> str:
    """The axes of the stacked branches."""
    space = "HWD"[: len(spelling.extents)]
    letters = f"N{space}C" if spelling.layout == "last" else f"NC{space}"
    place = {"first": 1, "behind": letters.index("C") + 1, "last": len(letters), "apart": 1}[spelling.stacked]
    return letters[:place] + "R" + letters[place:]


def branch_factors(spelling: Spelling) -> list[float]:
    """What each branch is times the map."""
    return [1 + number / 2 for number in range(spelling.branches)]


def _stack(build: Builder, x: str) -> tuple[str, str]:
    """Branches side by side, and their sum."""
    place, parts = branch_axes(build.spelling).index("R"), []
    for factor in branch_factors(build.spelling):
        branch = build.node("Mul", [x, build.const(factor)])
        if build.spelling.opset >= 13:
            parts.append(build.node("Unsqueeze", [branch, build.ints(place)]))
        else:
            parts.append(build.node("Unsqueeze", [branch], axes=[place]))
    stacked = build.node("Concat", parts, axis=place)
    return stacked, reduce(build, "ReduceSum", stacked, (place,), 0)


def _branch_gates(build: Builder, value: str) -> str:
    """Gates for each branch from all of them in one vector, by a softmax over the branches or by another function."""
    spelling = build.spelling
    axes = [letter for letter in branch_axes(spelling) if letter in "NRC"]
    if spelling.gate != "softmax":
        value = build.node("Reshape", [value, build.ints(-1, spelling.branches, CHANNELS)])
        value = GATES[spelling.gate](build, value)
    elif spelling.opset < 13:  # over every axis from a place on
        value = build.node("Reshape", [value, build.ints(-1, spelling.branches, CHANNELS)])
        value = build.node("Softmax", [build.node("Transpose", [value], perm=[0, 2, 1])], axis=2)
        value = build.node("Transpose", [value], perm=[0, 2, 1])
    else:  # in two groups of channels, as split attention has it
        grouped = build.node("Reshape", [value, build.ints(-1, 2, spelling.branches, CHANNELS // 2)])
        value = build.node("Softmax", [build.node("Transpose", [grouped], perm=[0, 2, 1, 3])], axis=1)
        value = build.node("Reshape", [value, build.ints(-1, spelling.branches, CHANNELS)])
    value = BETWEEN[spelling.between](build, value)
    if axes != ["N", "R", "C"]:
        value = build.node("Transpose", [value], perm=[0, 2, 1])
    sizes = {"N": -1, "R": spelling.branches, "C": CHANNELS}
    return build.node("Reshape", [value, build.ints(*(sizes.get(letter, 1) for letter in branch_axes(spelling)))])


def _apart(build: Builder, x: str) -> tuple[list[str], str]:
    """Branches that are tensors of their own, and their sum."""
    branches = [build.node("Mul", [x, build.const(factor)]) for factor in branch_factors(build.spelling)]
    total = branches[0]
    if build.random.integers(2) and build.kind == TensorProto.FLOAT:
        return branches, build.node("Sum", branches)
    for branch in branches[1:]:
        total = build.node("Add", [total, branch])
    return branches, total


def _gated_apart(build: Builder, gates: str, branches: list[str], dims: list[object]) -> tuple[onnx.ModelProto, str]:
    """The model with a product for each branch, and the gates of all."""
    letters, total = branch_axes(build.spelling).replace("R", ""), ""
    shape = [{"N": -1, "C": CHANNELS}.get(letter, 1) for letter in letters]
    if build.random.integers(2):
        parts = [build.node("Gather", [gates, build.ints(number)], axis=1) for number in range(len(branches))]
    else:
        parts = [f"part{number}" for number in range(len(branches))]
        build.nodes.append(helper.make_node("Split", [gates], parts, axis=1, name="split"))
        if build.spelling.opset >= 18:
            build.nodes[-1].attribute.append(helper.make_attribute("num_outputs", len(parts)))
    for number, (part, branch) in enumerate(zip(parts, branches, strict=True)):
        pair = [branch, build.node("Reshape", [part, build.ints(*shape)])]
        product = build.node("Mul", pair[::-1] if build.spelling.gate_first else pair)
        total = build.node("Add", [total, product]) if number else product
    build.nodes[-1].output[0] = "y"
    return _model(build, dims, len(dims)), gates


MAXIMA: dict[str, Squeezer] = {
    "pool": lambda build, x, axes: (build.node("GlobalMaxPool", [x]), True),
    "reduce": lambda build, x, axes: (reduce(build, "ReduceMax", x, axes, 0), False),
}


def _squares(build: Builder, x: str) -> str:
    return build.node("Mul", [x, x]) if build.random.integers(2) else build.node("Pow", [x, build.const(2)])


def _rooted(build: Builder, value: str) -> str:
    return build.node("Sqrt", [value]) if build.random.integers(2) else build.node("Pow", [value, build.const(0.5)])


# Norms: as squeezes, and the mean of squares beside them.

NORMS: dict[str, Squeezer] = {
    "l2": lambda build, x, axes: (reduce(build, "ReduceL2", x, axes, 1), True),
    "l2-drop": lambda build, x, axes: (reduce(build, "ReduceL2", build.node("Abs", [x]), axes, 0), False),
    "sum-square": lambda build, x, axes: (_rooted(build, reduce(build, "ReduceSumSquare", x, axes, 1)), True),
    "squares": lambda build, x, axes: (_rooted(build, reduce(build, "ReduceSum", _squares(build, x), axes, 0)), False),
    "mean-square": lambda build, x, axes: (
        _rooted(build, reduce(build, "ReduceMean", _squares(build, x), axes, 1)),
        True,
    ),
    "global-pool": lambda build, x, axes: (build.node("GlobalLpPool", [x], p=2), True),
    "pool": lambda build, x, axes: (build.node("LpPool", [x], p=2, kernel_shape=list(build.spelling.extents)), True),
}
POOLED_NORMS = {"global-pool", "pool"}


def _responses(build: Builder, value: str, axes: str) -> str:
    """A norm divided by its mean over the channels."""
    mean = reduce(build, "ReduceMean", value, (axes.index("C"),), 1)
    below = build.node("Add", [mean, build.const(0.01)])
    if build.random.integers(2):
        return build.node("Mul", [value, build.node("Reciprocal", [below])])
    return build.node("Div", [value, below])


def model_of(spelling: Spelling) -> tuple[onnx.ModelProto, str]:
    """The model of a spelling, and the name of its gate as the Mul reads it."""
    build = Builder(spelling)
    rank = 2 + len(spelling.extents)
    first, last = (0, 1, *range(2, rank)), (0, *range(2, rank), 1)
    dims = ["N" if spelling.dynamic_batch else spelling.batch, CHANNELS, *spelling.extents]
    if spelling.layout in ("last", "pooled-last"):
        dims = [dims[axis] for axis in last]
    x = build.node("Relu", ["input"])
    pooled, scaled = x, x
    branches: list[str] = []
    if spelling.branches and spelling.stacked == "apart":
        branches, pooled = _apart(build, x)
    elif spelling.branches:
        scaled, pooled = _stack(build, x)
    to_last, to_first = list(last), [0, rank - 1, *range(1, rank - 1)]
    if spelling.layout == "pooled-first":
        scaled = build.node("Transpose", [x], perm=to_last)
    elif spelling.layout == "pooled-last":
        pooled = build.node("Transpose", [x], perm=to_first)
    pooled_axes = tuple(range(1, rank - 1)) if spelling.layout == "last" else first[2:]
    squeezer = NORMS[spelling.norm] if spelling.norm else SQUEEZES[spelling.squeeze]
    value, kept = squeezer(build, pooled, tuple(pooled_axes))
    letters = ["N", *(["1"] * (rank - 2) if kept else []), "C"]
    axes = "".join(letters) if spelling.layout == "last" else "NC" + "1" * (len(letters) - 2)
    if spelling.norm:
        value = _responses(build, value, axes)
    else:
        value, axes = _excited(build, value, axes)
    if spelling.beside == "maximum":
        top, kept_top = MAXIMA["pool" if spelling.layout != "last" and build.random.integers(2) else "reduce"](
            build, pooled, tuple(pooled_axes)
        )
        letters = ["N", *(["1"] * (rank - 2) if kept_top else []), "C"]
        began = "".join(letters) if spelling.layout == "last" else "NC" + "1" * (len(letters) - 2)
        top, _ = _excited(build, top, began)
        value = build.node("Add", [value, top])
    if branches:
        return _gated_apart(build, _branch_gates(build, value), branches, dims)
    if spelling.branches:
        return _finished(build, dims, _branch_gates(build, value), scaled)
    if spelling.gate == "softmax":
        value, axes = to(build, value, axes, "NC" + "1" * axes.count("1")), "NC" + "1" * axes.count("1")
    if not spelling.norm:
        value = GATES[spelling.gate](build, value)
    map_last = spelling.layout in ("last", "pooled-first") or spelling.layout == "pooled-last"
    wanted = "N" + "1" * (rank - 2) + "C" if map_last else "NC" + "1" * (rank - 2)
    value = BETWEEN[spelling.between](build, to(build, value, axes, wanted))
    sizes = dict(zip("HWD", spelling.extents, strict=False))
    place = [sizes[letter] for letter in "HWD"[: rank - 2]]
    if spelling.broadcast == "expand":
        value = build.node("Expand", [value, build.ints(1, *([*place, CHANNELS] if map_last else [CHANNELS, *place]))])
    elif spelling.broadcast == "expand-shape":
        value = build.node("Expand", [value, build.node("Shape", [scaled])])
    elif spelling.broadcast == "tile":
        value = build.node("Tile", [value, build.ints(1, *([*place, 1] if map_last else [1, *place]))])
    elif spelling.broadcast == "resize":
        scales = build.const([1, *([*place, 1] if map_last else [1, *place])], np.float32)
        old = "Upsample" if spelling.opset == 9 else "Resize"
        given = [value, scales] if spelling.opset < 11 else [value, build.const([], np.float32), scales]
        value = build.node(old, given, mode="nearest")
    elif spelling.broadcast == "resize-sizes":
        empty = build.const([], np.float32)
        value = build.node("Resize", [value, empty, empty, build.node("Shape", [scaled])], mode="nearest")
    return _finished(build, dims, value, scaled)


def _finished(build: Builder, dims: list[object], value: str, scaled: str) -> tuple[onnx.ModelProto, str]:
    """The model with the scale, and its gate."""
    spelling = build.spelling
    gate, made = value, "y"
    if spelling.layout == "scaled-flat":
        scaled, made = build.node("Reshape", [scaled, build.ints(0, CHANNELS, -1)]), "scaled"
        gate = build.node("Reshape", [value, build.ints(0, CHANNELS, 1)])
    pair = [gate, scaled] if spelling.gate_first else [scaled, gate]
    build.nodes.append(helper.make_node("Mul", pair, [made], name="scale"))
    if spelling.layout == "scaled-flat":
        back = build.ints(0, CHANNELS, *spelling.extents)
        build.nodes.append(helper.make_node("Reshape", [made, back], ["y"], name="back"))
    return _model(build, dims, len(dims) + bool(spelling.branches)), value


def _model(build: Builder, dims: list[object], rank: int) -> onnx.ModelProto:
    """The nodes as a model, whose output has this rank."""
    spelling = build.spelling
    graph = helper.make_graph(
        build.nodes,
        "block",
        [helper.make_tensor_value_info("input", build.kind, dims)],
        [helper.make_tensor_value_info("y", build.kind, [None] * rank)],
        build.weights,
    )
    versions = {9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", spelling.opset)], ir_version=versions.get(spelling.opset, 10)
    )
    return model


def noise_for(spelling: Spelling) -> np.ndarray:
    """An input of the model of a spelling, seeded by it."""
    dims = [spelling.batch, CHANNELS, *spelling.extents]
    if spelling.layout in ("last", "pooled-last"):
        dims = [dims[0], *dims[2:], dims[1]]
    noise = np.random.default_rng(spelling.seed).standard_normal(dims) * 2
    return noise.astype(DTYPES[spelling.dtype][1])
