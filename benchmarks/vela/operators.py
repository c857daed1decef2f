"""How each operator is written in TFLite; what cannot be said there is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import NodeProto

from benchmarks.vela.translation import Translation, Unknown, attribute, channels_last

_SAME, _VALID = schema.Padding.SAME, schema.Padding.VALID


def _padding(network: Translation, node: NodeProto, kernel: list[int], strides: list[int]) -> int:
    """Whether pads are none or TensorFlow's "same"; nothing else can be said in TFLite."""
    pads = attribute(node, "pads", [0, 0, 0, 0])
    if not any(pads):
        return int(_VALID)
    before, after = network.shapes[node.input[0]][2:], network.shapes[node.output[0]][2:]
    spanned = zip(before, after, kernel, strides, strict=True)
    same = [max((rows - 1) * stride + size - given, 0) for given, rows, size, stride in spanned]
    if pads != [pad // 2 for pad in same] + [pad - pad // 2 for pad in same]:
        raise Unknown(f"{node.name}: pads {pads}")
    return int(_SAME)


def _convolution(network: Translation, node: NodeProto) -> None:
    weights = network.constants[node.input[1]]
    kernel, strides = list(weights.shape[2:]), attribute(node, "strides", [1, 1])
    dilations = attribute(node, "dilations", [1, 1])
    depthwise = attribute(node, "group", 1) > 1
    if depthwise and weights.shape[1] != 1:
        raise Unknown(f"{node.name}: a convolution in groups")
    laid = weights.transpose(1, 2, 3, 0) if depthwise else weights.transpose(0, 2, 3, 1)
    options: dict[str, Any] = {
        "padding": _padding(network, node, kernel, strides),
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1],
        "fusedActivationFunction": network.clipped(node),
    }
    per_channel = np.abs(weights).reshape(len(weights), -1).max(axis=1) / 127 + 1e-12
    inputs = _weighed(network, node, laid, per_channel, 3 if depthwise else 0)
    code, kind = ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions") if depthwise else ("CONV_2D", "Conv2DOptions")
    if depthwise:
        options["depthMultiplier"] = 1
    network.writer.operator(code, inputs, network.result(node), 3, options=kind, **options)


def _gemm(network: Translation, node: NodeProto) -> None:
    weights = network.constants[node.input[1]]
    laid = weights if attribute(node, "transB", 0) else weights.T
    inputs = _weighed(network, node, laid, np.abs(weights).max(keepdims=True).reshape(1) / 127, 0)
    options = {"options": "FullyConnectedOptions", "fusedActivationFunction": network.clipped(node)}
    network.writer.operator("FULLY_CONNECTED", inputs, network.result(node), 4, **options)


def _weighed(network: Translation, node: NodeProto, laid: NDArray[Any], steps: NDArray[Any], axis: int) -> list[int]:
    """The operands of a layer: the map, its weights in steps of `steps` along `axis`, and its bias."""
    weights, bias = node.input[1], node.input[2] if len(node.input) > 2 else f"{node.name}/bias"
    bias_steps = steps * network.scales[node.input[0]].scale

    def quantised_weights() -> int:
        shape = [-1 if index == axis else 1 for index in range(laid.ndim)]
        return network.writer.constant(weights, np.round(laid / steps.reshape(shape)).astype(np.int8), steps, axis)

    def quantised_bias() -> int:
        values = network.constants.get(bias, np.zeros(laid.shape[axis], np.float32))
        return network.writer.constant(bias, np.round(values / bias_steps).astype(np.int32), bias_steps)

    return [
        network.tensor(node.input[0]),
        network.once(weights, f"weights along {axis}", quantised_weights),
        network.once(bias, f"bias in steps of {bias_steps[0]}", quantised_bias),
    ]


def _product(network: Translation, node: NodeProto) -> None:
    """A product of the rows of all channels with a constant matrix, between two changes of the layout."""
    source, (weights, result) = node.input[0], (network.constants.get(node.input[1]), node.output[0])
    if weights is None or len(network.shapes[source]) != 3:
        raise Unknown(f"{node.name}: a MatMul that is not of rows with a constant matrix")
    steps = np.abs(weights).max(keepdims=True).reshape(1) / 127
    laid, swapped = f"{source}/rows last", f"{result}/rows last"
    for name, like in ((laid, source), (swapped, result)):
        network.tensors[name] = network.writer.tensor(name, network.shapes[like], network.scales[like])
    kept = network.once(
        node.input[1], "a product",
        lambda: network.writer.constant(node.input[1], np.round(weights.T / steps).astype(np.int8), steps),
    )  # fmt: skip
    turn = [network.tensor(source), network.integers((0, 2, 1))]
    network.writer.operator("TRANSPOSE", turn, network.tensors[laid], 2, options="TransposeOptions")
    options = {"options": "FullyConnectedOptions", "keepNumDims": True}
    network.writer.operator("FULLY_CONNECTED", [network.tensors[laid], kept], network.tensors[swapped], 5, **options)
    back = [network.tensors[swapped], network.integers((0, 2, 1))]
    network.writer.operator("TRANSPOSE", back, network.tensor(result), 2, options="TransposeOptions")


