"""EfficientNet-B0's shape with activations that an NPU's compiler fuses, with and without squeeze-and-excite.

The batch norms are folded, as exporters fold them; the weights are noise, and the pads are TensorFlow's "same".
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Stage:
    """Blocks in a row, the first of them with the stride; the expansion is that of channels."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int


STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
RELU6, HARD_SWISH = "relu6", "hard-swish"


@dataclass
class _Draft:
    """The graph so far; each method adds a layer and returns the name of its result."""

    activation: str
    graph: onnx.GraphProto = field(default_factory=lambda: onnx.GraphProto(name="efficientnet"))
    extents: dict[str, int] = field(default_factory=dict)

    def noise(self, name: str, shape: tuple[int, ...], deviation: float) -> str:
        """An initializer that depends on its name alone, so that networks agree in the layers that they share."""
        random = np.random.default_rng(zlib.crc32(name.encode()))
        return self.constant(name, (deviation * random.standard_normal(shape)).astype(np.float32))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.graph.node.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self.extents[name] = self.extents[inputs[0]]
        return name

    def convolution(
        self, source: str, name: str, into: int, out: int, kernel: int = 1, stride: int = 1, group: int = 1
    ) -> str:
        shape = (out, into // group, kernel, kernel)
        weights = self.noise(f"{name}.weight", shape, math.sqrt(2 / math.prod(shape[1:])))
        inputs = [source, weights, self.noise(f"{name}.bias", (out,), 1 / 4)]
        before = self.extents[source]
        after = -(-before // stride)
        pad = max((after - 1) * stride + kernel - before, 0)
        pads = [pad // 2, pad // 2, pad - pad // 2, pad - pad // 2]
        kernels = {"kernel_shape": [kernel, kernel], "strides": [stride, stride]}
        self.node("Conv", inputs, name, pads=pads, group=group, **kernels)
        self.extents[name] = after
        return name

    def active(self, source: str) -> str:
        if self.activation == HARD_SWISH:
            return self.node("HardSwish", [source], f"{source}/act")
        return self.node("Clip", [source, "zero", "six"], f"{source}/act")

    def squeeze_and_excite(self, wide: str, at: str, channels: int, reduced: int) -> str:
        mean = self.node("GlobalAveragePool", [wide], f"{at}/se/mean")
        self.extents[mean] = 1
        low = self.node("Relu", [self.convolution(mean, f"{at}/se/reduce", channels, reduced)], f"{at}/se/act")
        gate = self.node("Sigmoid", [self.convolution(low, f"{at}/se/expand", reduced, channels)], f"{at}/se/gate")
        return self.node("Mul", [wide, gate], f"{at}/se")

    def block(self, source: str, at: str, into: int, stage: Stage, stride: int, se: bool) -> str:
        wide, channels, out = source, into * stage.expansion, stage.channels
        if stage.expansion > 1:
            wide = self.active(self.convolution(wide, f"{at}/expand", into, channels))
        wide = self.active(
            self.convolution(wide, f"{at}/depthwise", channels, channels, stage.kernel, stride, channels)
        )
        if se:
            wide = self.squeeze_and_excite(wide, at, channels, max(8, into // 4))
        narrow = self.convolution(wide, f"{at}/project", channels, out)
        return self.node("Add", [narrow, source], f"{at}/sum") if stride == 1 and into == out else narrow


def build(size: int, se: bool, activation: str = RELU6) -> onnx.ModelProto:
    """The network for images of `size` × `size`, batch 1; without `se` the scales are left out and nothing else."""
    draft = _Draft(activation)
    draft.graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size]))
    draft.extents["image"] = size
    if activation == RELU6:
        draft.constant("zero", np.array(0, np.float32))
        draft.constant("six", np.array(6, np.float32))
    value, into = draft.active(draft.convolution("image", "stem", 3, STEM, 3, 2)), STEM
    for number, stage in enumerate(STAGES):
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 else 1
            value = draft.block(value, f"stage{number}.{block}", into, stage, stride, se)
            into = stage.channels
    value = draft.active(draft.convolution(value, "head", into, HEAD))
    value = draft.node("GlobalAveragePool", [value], "pool")
    value = draft.node("Flatten", [value], "features")
    weights, biases = (
        draft.noise("classes.weight", (CLASSES, HEAD), 1 / 32),
        draft.noise("classes.bias", (CLASSES,), 1 / 4),
    )
    draft.node("Gemm", [value, weights, biases], "logits", transB=1)
    draft.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES]))
    model = helper.make_model(draft.graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)
