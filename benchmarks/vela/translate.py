"""From ONNX to int8 TFLite, for the operators of these networks: node by node, with the operands as they are.

What the compiler makes of a network depends on its operands' order and on copies being two; a general converter has its
own mind about both: TFLite's merges layers that have equal weights. Maps are N × C × H × W in ONNX and N × H × W × C in
TFLite. Anything unknown is refused by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from benchmarks.vela.quantisation import Scale, scales
from benchmarks.vela.tflite import Writer

_FUSED = schema.ActivationFunctionType
_SAME, _VALID = schema.Padding.SAME, schema.Padding.VALID
# What these yield has the scale of what they read: the runtime's kernels do not compute with it.
_SCALE_KEPT = ("AveragePool", "Resize", "Expand", "Gather", "Reshape", "Flatten")
_SIGMOID = Scale(1 / 256, -128)  # the only one that its kernel takes


class Unknown(Exception):
    """A node that has no translation here."""


class _Network:
    """The two networks, one being written."""

    def __init__(self, model: onnx.ModelProto) -> None:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        self.graph = model.graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for node in self.graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(_attribute(node, "value", None))
        values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
        self.shapes = {
            value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim) for value in values
        }
        self.scales = scales(model)
        for node in self.graph.node:
            if node.op_type in _SCALE_KEPT:
                self.scales[node.output[0]] = self.scales[node.input[0]]
            elif node.op_type == "Sigmoid":
                self.scales[node.output[0]] = _SIGMOID
        self.reads = Counter(name for node in self.graph.node for name in node.input)
        self.activations = {
            node.input[0]: node
            for node in self.graph.node
            if node.op_type in ("Clip", "Relu") and self.reads[node.input[0]] == 1
        }
        self.writer = Writer()
        self.tensors: dict[str, int] = {}
        self.weights: dict[tuple[str, str], int] = {}

    def tensor(self, name: str) -> int:
        if name not in self.tensors:
            self.tensors[name] = self.writer.tensor(name, _channels_last(self.shapes[name]), self.scales[name])
        return self.tensors[name]

    def once(self, name: str, purpose: str, make: Callable[[], int]) -> int:
        """The tensor of an initializer for one purpose: two readers share it, as they do in the ONNX file."""
        if (name, purpose) not in self.weights:
            self.weights[name, purpose] = make()
        return self.weights[name, purpose]

    def integers(self, values: tuple[int, ...] | list[int]) -> int:
        """A constant that says a shape or axes; equal ones are one."""
        word = ",".join(map(str, values))
        return self.once("", word, lambda: self.writer.constant(f"({word})", np.array(values, np.int32)))

    def clipped(self, node: NodeProto) -> int:
        """Which activation a node's operator does as well: that of a Clip or Relu that alone reads it."""
        after = self.activations.get(node.output[0])
        return int(_FUSED.NONE if after is None else getattr(_FUSED, self.limit(after)))

    def limit(self, node: NodeProto) -> str:
        """What TFLite calls a Clip or Relu."""
        if node.op_type == "Relu":
            return "RELU"
        if [float(self.constants[name]) for name in node.input[1:]] != [0, 6]:
            raise Unknown(f"{node.name}: a Clip that is not between 0 and 6")
        return "RELU6"

    def result(self, node: NodeProto) -> int:
        """The tensor a node's operator writes: after the activation that is fused into it."""
        return self.tensor(self.activations.get(node.output[0], node).output[0])


def translate(model: onnx.ModelProto) -> bytes:
    """The TFLite file of a model with fixed shapes, one input and one output; raises Unknown."""
    network = _Network(model)
    fused = {id(node) for node in network.activations.values()}
    for node in network.graph.node:
        if id(node) in fused or node.op_type == "Constant":
            continue
        if node.op_type not in _RULES:
            raise Unknown(f"{node.name}: no translation of {node.op_type}")
        _RULES[node.op_type](network, node)
    return network.writer.finish(
        [network.tensor(network.graph.input[0].name)], [network.tensor(network.graph.output[0].name)]
    )


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1]) if len(shape) > 2 else shape


