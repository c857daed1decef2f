"""`tse-onnx stream`, and what the dataflow model adds to `report` and `convert`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import models
import tse_onnx
from tests.streams import CONV3, SE, SE_WEIGHTS, stream_model
from tse_onnx.cli import main
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.streaming.execute.certificate import certify, streamer_of
from tse_onnx.streaming.network.read import network_of

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "digits.onnx"
    models.save("digits_se", path)
    return path


def run(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def test_stream_shows_figures_reasons_and_proofs(digits):
    text = run("stream", digits)
    assert text.count("Proved: ") == 4
    assert "which depends on row 31 of this tensor" in text
    assert "The first row of logits leaves after 32 of 32 input rows." in text


def test_stream_writes_json_that_fits_its_schema(digits):
    found = json.loads(run("stream", digits, "--format", "json"))
    jsonschema.validate(found, json.loads((DOCS / "stream.schema.json").read_text()))
    assert found["certificate"]["passed"]
    held = sum(tensor["min"]["elements"] for tensor in found["dataflow"]["tensors"])
    assert held == found["dataflow"]["totals"]["min"]["elements"]


def test_report_adds_the_whole_network(digits, tmp_path):
    table, picture = tmp_path / "tensors.csv", tmp_path / "picture.svg"
    found = json.loads(run("report", digits, "--format", "json", "--csv", table, "--plot", picture, "--bits", "8"))
    jsonschema.validate(found, json.loads((DOCS / "report.schema.json").read_text()))
    before, after = found["dataflow"]["before"], found["dataflow"]["after"]
    assert before["totals"]["gate"]["elements"] == found["totals"]["buffer_before"]
    assert after["totals"]["gate"]["elements"] == found["totals"]["buffer_after"]
    assert after["totals"]["min"]["bytes"] < before["totals"]["min"]["bytes"] == before["totals"]["min"]["elements"]
    lines = list(csv.DictReader(io.StringIO(table.read_text())))
    assert (
        sum(int(line["min_bytes"]) for line in lines if line["network"] == "before")
        == (before["totals"]["min"]["bytes"])
    )
    assert picture.read_text().startswith("<?xml")
    assert "paper's figure" in run("report", digits)
    assert "whole network" not in run("report", digits, "--no-dataflow")


def test_convert_certifies_on_demand(digits, tmp_path):
    report = tmp_path / "report.json"
    text = run("convert", digits, tmp_path / "tiled.onnx", "--certify", "--report", report)
    assert text.count("Proved: ") == 4
    found = json.loads(report.read_text())
    jsonschema.validate(found, json.loads((DOCS / "report.schema.json").read_text()))
    assert found["certificate"]["passed"]


def test_options_change_the_machine(digits):
    plain = json.loads(run("stream", digits, "--no-run", "--format", "json"))["dataflow"]
    latency = ("--latency", "3", "--latency", "/0/Conv=9", "--back-to-back")
    slow = json.loads(run("stream", digits, "--no-run", *latency, "--format", "json"))["dataflow"]
    assert slow["machine"]["latencies"] == {"/0/Conv": 9.0}
    assert slow["totals"]["no_stall"]["elements"] > plain["totals"]["no_stall"]["elements"]
    assert slow["totals"]["min"] == plain["totals"]["min"]
    pixels = json.loads(run("stream", digits, "--no-run", "--grain", "pixel", "--format", "json"))["dataflow"]
    assert pixels["totals"]["min"]["elements"] < plain["totals"]["min"]["elements"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--grain", "pixel"), "add --no-run"),
        (("--latency", "fast", "--no-run"), "is not [NODE=]T"),
        (("--no-run", "--plot", "picture.pdf"), "an .svg or a .png"),
        (("--input-shape", "nobody:1,3,8,8"), "no input of the model"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(digits, words, text):
    assert text in run("stream", digits, *words, code=2)


def test_bad_models_are_one_line_and_exit_2(tmp_path):
    path = tmp_path / "open.onnx"
    onnx.save(stream_model("y = Relu(x)", "1, 4, H, 8"), path)
    text = run("stream", path, code=2)
    assert text.count("\n") == 1
    assert "--input-shape x:1,4,224,8" in text
    assert "Proved" in run("stream", path, "--input-shape", "1,4,9,8")


def test_data_of_the_user(digits, tmp_path):
    np.save(tmp_path / "digits.npy", models.digits()[0][:2])
    assert "Proved" in run("stream", digits, "--data", tmp_path / "digits.npy")


def test_too_little_room_halts_and_says_who_waits():
    model = stream_model(f"a = {CONV3}(x, w)\n y = Add(a, x)", (1, 4, 8, 8), {"w": (4, 4, 3, 3)})
    network = network_of(model)
    streamer = streamer_of(model, network)
    room = {("x", None): 2, ("a", None): 1, ("y", None): 1}
    feed = {"x": np.ones((1, 4, 8, 8), np.float32)}
    halted = streamer.run({**room, ("x", None): 1}, feed)
    assert halted.halt is not None
    assert "Conv 'a' waits for row 1 of 'x'" in halted.halt.waits
    assert streamer.run({**room, ("x", None): 3}, feed).halt is None


def test_a_wrong_model_fails_the_certificate(monkeypatch):
    """The executor does not believe the model: with a need row left out, each proof notices."""
    from tse_onnx.streaming.network.needs import rows, windows

    def short(size, count, kernel, stride, dilation, pad):
        return rows.Need(size, tuple(each[:-1] for each in right(size, count, kernel, stride, dilation, pad).rows))

    right = windows.window
    model = stream_model(f"a = {CONV3}(x, w)\n y = {CONV3}(a, w)", (1, 4, 8, 8), {"w": (4, 4, 3, 3)})
    monkeypatch.setattr(windows, "window", short)
    network = network_of(model)
    found = certify(model, network, {"x": np.ones((1, 4, 8, 8), np.float32)})
    assert [proof.name for proof in found.proofs if not proof.passed] == ["completes", "peaks", "tight", "equal"]
    assert [proof.name for proof in found.proofs if not proof.decided] == ["tight", "equal"]
    assert not found.deadlocks
    with pytest.raises(tse_onnx.CheckFailed, match="halts in the predicted capacities"):
        found.require()


@pytest.mark.parametrize("stale", [(), ("batch", 7)])
def test_what_a_model_states_of_its_outputs_may_be_stale(tmp_path, stale):
    """onnxruntime runs such models, and they convert; the rows go by what onnx infers."""
    model = models.load("digits_se")
    path, figures = tmp_path / "stale.onnx", dataflow_totals(model, tmp_path / "true.onnx")
    shape = model.graph.output[0].type.tensor_type.shape
    shape.Clear()
    for size in stale:
        shape.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})
    assert dataflow_totals(model, path) == figures
    assert "Proved" in run("stream", path)


def dataflow_totals(model, path):
    onnx.save(model, path)
    return json.loads(run("stream", path, "--no-run", "--format", "json"))["dataflow"]["totals"]


def test_a_model_whose_blocks_are_cut_along_columns_streams_so(tmp_path):
    """The figures are those that the report gave of the conversion, and those of the model on its side by rows."""
    path, turned, tiled = (tmp_path / f"{name}.onnx" for name in ("model", "turned", "tiled"))
    body = f"c = {CONV3}(x, w)\n{SE.format('c')}\ny = Relu(s)"
    for file, shape in ((path, (1, 4, 9, 15)), (turned, (1, 4, 15, 9))):
        onnx.save(stream_model(body, shape, {"w": (4, 4, 3, 3), **SE_WEIGHTS}), file)
    report = json.loads(run("report", path, "--axis", "1", "--rows", "3", "--format", "json"))
    text = run("convert", path, tiled, "--axis", "1", "--rows", "3", "--certify")
    assert text.count("Proved: ") == 4
    assert "one column less of any of the" in text
    found = json.loads(run("stream", tiled, "--axis", "1", "--format", "json"))
    assert found["certificate"]["axis"] == 1
    assert found["certificate"]["passed"]
    jsonschema.validate(found, json.loads((DOCS / "stream.schema.json").read_text()))
    assert found["axis"] == report["dataflow"]["axis"] == 1
    assert found["dataflow"]["totals"] == report["dataflow"]["after"]["totals"]
    upright = json.loads(run("report", turned, "--rows", "3", "--format", "json"))["dataflow"]["after"]
    assert found["dataflow"]["totals"]["min"] == upright["totals"]["min"]
    assert found["dataflow"]["height"] == upright["height"] == 15
    with pytest.raises(tse_onnx.UsageError, match="by rows, or 1, by columns, not 2"):
        tse_onnx.stream(tiled, axis=2)
    least = tse_onnx.stream(tiled, axis=1).totals["min"].elements
    assert least < tse_onnx.stream(tiled).totals["min"].elements

    text = run("stream", tiled)
    assert text.count("Proved: ") == 4
    assert "cut along columns, 'd': --axis 1 streams the maps so." in text
    text = run("stream", tiled, "--axis", "1")
    assert "15 columns come in." in text
    assert "without bounds every one of" in text
    assert "peaks at the predicted column." in text
    assert "Note" not in text
    edges = json.loads(run("stream", tiled, "--axis", "1", "--export", "json"))
    assert sum(edge["elements"] for edge in edges) == least


def test_a_plan_that_cuts_both_ways_is_run_by_rows_and_says_so(tmp_path):
    path, plan = tmp_path / "model.onnx", tmp_path / "plan.toml"
    models.save("digits_se", path)
    plan.write_text(tse_onnx.Plan(Tiling(2), {"/3/body/body.6": Tiling(2, axis=1)}).dumps())
    text = run("convert", path, tmp_path / "tiled.onnx", "--plan", plan, "--certify")
    assert "some blocks are cut along columns, others along rows; this run went by rows." in text
    assert "one row less" in text
