"""The networks that tools are tried with: two small squeeze-and-excite blocks in every setting that changes the graph.

Pixels grow from the first row to the last and from column to column, and gates move with what is below them: what
ignores the tiles, or cuts them elsewhere, is far off.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

HEIGHT, WIDTH = 32, 48
DIVIDING, RAGGED = 4, 5  # the maps are 16 × 24 and 8 × 12


@dataclass(frozen=True)
class Setting:
    """One way to write the network: `dtype` of the whole, `dynamic` names of dimensions. `least` is the SQNR in dB from
    which on outputs count as equal."""

    name: str
    least: float
    opset: int = 17
    half: bool = False
    quantised: bool = False
    batch: bool = False
    size: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the network is run on."""
        return (3 if self.batch else 1, 3, *((48, 48) if self.size else (HEIGHT, WIDTH)))


# Single precision loses a few bits to the order of sums, half precision to every operator, int8 a step here and there.
SETTINGS = (
    Setting("float32", 100),
    Setting("opset 11", 100, opset=11),
    Setting("opset 20", 100, opset=20),
    Setting("dynamic batch", 100, batch=True),
    Setting("dynamic size", 100, size=True),
    Setting("float16", 45, half=True),
    Setting("QDQ", 30, quantised=True),
)


def network(setting: Setting) -> ModelProto:
    """The network in a setting."""
    draft = _Draft(np.float16 if setting.half else np.float32, setting.opset)
    value = draft.layer("stem", "x", 3, 4, kernel=2, stride=2)
    wide = draft.act("expand1_relu", draft.layer("expand1", value, 4, 12))
    wide = draft.act("depthwise1_relu", draft.layer("depthwise1", wide, 12, 12, kernel=3, group=12))
    draft.node("se1_squeeze", "GlobalAveragePool", [wide])
    draft.node("se1_scale", "Mul", [wide, draft.excite("se1", "se1_squeeze", 12)])
    value = draft.node("sum1", "Add", [draft.layer("project1", "se1_scale", 12, 4), value])
    wide = draft.act("expand2_relu", draft.layer("expand2", value, 4, 16))
    wide = draft.act("depthwise2_relu", draft.layer("depthwise2", wide, 16, 16, kernel=2, stride=2, group=16))
    draft.mean("se2_squeeze", wide)
    draft.node("se2_scale", "Mul", [wide, draft.excite("se2", "se2_squeeze", 16)])
    draft.layer("y", "se2_scale", 16, 6)
    batch, (height, width) = "N" if setting.batch else 1, (HEIGHT, WIDTH)
    inside = [batch, 3, *(("H", "W") if setting.size else (height, width))]
    outside = [batch, 6, *(("h", "w") if setting.size else (height // 4, width // 4))]
    kind = TensorProto.FLOAT16 if setting.half else TensorProto.FLOAT
    graph = helper.make_graph(
        draft.nodes, "network",
        [helper.make_tensor_value_info("x", kind, inside)], [helper.make_tensor_value_info("y", kind, outside)],
        draft.weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", setting.opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return _quantised(model) if setting.quantised else model


def feeds(model: ModelProto, setting: Setting, seed: int = 0) -> dict[str, np.ndarray]:
    """What a model is run on: an image of the setting's shape, and gates where it takes them from outside."""
    random = np.random.default_rng(seed)
    made = {}
    for value in model.graph.input:
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if value.name == "x":
            made["x"] = _image(random, setting.shape).astype(dtype)
        else:
            sizes = [size.dim_value or setting.shape[0] for size in value.type.tensor_type.shape.dim]
            made[value.name] = random.uniform(0.2, 0.9, sizes).astype(dtype)
    return made


def _image(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = np.linspace(0, 2, shape[2])[:, None], np.linspace(0, 1, shape[3])
    return random.standard_normal(shape) * (0.3 + rows * rows / 2 + columns) + rows - columns


class _Draft:
    """Nodes and weights; every method returns the name of the value that it adds."""

    def __init__(self, dtype: type, opset: int) -> None:
        self.dtype, self.opset = dtype, opset
        self.random = np.random.default_rng(7)
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def node(self, name: str, operator: str, inputs: list[str], **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def weight(self, name: str, values: np.ndarray) -> str:
        kept = values if values.dtype == np.int64 else values.astype(self.dtype)
        self.weights.append(numpy_helper.from_array(kept, name))
        return name

    def layer(
        self, name: str, source: str, into: int, out: int, kernel: int = 1, stride: int = 1, group: int = 1,
        gain: float = 1.4, shift: float = 0.1,
    ) -> str:  # fmt: skip
        fan = into // group * kernel * kernel
        shape = (out, into // group, kernel, kernel)
        weights = self.weight(f"{name}_weight", self.random.standard_normal(shape) * gain / fan**0.5)
        bias = self.weight(f"{name}_bias", self.random.standard_normal(out) * shift)
        return self.node(
            name, "Conv", [source, weights, bias], kernel_shape=[kernel] * 2, strides=[stride] * 2,
            pads=[kernel // 2 if stride == 1 else 0] * 4, dilations=[1, 1], group=group,
        )  # fmt: skip

    def act(self, name: str, source: str) -> str:
        return self.node(name, "Relu", [source])

    def mean(self, name: str, source: str) -> str:
        if self.opset < 18:
            return self.node(name, "ReduceMean", [source], axes=[2, 3], keepdims=1)
        return self.node(name, "ReduceMean", [source, self.weight("axes", np.array([2, 3], np.int64))], keepdims=1)

    def excite(self, name: str, source: str, channels: int) -> str:
        low = self.act(f"{name}_relu", self.layer(f"{name}_reduce", source, channels, 4, gain=2.0, shift=0.5))
        return self.node(f"{name}_gate", "Sigmoid", [self.layer(f"{name}_expand", low, 4, channels, gain=4.0)])


def _quantised(model: ModelProto) -> ModelProto:
    """As onnxruntime's quantiser writes it, calibrated on other images."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest: Iterator[dict[str, np.ndarray]] = (feeds(model, SETTINGS[0], seed) for seed in range(1, 5))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rest, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, quantised = Path(folder, "plain.onnx"), Path(folder, "quantised.onnx")
        onnx.save_model(model, plain)
        quantize_static(
            plain, quantised, Images(), quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return onnx.load_model(quantised)