def _padding(network: _Network, node: NodeProto, kernel: list[int], strides: list[int]) -> int:
    """Whether pads are none or TensorFlow's "same"; nothing else can be said in TFLite."""
    pads = _attribute(node, "pads", [0, 0, 0, 0])
    if not any(pads):
        return int(_VALID)
    before, after = network.shapes[node.input[0]][2:], network.shapes[node.output[0]][2:]
    spanned = zip(before, after, kernel, strides, strict=True)
    same = [max((rows - 1) * stride + size - given, 0) for given, rows, size, stride in spanned]
    if pads != [pad // 2 for pad in same] + [pad - pad // 2 for pad in same]:
        raise Unknown(f"{node.name}: pads {pads}")
    return int(_SAME)


def _convolution(network: _Network, node: NodeProto) -> None:
    weights = network.constants[node.input[1]]
    kernel, strides = list(weights.shape[2:]), _attribute(node, "strides", [1, 1])
    dilations = _attribute(node, "dilations", [1, 1])
    depthwise = _attribute(node, "group", 1) > 1
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


def _gemm(network: _Network, node: NodeProto) -> None:
    weights = network.constants[node.input[1]]
    laid = weights if _attribute(node, "transB", 0) else weights.T
    inputs = _weighed(network, node, laid, np.abs(weights).max(keepdims=True).reshape(1) / 127, 0)
    options = {"options": "FullyConnectedOptions", "fusedActivationFunction": network.clipped(node)}
    network.writer.operator("FULLY_CONNECTED", inputs, network.result(node), 4, **options)


def _weighed(network: _Network, node: NodeProto, laid: NDArray[Any], steps: NDArray[Any], axis: int) -> list[int]:
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


def _mean(network: _Network, node: NodeProto) -> None:
    """GlobalAveragePool and ReduceMean."""
    axes = _attribute(node, "axes", [2, 3])
    if len(node.input) > 1:
        axes = network.constants[node.input[1]].tolist()
    if not _attribute(node, "keepdims", 1) or not {axis % 4 for axis in axes} <= {2, 3}:
        raise Unknown(f"{node.name}: a mean that is not over rows or columns")
    inputs = [network.tensor(node.input[0]), network.integers(sorted(axis % 4 - 1 for axis in axes))]
    network.writer.operator("MEAN", inputs, network.result(node), 2, options="ReducerOptions", keepDims=True)


def _pool(network: _Network, node: NodeProto) -> None:
    kernel, strides = _attribute(node, "kernel_shape", []), _attribute(node, "strides", [1, 1])
    padding = _padding(network, node, kernel, strides)
    if padding == _SAME and _attribute(node, "count_include_pad", 0):
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


def _elementwise(network: _Network, node: NodeProto) -> None:
    code, options = {"Mul": ("MUL", "MulOptions"), "Add": ("ADD", "AddOptions")}[node.op_type]
    inputs = [network.tensor(name) for name in node.input]
    fused = network.clipped(node)
    network.writer.operator(code, inputs, network.result(node), 2, options=options, fusedActivationFunction=fused)


def _limit(network: _Network, node: NodeProto) -> None:
    network.writer.operator(network.limit(node), [network.tensor(node.input[0])], network.result(node), 2)


def _sigmoid(network: _Network, node: NodeProto) -> None:
    network.writer.operator("LOGISTIC", [network.tensor(node.input[0])], network.result(node), 2)


def _hard_swish(network: _Network, node: NodeProto) -> None:
    inputs = [network.tensor(node.input[0])]
    network.writer.operator("HARD_SWISH", inputs, network.result(node), options="HardSwishOptions")


def _reshape(network: _Network, node: NodeProto) -> None:
    """What leaves batch and channels alone, or has nothing but them: there both layouts agree."""
    before, after = network.shapes[node.input[0]], network.shapes[node.output[0]]
    if before[:2] != after[:2]:
        raise Unknown(f"{node.name}: {before} as {after}")
    shape = _channels_last(after)
    inputs = [network.tensor(node.input[0]), network.integers(shape)]
    network.writer.operator("RESHAPE", inputs, network.result(node), options="ReshapeOptions", newShape=list(shape))


def _expand(network: _Network, node: NodeProto) -> None:
    inputs = [network.tensor(node.input[0]), network.integers(_channels_last(network.shapes[node.output[0]]))]
    network.writer.operator("BROADCAST_TO", inputs, network.result(node), 2)


def _gather(network: _Network, node: NodeProto) -> None:
    if _attribute(node, "axis", 0) != 2:
        raise Unknown(f"{node.name}: a Gather that is not of rows")
    inputs = [network.tensor(node.input[0]), network.integers(network.constants[node.input[1]].tolist())]
    network.writer.operator("GATHER", inputs, network.result(node), 2, options="GatherOptions", axis=1)


def _resize(network: _Network, node: NodeProto) -> None:
    """Nearest, asymmetric, rounded down, by whole factors: TFLite's own way where no option is set."""
    size = network.shapes[node.output[0]][2:]
    kind = tuple(_attribute(node, name, b"") for name in ("mode", "coordinate_transformation_mode", "nearest_mode"))
    if kind != (b"nearest", b"asymmetric", b"floor"):
        raise Unknown(f"{node.name}: a Resize of another kind")
    inputs = [network.tensor(node.input[0]), network.integers(size)]
    options = "ResizeNearestNeighborOptions"
    network.writer.operator("RESIZE_NEAREST_NEIGHBOR", inputs, network.result(node), 2, options=options)


_RULES: dict[str, Callable[[_Network, NodeProto], None]] = {
    "Conv": _convolution,
    "Gemm": _gemm,
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
