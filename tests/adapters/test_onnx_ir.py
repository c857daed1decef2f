"""The pass of onnx-ir: it converts as the library does, and says what speaks against it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import models
import tse_onnx
from tests.adapters.examples import run_examples
from tse_onnx.runtime.ort import ort

ir = pytest.importorskip("onnx_ir")

from tse_onnx.adapters.onnx_ir import TiledSqueezeExcite  # noqa: E402


@pytest.fixture(scope="module")
def digits():
    return models.load("digits_se")


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_examples("onnx-ir")


def test_it_computes_what_the_library_converts(digits):
    given = ir.from_proto(digits)
    before = ir.to_proto(given).SerializeToString(deterministic=True)
    result = TiledSqueezeExcite(rows=8)(given)
    assert result.modified
    assert ir.to_proto(given).SerializeToString(deterministic=True) == before
    wanted = tse_onnx.convert(digits, rows=8, verify=False).model
    made = ir.to_proto(result.model)
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in wanted.graph.node]
    feed = {"input": np.random.default_rng(0).random((2, 1, 32, 32), dtype=np.float32)}
    outputs = [ort.InferenceSession(model.SerializeToString()).run(None, feed) for model in (made, wanted)]
    np.testing.assert_array_equal(*outputs)


def test_a_target_and_a_plan_are_options(digits):
    plan = tse_onnx.Plan(tse_onnx.Tiling(8), target="tflite-edgetpu")
    made = ir.to_proto(TiledSqueezeExcite(plan=plan)(ir.from_proto(digits)).model)
    assert tse_onnx.check(made, "tflite-edgetpu").passed


def test_weights_beside_the_file_come_along(tmp_path):
    onnx.save(
        models.load("digits_se"), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )
    result = TiledSqueezeExcite(rows=8)(ir.load(tmp_path / "m.onnx"))
    assert result.modified
    onnx.checker.check_model(ir.to_proto(result.model))


def test_what_speaks_against_it(digits):
    with pytest.raises(ir.passes.PassError, match="at least one row") as error:
        TiledSqueezeExcite(rows=0)(ir.from_proto(digits))
    assert isinstance(error.value.__cause__, tse_onnx.UsageError)
    old = ir.from_proto(digits)
    old.graph.opset_imports[""] = 8
    with pytest.raises(ir.passes.PreconditionError, match="opset 8; tiles need opset 9"):
        TiledSqueezeExcite(rows=8)(old)


def test_a_pass_that_loses_a_tile_is_caught(digits):
    class Loses(TiledSqueezeExcite):
        def call(self, model):
            return ir.passes.PassResult(model.clone() if super().call(model) else model, True)

    with pytest.raises(ir.passes.PostconditionError, match="was tiled, and is not found so"):
        Loses(rows=8)(ir.from_proto(digits))
