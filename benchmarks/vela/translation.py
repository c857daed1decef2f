"""The two networks while one becomes the other; maps are N × C × H × W in ONNX and N × H × W × C in TFLite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import NodeProto, helper, numpy_helper

from benchmarks.vela.quantisation import Scale, scales
from benchmarks.vela.tflite import Writer

_FUSED = schema.ActivationFunctionType
# Operators that limit their results as well, where that is all that is read.
_LIMITING = ("Conv", "Gemm", "Add", "Mul")
# What these yield has the scale of what they read: the runtime's kernels do not compute with it.
_SCALE_KEPT = ("AveragePool", "Resize", "Expand", "Gather", "Reshape", "Flatten")
_SIGMOID = Scale(1 / 256, -128)  # the only one that its kernel takes


class Unknown(Exception):
    """A node that has no translation here."""


class Translation:
    """What rules for operators need to know of the ONNX network, and the TFLite network that they write."""

    def __init__(self, model: onnx.ModelProto) -> None:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        self.graph = model.graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for node in self.graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(attribute(node, "value", None))
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
        reads = Counter(name for node in self.graph.node for name in node.input)
        limited = {name for node in self.graph.node if node.op_type in _LIMITING for name in node.output}
        self.activations = {
            node.input[0]: node
            for node in self.graph.node
            if node.op_type in ("Clip", "Relu") and reads[node.input[0]] == 1 and node.input[0] in limited
        }
        self.writer = Writer()
        self.tensors: dict[str, int] = {}
        self.weights: dict[tuple[str, str], int] = {}

    def tensor(self, name: str) -> int:
        if name not in self.tensors:
            self.tensors[name] = self.writer.tensor(name, channels_last(self.shapes[name]), self.scales[name])
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


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1]) if len(shape) > 2 else shape
