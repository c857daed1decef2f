"""What simplifiers, optimisers, quantisers and converters make of the models of a folder.

Needs onnxruntime, onnxsim, onnxslim and onnxconverter-common.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers import float16 as ort_float16

from models.zoo.facts import load, save

# The exports that go through every tool: each exporter, each kind of block, both layouts.
CHOSEN = (
    "efficientnet_b0.torchscript.17.1", "efficientnet_b0.dynamo.18.n", "mobilenetv3_small_100.dynamo.*",
    "mobilenetv3_large_100.torchscript.*", "mobilenet_v3_small_tv.*", "seresnet18.*", "legacy_seresnet18.*",
    "regnety_002.*", "ghostnet_100.torchscript.*", "lcnet_100.dynamo.*", "ese_vovnet19b_dw.*", "ecaresnet26t.*",
    "rexnet_100.torchscript.*", "eca_nfnet_l0.dynamo.*", "efficientvit_m0.torchscript.*", "mixnet_s.dynamo.*",
    "keras_*", "paddle_*", "flax_*",
)  # fmt: skip


@dataclass(frozen=True)
class Tool:
    """A way to make a model of another. `convertible` is False where what it makes has no exact tiles."""

    name: str
    run: Callable[[ModelProto, Path], ModelProto]
    convertible: bool = True


def _onnxsim(model: ModelProto, folder: Path) -> ModelProto:
    import onnxsim

    simplified, _ = onnxsim.simplify(model)
    return simplified


def _onnxslim(model: ModelProto, folder: Path) -> ModelProto:
    import onnxslim

    return onnxslim.slim(model)


def _optimised(level: ort.GraphOptimizationLevel) -> Callable[[ModelProto, Path], ModelProto]:
    def run(model: ModelProto, folder: Path) -> ModelProto:
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(folder / "optimised.onnx")
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load_model(folder / "optimised.onnx")

    return run


class _Noise(CalibrationDataReader):  # type: ignore[misc]
    """A few random images to calibrate on."""

    def __init__(self, model: ModelProto) -> None:
        weights = {tensor.name for tensor in model.graph.initializer}
        (given,) = (value for value in model.graph.input if value.name not in weights)
        shape = [dim.dim_value or 1 for dim in given.type.tensor_type.shape.dim]
        generator = np.random.default_rng(0)
        self._feeds = iter([{given.name: generator.standard_normal(shape, np.float32)} for _ in range(3)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _static(
    form: QuantFormat, per_channel: bool = False, **types: QuantType
) -> Callable[[ModelProto, Path], ModelProto]:
    def run(model: ModelProto, folder: Path) -> ModelProto:
        quantize_static(
            _preprocessed(model, folder), str(folder / "quantised.onnx"), _Noise(model),
            quant_format=form, per_channel=per_channel, **types,
        )  # fmt: skip
        return onnx.load_model(folder / "quantised.onnx")

    return run


def _dynamic(model: ModelProto, folder: Path) -> ModelProto:
    quantize_dynamic(_preprocessed(model, folder), str(folder / "quantised.onnx"), weight_type=QuantType.QUInt8)
    return onnx.load_model(folder / "quantised.onnx")


def _preprocessed(model: ModelProto, folder: Path) -> str:
    onnx.save_model(model, folder / "source.onnx")
    quant_pre_process(str(folder / "source.onnx"), str(folder / "preprocessed.onnx"), skip_symbolic_shape=True)
    return str(folder / "preprocessed.onnx")


def _float16(keep_io_types: bool) -> Callable[[ModelProto, Path], ModelProto]:
    def run(model: ModelProto, folder: Path) -> ModelProto:
        return ort_float16.convert_float_to_float16(model, keep_io_types=keep_io_types)

    return run


def _common_float16(model: ModelProto, folder: Path) -> ModelProto:
    from onnxconverter_common import float16

    return float16.convert_float_to_float16(model, keep_io_types=True)


def _to_opset(*opsets: int) -> Callable[[ModelProto, Path], ModelProto]:
    def run(model: ModelProto, folder: Path) -> ModelProto:
        for opset in opsets:
            model = onnx.version_converter.convert_version(model, opset)
        return model

    return run


_LEVELS = ort.GraphOptimizationLevel
TOOLS = (
    Tool("onnxsim", _onnxsim),
    Tool("onnxslim", _onnxslim),
    Tool("ort basic", _optimised(_LEVELS.ORT_ENABLE_BASIC)),
    Tool("ort extended", _optimised(_LEVELS.ORT_ENABLE_EXTENDED)),
    Tool("qdq", _static(QuantFormat.QDQ)),
    Tool("qdq per channel int8", _static(QuantFormat.QDQ, True, weight_type=QuantType.QInt8, activation_type=QuantType.QInt8)),
    Tool("qoperator", _static(QuantFormat.QOperator)),
    Tool("dynamic quantisation", _dynamic, convertible=False),
    Tool("fp16", _float16(True)),
    Tool("fp16 whole", _float16(False)),
    Tool("fp16 onnxconverter", _common_float16),
    Tool("opset 11", _to_opset(11)),
    Tool("opset 13", _to_opset(13)),
    Tool("opset 18", _to_opset(18)),
    Tool("opset 21", _to_opset(21)),
    Tool("opset 23", _to_opset(23)),
    Tool("opset 21 and back", _to_opset(21, 18)),
    Tool("functions", lambda model, folder: _outlined(model)),
)  # fmt: skip


def _outlined(model: ModelProto) -> ModelProto:
    from models.zoo.outline import outlined

    return outlined(model)


def make(folder: Path, names: Sequence[str]) -> None:
    """Run every tool on the chosen exports, or on the named ones."""
    for path, facts in list(load(folder)):
        if facts.tool or not any(Path(facts.name).match(pattern) for pattern in names or CHOSEN):
            continue
        for tool in TOOLS:
            model = onnx.load_model(path)
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    made = tool.run(model, Path(scratch))
                    options = ort.SessionOptions()
                    options.graph_optimization_level = _LEVELS.ORT_DISABLE_ALL
                    ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
                except Exception as error:
                    text = str(error).strip().splitlines()
                    print(f"{facts.name}: {tool.name} fails: {type(error).__name__}: {text[0][:200] if text else ''}")
                    continue
            opset = next(entry.version for entry in made.opset_import if entry.domain in ("", "ai.onnx"))
            save(made, facts.derived(tool.name, opset, tool.convertible), folder)


def versions() -> dict[str, str]:
    """The packages of this step, with their versions."""
    return {name: version(name) for name in ("onnx", "onnxruntime", "onnxsim", "onnxslim", "onnxconverter-common")}
