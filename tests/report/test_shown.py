"""Results as a program and a notebook show them: what the commands print, in a line, as text, object, table, picture."""

import json
import subprocess
import sys
import types
from dataclasses import replace

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import models
import tse_onnx
from tse_onnx.cli import main
from tse_onnx.shown import Shown


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    models.save("digits_se", folder / "digits.onnx")
    images, labels = models.digits()
    np.savez(folder / "digits.npz", input=images[:60], labels=labels[:60])
    return folder


@pytest.fixture(scope="module")
def results(folder):
    model, data = folder / "digits.onnx", tse_onnx.Data(folder / "digits.npz", limit=20)
    converted = tse_onnx.convert(model, folder / "tiled.onnx", machine="ideal")
    menu = tse_onnx.Menu(rows=(3,), squeezes=("running",))
    tuned = tse_onnx.tune(model, data, reduce=0.5, menu=menu, trials=1, points=0, cache=False)
    made = [
        converted, converted.report, converted.verification, tuned, tuned.sensitivity,
        tse_onnx.inspect(model), tse_onnx.stream(model), tse_onnx.profile(model),
        tse_onnx.cost(model, "squeezelerator8"), tse_onnx.check(model, "tflite-edgetpu"),
        tse_onnx.verify(model, folder / "tiled.onnx"), tse_onnx.evaluate(model, folder / "tiled.onnx", data=data),
        tse_onnx.correlate(model, data=data, plan=tse_onnx.Plan()),
        tse_onnx.quantise(model, data=data), tse_onnx.noise(model, data=data, rows=7),
        tse_onnx.fold(model, nodes=["/4/body/body.3/Conv"]),
        tse_onnx.diff(converted.to_dict(), tse_onnx.convert(model, rows=3, verify=False).to_dict()),
    ]  # fmt: skip
    return {type(result).__name__: result for result in made}


def command(*words):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def test_dir_is_what_is_public():
    assert dir(tse_onnx) == sorted(tse_onnx.__all__)
    code = "import tse_onnx; print('convert' in dir(tse_onnx))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"


def test_every_result_is_shown(results):
    """What the front door gives and has a report is among the results here; torch makes the two that are missing."""
    shown = {
        name for name in tse_onnx.__all__ if isinstance(it := getattr(tse_onnx, name), type) and issubclass(it, Shown)
    }
    assert shown == set(results) | {"DistilResult", "FinetuneResult"}


def test_a_result_is_one_line(results):
    for name, result in results.items():
        line = repr(result)
        assert line.startswith(f"<{name}: "), line
        assert len(line.splitlines()) == 1, line
        assert len(name) + 10 < len(line) < 200, line
        assert str(result) == line


def test_figures_are_in_the_line(results):
    assert "65.0 % less" in repr(results["ConvertResult"])
    assert f"{results['Dataflow'].totals['min'].elements:,} elements" in repr(results["Dataflow"])
    assert f"{results['Profile'].totals.macs:,} MACs" in repr(results["Profile"])
    assert f"{results['Cost'].cycles:,} cycles" in repr(results["Cost"])
    assert "agreement" in repr(results["Evaluation"])
    assert "1 convolution folded" in repr(results["FoldResult"])


@pytest.mark.parametrize(("name", "words"), [
    ("Inspection", ("inspect",)), ("Dataflow", ("stream", "--no-run")), ("Profile", ("profile",)),
    ("TargetCheck", ("check", "--target", "tflite-edgetpu")),
])  # fmt: skip
def test_the_summary_is_what_the_command_prints(results, folder, name, words):
    words = (words[0], folder / "digits.onnx", *words[1:])
    assert results[name].summary() == command(*words).strip("\n")
    assert results[name].to_dict() == json.loads(command(*words, "--format", "json"))


def test_a_report_is_that_of_the_file(folder):
    result = tse_onnx.convert(folder / "digits.onnx", report=folder / "report.json")
    assert json.loads(json.dumps(result.to_dict())) == json.loads((folder / "report.json").read_text())
    assert result.summary().startswith("Converted 4 blocks, buffer down by 65.0 %; written to memory.")


def test_every_object_is_json(results):
    for result in results.values():
        assert json.loads(json.dumps(result.to_dict(), allow_nan=False))


def test_rows_are_those_of_the_object(results, monkeypatch):
    frames = types.ModuleType("pandas")
    frames.json_normalize = list
    monkeypatch.setitem(sys.modules, "pandas", frames)
    rows = {name: result.to_frame() for name, result in results.items()}
    assert [row["name"] for row in rows["ConvertResult"]] == [one.block.name for one in results["ConvertResult"].blocks]
    assert [row["tensor"] for row in rows["Dataflow"]] == [one.tensor for one in results["Dataflow"].buffers]
    assert [row["name"] for row in rows["Profile"]] == [layer.name for layer in results["Profile"].layers]
    assert [row["cycles"] for row in rows["Cost"]] == [one.cycles for one in results["Cost"].layers.values()]
    assert [row["loss"] for row in rows["TuneResult"]] == [
        one.loss for block in results["Sensitivity"].blocks for one in block.candidates
    ]
    assert {row["block"] for row in rows["Correlations"]} == {one.block for one in results["Correlations"].blocks}
    assert [row["model"] for row in rows["Evaluation"]] == [results["Evaluation"].models[0].model]
    assert [row["name"] for row in rows["FoldResult"]] == ["/4/body/body.3/Conv"]
    assert [row["node"] for row in rows["Noise"]] == list(results["Noise"].ranking)
    assert rows["TargetCheck"] == []


def test_rows_are_a_frame(results):
    pandas = pytest.importorskip("pandas")
    for result in results.values():
        assert isinstance(result.to_frame(), pandas.DataFrame)
    assert results["Dataflow"].to_frame()["min.bytes"].sum() == results["Dataflow"].totals["min"].bytes


def test_without_pandas_it_is_named(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(tse_onnx.UsageError, match="pip install pandas"):
        results["Dataflow"].to_frame()


def test_a_notebook_shows_a_small_table(results):
    for name, result in results.items():
        html = result._repr_html_()
        assert html.startswith("<div>"), name
        assert html.count("<tr>") <= 13, name
        assert html.count("<td") == html.count("</td>")
    html = results["Profile"]._repr_html_()
    assert "more row" in html
    assert "<th" in html


def test_names_are_escaped_and_on_one_line(folder):
    model = onnx.load(folder / "digits.onnx")
    hostile = "<img src=x onerror=alert(1)>\n&"
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.name = hostile + node.name
    for result in (tse_onnx.profile(model), tse_onnx.cost(model, "squeezelerator8")):
        assert "<img" not in result._repr_html_()
        assert "&lt;img" in result._repr_html_()
        assert len(repr(result).splitlines()) == 1
    model.graph.name = hostile
    found = tse_onnx.profile(model)
    assert len(repr(found).splitlines()) == 1
    assert "<img" not in found._repr_html_()


def test_pictures_are_figures(results, folder):
    figure = pytest.importorskip("matplotlib.figure").Figure
    for name in ("ConvertResult", "Report", "TuneResult", "Correlations"):
        assert isinstance(results[name].plot(), figure), name
    for name in ("Verification", "Inspection", "Dataflow", "Profile", "Evaluation"):
        with pytest.raises(tse_onnx.UsageError, match=r"there is (no|a) picture"):
            results[name].plot()
    with pytest.raises(tse_onnx.UsageError, match="where a machine is named"):
        replace(results["Report"], comparison=None).plot()
