"""The pass of Olive, alone and in a run of its engine."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest

import models
import tse_onnx
from tests.adapters.examples import run_examples

os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"
pytest.importorskip("olive", exc_type=ImportError)

from olive.model import ONNXModelHandler
from olive.passes.olive_pass import create_pass_from_dict

from tse_onnx.adapters.olive import TiledSqueezeExcite, package_config

pytestmark = pytest.mark.slow


@pytest.fixture
def digits(tmp_path):
    models.save("digits_se", tmp_path / "digits.onnx")
    return tmp_path / "digits.onnx"


def passed(given, out, **config):
    """What the pass makes of a file: the path of its model."""
    made = create_pass_from_dict(TiledSqueezeExcite, config, disable_search=True)
    return made.run(ONNXModelHandler(str(given)), str(out)).model_path


@pytest.mark.long
def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_examples("Olive")
    (written,) = (tmp_path / "tiled").rglob("*.onnx")
    assert sum(block.tiled is not None for block in tse_onnx.find_blocks(written)) == 3
    assert tse_onnx.check(written, "rknn").passed


def test_it_writes_what_the_library_converts(digits, tmp_path):
    for config, options in (
        ({"rows": 8}, {"rows": 8}),
        ({"rows": 7, "divisors": True}, {"tiling": tse_onnx.Tiling(7, divisors=True)}),
        ({"rows": 8, "target": "tflite-edgetpu"}, {"rows": 8, "target": "tflite-edgetpu"}),
    ):
        wanted = tse_onnx.convert(digits, verify=False, **options).serialized()
        assert Path(passed(digits, tmp_path / "out", **config)).read_bytes() == wanted


def test_a_plan_takes_the_place_of_rows(digits, tmp_path):
    plan = tse_onnx.Plan(None, {"/3/body/body.6": tse_onnx.Tiling(4)})
    (tmp_path / "plan.toml").write_text(plan.dumps())
    path = passed(digits, tmp_path / "out", plan=str(tmp_path / "plan.toml"))
    assert [block.name for block in tse_onnx.find_blocks(path) if block.tiled] == ["/3/body/body.6"]


def test_weights_beside_the_file_come_along(digits, tmp_path):
    given = tmp_path / "given.onnx"
    onnx.save(onnx.load(digits), given, save_as_external_data=True, location="given.data", size_threshold=0)
    path = passed(given, tmp_path / "out", rows=8)
    onnx.checker.check_model(path)
    assert any(block.tiled for block in tse_onnx.find_blocks(path))


def test_what_fails_writes_nothing(digits, tmp_path):
    with pytest.raises(tse_onnx.CheckFailed):
        passed(digits, tmp_path / "out", rows=8, max_drift=1e-9)
    with pytest.raises(tse_onnx.UsageError):
        passed(digits, tmp_path / "out", rows=8, target="ascent")
    assert not list((tmp_path / "out").rglob("*"))


def test_the_package_configuration_is_olives_own_with_the_pass():
    made = package_config()
    assert made["passes"].pop("TiledSqueezeExcite")["module_path"] == "tse_onnx.adapters.olive.TiledSqueezeExcite"
    assert "OnnxFloatToFloat16" in made["passes"]