def _mean(network: Translation, node: NodeProto) -> None:
    """GlobalAveragePool and ReduceMean."""
    axes = attribute(node, "axes", [2, 3])
    if len(node.input) > 1:
        axes = network.constants[node.input[1]].tolist()
    if not attribute(node, "keepdims", 1) or not {axis % 4 for axis in axes} <= {2, 3}:
        raise Unknown(f"{node.name}: a mean that is not over rows or columns")
    inputs = [network.tensor(node.input[0]), network.integers(sorted(axis % 4 - 1 for axis in axes))]
    network.writer.operator("MEAN", inputs, network.result(node), 2, options="ReducerOptions", keepDims=True)


def _pool(network: Translation, node: NodeProto) -> None:
    kernel, strides = attribute(node, "kernel_shape", []), attribute(node, "strides", [1, 1])
    padding = _padding(network, node, kernel, strides)
    if padding == _SAME and attribute(node, "count_include_pad", 0):
        raise Unknown(f"{node.name}: a mean that counts pads")
    options = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "filterHeight": kernel[0],
        "filterWidth": kernel[1],
    }
    inputs = [network.tensor(node.input[0])]
    network.writer.operator("AVERAGE_POOL_2D", inputs, network.result(node), 2, options="Pool2DOptions", **options)


def _elementwise(network: Translation, node: NodeProto) -> None:
    code, options = {"Mul": ("MUL", "MulOptions"), "Add": ("ADD", "AddOptions")}[node.op_type]
    inputs = [network.tensor(name) for name in node.input]
    fused = network.clipped(node)
    network.writer.operator(code, inputs, network.result(node), 2, options=options, fusedActivationFunction=fused)


def _limit(network: Translation, node: NodeProto) -> None:
    network.writer.operator(network.limit(node), [network.tensor(node.input[0])], network.result(node), 2)


def _sigmoid(network: Translation, node: NodeProto) -> None:
    network.writer.operator("LOGISTIC", [network.tensor(node.input[0])], network.result(node), 2)


def _hard_swish(network: Translation, node: NodeProto) -> None:
    inputs = [network.tensor(node.input[0])]
    network.writer.operator("HARD_SWISH", inputs, network.result(node), options="HardSwishOptions")


def _reshape(network: Translation, node: NodeProto) -> None:
    """What leaves batch and channels alone, or has nothing but them: there both layouts agree."""
    before, after = network.shapes[node.input[0]], network.shapes[node.output[0]]
    if before[:2] != after[:2]:
        raise Unknown(f"{node.name}: {before} as {after}")
    shape = channels_last(after)
    inputs = [network.tensor(node.input[0]), network.integers(shape)]
    network.writer.operator("RESHAPE", inputs, network.result(node), options="ReshapeOptions", newShape=list(shape))


def _expand(network: Translation, node: NodeProto) -> None:
    inputs = [network.tensor(node.input[0]), network.integers(channels_last(network.shapes[node.output[0]]))]
    network.writer.operator("BROADCAST_TO", inputs, network.result(node), 2)


def _gather(network: Translation, node: NodeProto) -> None:
    if attribute(node, "axis", 0) != 2:
        raise Unknown(f"{node.name}: a Gather that is not of rows")
    inputs = [network.tensor(node.input[0]), network.integers(network.constants[node.input[1]].tolist())]
    network.writer.operator("GATHER", inputs, network.result(node), 2, options="GatherOptions", axis=1)


def _resize(network: Translation, node: NodeProto) -> None:
    """Nearest, asymmetric, rounded down, by whole factors: TFLite's own way where no option is set."""
    size = network.shapes[node.output[0]][2:]
    kind = tuple(attribute(node, name, b"") for name in ("mode", "coordinate_transformation_mode", "nearest_mode"))
    if kind != (b"nearest", b"asymmetric", b"floor"):
        raise Unknown(f"{node.name}: a Resize of another kind")
    inputs = [network.tensor(node.input[0]), network.integers(size)]
    options = "ResizeNearestNeighborOptions"
    network.writer.operator("RESIZE_NEAREST_NEIGHBOR", inputs, network.result(node), 2, options=options)


RULES: dict[str, Callable[[Translation, NodeProto], None]] = {
    "Conv": _convolution,
    "Gemm": _gemm,
    "MatMul": _product,
    "GlobalAveragePool": _mean,
    "ReduceMean": _mean,
    "AveragePool": _pool,
    "Mul": _elementwise,
    "Add": _elementwise,
    "Sigmoid": _sigmoid,
    "HardSwish": _hard_swish,
    "Clip": _limit,
    "Relu": _limit,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Resize": _resize,
    "Expand": _expand,
    "Gather": _gather,
}
