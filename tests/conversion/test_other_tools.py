"""What other people's tools leave of a converted model, and the way back from there; `make test-tools` installs them all."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime as ort
import pytest

import models
import tse_onnx
from tests.command import tse_onnx as command
from tests.running import session
from tse_onnx import Tiling

_TOLERANCE = {"half": 5e-3}  # of the largest output; others compute the same in another order at most


def _by_onnxruntime(model, level):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = level
    path = "optimised.onnx"
    options.optimized_model_filepath = path
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load_model(path)


def _simplified(model):
    simplified, sound = importlib.import_module("onnxsim").simplify(model)
    assert sound
    return simplified


def _half(module):
    return lambda model: importlib.import_module(module).convert_float_to_float16(model)


TOOLS = {
    "onnx.shape_inference": onnx.shape_inference.infer_shapes,
    "onnx.version_converter": lambda model: onnx.version_converter.convert_version(model, model.opset_import[0].version + 1),
    "onnxruntime, basic": lambda model: _by_onnxruntime(model, ort.GraphOptimizationLevel.ORT_ENABLE_BASIC),
    "onnxruntime, extended": lambda model: _by_onnxruntime(model, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED),
    "half by onnxruntime.transformers": _half("onnxruntime.transformers.float16"),
    "half by onnxconverter_common": _half("onnxconverter_common.float16"),
    "onnxsim": _simplified,
    "onnxslim": lambda model: importlib.import_module("onnxslim").slim(model),
    "onnxoptimizer": lambda model: importlib.import_module("onnxoptimizer").optimize(model),
}  # fmt: skip


def treated(tool, model):
    """What a tool makes of a model; skipped where it is not installed."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return TOOLS[tool](model)
        except ModuleNotFoundError as error:
            pytest.skip(f"{error.name} is not installed: make test-tools")


def _outputs(model):
    opened = session(model)
    (given,) = opened.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in given.shape]
    x = np.random.default_rng(0).standard_normal(shape)
    return opened.run(None, {given.name: x.astype(np.float16 if "float16" in given.type else np.float32)})[0]


@pytest.mark.slow
@pytest.mark.parametrize("tiling", [Tiling(3), Tiling(4, squeeze="running", step=2), Tiling(3, 2)], ids=str)
@pytest.mark.parametrize("tool", TOOLS)
def test_a_conversion_is_undone_after(tmp_path, monkeypatch, tool, tiling):
    _check(tmp_path, monkeypatch, "digits_se", tool, tiling)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_b0_dynamo_18", "mobilenetv3_large_torchscript_11"])
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.slow
def test_a_conversion_of_a_larger_model_is_undone_after(tmp_path, monkeypatch, tool, name):
    _check(tmp_path, monkeypatch, name, tool, Tiling(3))


def _check(tmp_path, monkeypatch, name, tool, tiling):
    """The blocks are found as tiled, left alone, and put back; then the model computes what the original does."""
    monkeypatch.chdir(tmp_path)
    model = models.load(name)
    converted = tse_onnx.convert(model, tiling=tiling, verify=False)
    count = converted.report.buffering.totals.converted
    left = treated(tool, converted.model)
    assert sum(block.status == "tiled" for block in tse_onnx.find_blocks(left)) == count
    assert tse_onnx.convert(left, rows=2, verify=False).serialized() == left.SerializeToString()
    (tmp_path / "left.onnx").write_bytes(left.SerializeToString())
    said = command("restore", tmp_path / "left.onnx", tmp_path / "back.onnx")
    assert said.returncode == 0, said.stderr
    assert f"Restored {count} blocks".encode() in said.stdout
    assert b"Another tool has changed the model" in said.stdout
    back = onnx.load_model(tmp_path / "back.onnx")
    assert sum(block.status == "tiled" for block in tse_onnx.find_blocks(back)) == 0
    found, wanted = _outputs(back).astype(np.float64), _outputs(model)
    tolerance = _TOLERANCE.get(tool.partition(" ")[0], 1e-5)
    assert np.max(np.abs(found - wanted)) <= tolerance * np.max(np.abs(wanted))
    assert np.max(np.abs(_outputs(left).astype(np.float64) - wanted)) > tolerance * np.max(
        np.abs(wanted)
    )  # it was tiled
