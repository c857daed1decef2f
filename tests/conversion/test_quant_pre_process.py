"""What onnxruntime.quantization does before it quantises, on converted models with an open batch: it infers shapes
symbolically, by sympy; `make test-tools` installs that."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import tse_onnx
from tests.graphs import network, some_input
from tests.running import run
from tse_onnx import Tiling
from tse_onnx.passes.lowering import SPREADS

TILINGS = {
    "divides": Tiling(4),
    "ragged": Tiling(5),
    "columns": Tiling(None, 5),
    "patches": Tiling(5, 5),
    "running": Tiling(4, squeeze="running", step=2),
    "each row": Tiling(3, squeeze="running"),
    "upper": Tiling(5, squeeze="upper"),
}
STRIPS = ("divides", "ragged", "running", "each row", "upper")


def _preprocessed(model, folder, **options):
    pytest.importorskip("sympy", reason="make test-tools")
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx.save_model(model, folder / "model.onnx")
    quant_pre_process(folder / "model.onnx", folder / "preprocessed.onnx", **options)
    return onnx.load_model(folder / "preprocessed.onnx")


def _same(made, model):
    batch = some_input(model)
    np.testing.assert_allclose(run(made, batch), run(model, batch), rtol=1e-5, atol=1e-6)


def _spread(model):
    """The operators that spread gates."""
    return {node.op_type for node in model.graph.node if "/gate_" in node.name}


@pytest.mark.slow
@pytest.mark.parametrize("opset", [11, 13, 17, 20])
@pytest.mark.parametrize("name", STRIPS)
def test_strips_pass_as_they_are_written(tmp_path, monkeypatch, name, opset):
    monkeypatch.chdir(tmp_path)  # where it fails it leaves a file
    tiled = tse_onnx.convert(network(16, 8, opset=opset), tiling=TILINGS[name], verify=False).model
    _same(_preprocessed(tiled, tmp_path), tiled)


@pytest.mark.slow
@pytest.mark.parametrize("upsample", [way.name for way in SPREADS])
@pytest.mark.parametrize("name", TILINGS)
def test_a_resize_is_what_needs_a_batch_of_known_size_or_dimensions_that_may_be_merged(
    tmp_path, monkeypatch, name, upsample
):
    monkeypatch.chdir(tmp_path)
    model, options = network(16, 8), {"tiling": TILINGS[name], "upsample": upsample, "verify": False}
    tiled = tse_onnx.convert(model, **options).model
    if "Resize" in _spread(tiled):
        with pytest.raises(Exception, match="Incomplete symbolic shape inference"):
            _preprocessed(tiled, tmp_path)
        _same(_preprocessed(tiled, tmp_path, auto_merge=True), tiled)
    else:
        _same(_preprocessed(tiled, tmp_path), tiled)
    bound = tse_onnx.convert(model, input_shapes={"x": (2, 8, 16, 12)}, **options).model
    _same(_preprocessed(bound, tmp_path), bound)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [4, 5])
def test_open_sizes_pass_without_symbols(tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    model = network(16, 8)
    for axis, name in ((2, "H"), (3, "W")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    tiled = tse_onnx.convert(model, rows=rows, dynamic=True, verify=False).model
    with pytest.raises(Exception, match="Incomplete symbolic shape inference"):
        _preprocessed(tiled, tmp_path)
    made, batch = _preprocessed(tiled, tmp_path, skip_symbolic_shape=True), some_input(network(16, 8))
    np.testing.assert_allclose(run(made, batch), run(tiled, batch), rtol=1e-5, atol=1e-6)
