"""Layers, one behind the other, as an ONNX graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.weights import noise

_OPSET = 17
_IR = 8

Shape = tuple[int, int, int]


class Draft:
    """A graph that grows by a layer at a time; each takes and returns the name of a value."""

    def __init__(self, name: str, image: Shape) -> None:
        self._name = name
        self._shapes: dict[str, Shape] = {"image": image}
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []

    def channels(self, value: str) -> int:
        """How many channels a value has."""
        return self._shapes[value][0]

    def conv(
        self,
        value: str,
        name: str,
        channels: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        pads: int | tuple[int, int] | None = None,
        groups: int = 1,
        relu: bool = True,
    ) -> str:
        """A convolution with a bias, and a Relu behind it; `pads` at both ends of each axis, half of the kernel if
        None. `kernel` and `pads` are those of rows and of columns where they differ."""
        of, height, width = self._shapes[value]
        rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        above, beside = (rows // 2, columns // 2) if pads is None else pads if isinstance(pads, tuple) else (pads, pads)
        inputs = [value, *self._weighted(name, (channels, of // groups, rows, columns))]
        shape = (channels, (height + 2 * above - rows) // stride + 1, (width + 2 * beside - columns) // stride + 1)
        made = self._layer(
            "Conv", inputs, name, shape, kernel_shape=[rows, columns], strides=[stride, stride],
            pads=[above, beside, above, beside], group=groups,
        )  # fmt: skip
        return self.relu(made) if relu else made

    def transposed(self, value: str, name: str, channels: int, stride: int = 1) -> str:
        """A transposed convolution of 3 × 3 with a bias, of `stride` times as many rows and columns."""
        of, height, width = self._shapes[value]
        inputs = [value, *self._weighted(name, (of, channels, 3, 3), channels)]
        return self._layer(
            "ConvTranspose", inputs, name, (channels, stride * height, stride * width), kernel_shape=[3, 3],
            strides=[stride, stride], pads=[1, 1, 1, 1], output_padding=[stride - 1, stride - 1],
        )  # fmt: skip

    def resized(self, value: str, name: str, factor: int, mode: str = "nearest") -> str:
        """A map with `factor` times as many rows and columns."""
        channels, height, width = self._shapes[value]
        scales = numpy_helper.from_array(np.array([1, 1, factor, factor], np.float32), f"{name}.scales")
        self._weights.append(scales)
        shape = (channels, factor * height, factor * width)
        rule = {"nearest": {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}}.get(mode, {})
        return self._layer("Resize", [value, "", scales.name], name, shape, mode=mode, **rule)

    def folded(self, value: str, name: str, factor: int) -> str:
        """A map whose squares of `factor` × `factor` pixels become channels."""
        channels, height, width = self._shapes[value]
        shape = (channels * factor**2, height // factor, width // factor)
        return self._layer("SpaceToDepth", [value], name, shape, blocksize=factor)

    def unfolded(self, value: str, name: str, factor: int) -> str:
        """The way back."""
        channels, height, width = self._shapes[value]
        shape = (channels // factor**2, height * factor, width * factor)
        return self._layer("DepthToSpace", [value], name, shape, blocksize=factor)

    def max_pool(self, value: str, name: str, kernel: int, stride: int, ceil: bool = False) -> str:
        """A pool without pads, whose last window may reach beyond the map with `ceil`."""
        channels, *map_size = self._shapes[value]
        height, width = (((size - kernel + (stride - 1) * ceil) // stride) + 1 for size in map_size)
        sizes = {"kernel_shape": [kernel, kernel], "strides": [stride, stride], "ceil_mode": int(ceil)}
        return self._layer("MaxPool", [value], name, (channels, height, width), **sizes)

    def global_pool(self, value: str, name: str) -> str:
        """The mean of each channel."""
        return self._layer("GlobalAveragePool", [value], name, (self.channels(value), 1, 1))

    def normalised(self, value: str, name: str) -> str:
        """A response normalisation over five channels."""
        return self._layer("LRN", [value], name, self._shapes[value], size=5, alpha=1e-4, beta=0.75, bias=1.0)

    def sigmoid(self, value: str) -> str:
        """A Sigmoid."""
        return self._layer("Sigmoid", [value], f"{value}_sigmoid", self._shapes[value])

    def joined(self, values: list[str], name: str) -> str:
        """The channels of several values, one behind the other."""
        _, height, width = self._shapes[values[0]]
        return self._layer("Concat", values, name, (sum(map(self.channels, values)), height, width), axis=1)

    def added(self, one: str, other: str, name: str, relu: bool = True) -> str:
        """The sum of two values, and a Relu behind it."""
        made = self._layer("Add", [one, other], name, self._shapes[one])
        return self.relu(made) if relu else made

    def relu(self, value: str) -> str:
        """A Relu."""
        return self._layer("Relu", [value], f"{value}_relu", self._shapes[value])

    def dense(self, value: str, name: str, features: int, relu: bool = False) -> str:
        """A fully connected layer with a bias, and a Relu behind it where asked for."""
        size = math.prod(self._shapes[value])
        if self._shapes[value] != (size, 1, 1) or self._nodes[-1].op_type != "Gemm":
            flat = self._layer("Flatten", [value], f"{name}_flat", (size, 1, 1))
        else:
            flat = value
        inputs = [flat, *self._weighted(name, (features, size))]
        made = self._layer("Gemm", inputs, name, (features, 1, 1), transB=1)
        return self.relu(made) if relu else made

    def model(self, value: str) -> ModelProto:
        """The model whose output is `value`."""
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, *self._shapes["image"]])
        whole = self._shapes[value]
        dense = any(node.op_type in ("Flatten", "Gemm") for node in self._nodes)
        output = helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, *(whole[:1] if dense else whole)])
        graph = helper.make_graph(self._nodes, self._name, [image], [output], self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        onnx.checker.check_model(model)
        return model

    def _weighted(self, name: str, shape: tuple[int, ...], made: int | None = None) -> tuple[str, str]:
        """Weights and a bias, of a size that keeps activations behind a Relu at theirs. They make `made` channels, the
        first of `shape` if None."""
        weights = noise(f"{name}.weight", shape) * math.sqrt(2 / math.prod(shape[1:]))
        bias = noise(f"{name}.bias", (made or shape[0],)) / 4
        self._weights.append(numpy_helper.from_array(weights.astype("float32"), f"{name}.weight"))
        self._weights.append(numpy_helper.from_array(bias.astype("float32"), f"{name}.bias"))
        return f"{name}.weight", f"{name}.bias"

    def _layer(self, operator: str, inputs: list[str], name: str, shape: Shape, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self._shapes[name] = shape
        return name
