"""noise as a command: what scripts rely on, what people read, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as run
from tests.graphs import text_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    models.save("digits_se", folder / "digits.onnx")
    images, labels = models.digits()
    np.savez(folder / "digits.npz", input=images[:60], labels=labels[:60])
    tse_onnx.convert(folder / "digits.onnx", folder / "tiled.onnx", rows=7, verify=False)
    data = tse_onnx.Data(folder / "digits.npz", limit=30)
    tse_onnx.quantise(folder / "digits.onnx", folder / "eight.onnx", data=data)
    tse_onnx.quantise(folder / "tiled.onnx", folder / "both.onnx", data=data)
    (folder / "bad.onnx").write_bytes(b"garbage")
    np.save(folder / "other.npy", np.zeros((4, 3, 8, 8), np.float32))
    onnx.save(text_model("y = Relu(x)"), folder / "none.onnx")
    np.save(folder / "none.npy", np.ones((4, 8, 16, 12), np.float32))
    old = models.load("digits_se")
    old.opset_import[0].version = 12
    onnx.save(old, folder / "old.onnx")
    other = models.load("digits_se")
    for tensor in other.graph.initializer:
        if len(tensor.dims) == 4:
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    tse_onnx.quantise(other, folder / "other.onnx", data=data)
    return folder


WORDS = ("noise", "digits.onnx", "--data", "digits.npz", "--limit", "20")


def test_the_contract_of_scripts(folder):
    found = validated(run(*WORDS, "--rows", "7", "--format", "json", cwd=folder).stdout, "noise")
    layers = found["layers"]
    assert len(layers) == 22
    assert all({"node", "sqnr", "share"} <= set(layer) for layer in layers)
    assert [one["sqnr"] for one in layers] == sorted(one["sqnr"] for one in layers)  # the worst first
    assert [one["share"] for one in layers] == pytest.approx([one["noise"] / found["joint"]["noise"] for one in layers])
    assert found["sum_to_joint"] == pytest.approx(sum(one["share"] for one in layers))
    assert found["joint"]["scores"][0]["samples"] == 20
    assert found["joint"]["noise"] == pytest.approx(10 ** (-found["joint"]["sqnr"] / 10))
    assert len(found["blocks"]) == 4
    result = tse_onnx.noise(folder / "digits.onnx", data=tse_onnx.Data(folder / "digits.npz", limit=20), rows=7)
    assert json.loads(json.dumps(result.to_dict())) | {"model": "digits.onnx"} == found


def test_tables_say_what_the_object_says(folder):
    text = run(*WORDS, "--rows", "7", "--top", "3", cwd=folder).stdout.decode()
    found = json.loads(run(*WORDS, "--rows", "7", "--format", "json", cwd=folder).stdout)
    worst = found["layers"][0]
    assert f"Worst layer: {worst['node']}, SQNR {worst['sqnr']:.1f} dB" in text
    assert f"{100 * worst['share']:.1f} % of the joint noise" in text
    assert "19 layers that lose less are not shown." in text
    for name in ("all layers in eight bits", "all blocks tiled", "tiled, in eight bits"):
        assert name in text
    brief = run(*WORDS, "--rows", "7", "-q", cwd=folder).stdout.decode()
    assert text.startswith(brief)
    assert len(brief.splitlines()) == 3
    assert "tiled" not in run(*WORDS, cwd=folder).stdout.decode().lower()  # nobody asked for tiles


def test_files_are_written(folder):
    made = run(*WORDS, "--rows", "7", "--csv", "n.csv", "--plot", "n.svg", "--html", "n.html", cwd=folder)
    assert made.returncode == 0, made.stderr
    lines = (folder / "n.csv").read_text().splitlines()
    assert lines[0] == "node,operator,sqnr,share,of_sum,weights,activations,local_sqnr"
    assert len(lines) == 23
    picture = (folder / "n.svg").read_text()
    for node in (line.split(",")[0] for line in lines[1:]):
        assert node[-30:] in picture
    document = (folder / "n.html").read_text()
    assert "Worst layer" in document
    assert lines[1].split(",")[0] in document


def test_a_picture_is_not_pressed_together_by_what_rounding_in_float_loses(folder):
    data = tse_onnx.Data(folder / "digits.npz", limit=20)
    found = tse_onnx.noise(folder / "digits.onnx", data=data)
    tiny = replace(found.layers[-1], activations=replace(found.layers[-1].quantised, outputs=(1e-16,)))
    (axis,) = replace(found, layers=(*found.layers[:-1], tiny)).plot().axes
    assert axis.get_xlim()[0] == 1e-8
    weights, activations = axis.collections
    assert (len(weights.get_offsets()), len(activations.get_offsets())) == (22, 21)


@pytest.mark.parametrize("name", ["eight", "tiled", "both"])
def test_quantisers_and_tiles_are_those_of_another_model(folder, name):
    found = json.loads(run(*WORDS[:2], f"{name}.onnx", *WORDS[2:], "--format", "json", cwd=folder).stdout)
    assert found["quantised_by"].startswith("convolutions by percentile" if name == "tiled" else f"{name}.onnx")
    assert (found["both"] is not None) == (name != "eight")
    if name == "eight":
        assert all(one["tiles"] is None and one["both"] is None for one in found["blocks"])


def test_a_map_made_twice_loses_nothing(folder):
    """recompute changes no number: what is left is eight bits, as without a tiling."""
    plain = json.loads(run(*WORDS, "--format", "json", cwd=folder).stdout)
    twice = json.loads(run(*WORDS, "--squeeze", "recompute", "--format", "json", cwd=folder).stdout)
    assert twice["tiles"] is twice["both"] is None
    assert [twice["joint"], twice["layers"]] == [plain["joint"], plain["layers"]]
    assert [(one["tiles"], one["quantised"]) for one in twice["blocks"]] == [
        (None, one["quantised"]) for one in plain["blocks"]
    ]
    assert {one["tiling"] for one in twice["blocks"]} > {None, "a map that is made twice, from 'input'"}


def test_what_meets_in_one_node_is_said(folder):
    text = run(*WORDS, "--operators", "all", "--rows", "7", "-q", cwd=folder).stdout.decode()
    assert "Tiles alone: agreement" in text
    assert "Both meet in one node: quantise the tiled model" in text


@pytest.mark.parametrize(("words", "said"), [
    (("bad.onnx", "--data", "digits.npz"), "not an ONNX model"),
    (("digits.onnx",), "Missing option '--data'"),
    (("eight.onnx", "--data", "digits.npz"), "quantised already"),
    (("none.onnx", "--data", "none.npy"), "no convolution to quantise"),
    (("digits.onnx", "--data", "other.npy"), "the model takes [batch, 1, 32, 32]"),
    (("digits.onnx", "--data", "digits.npz", "--limit", "1"), "one sample"),
    (("digits.onnx", "eight.onnx", "--data", "digits.npz", "--operators", "all"), "--operators says how to quantise"),
    (("digits.onnx", "tiled.onnx", "--data", "digits.npz", "--rows", "3"), "a tiling is for a model that was not converted"),
    (("digits.onnx", "digits.onnx", "--data", "digits.npz"), "neither quantisers nor converted blocks"),
    (("digits.onnx", "none.onnx", "--data", "digits.npz"), "none.onnx"),
    (("-", "-", "--data", "digits.npz"), "standard input"),
    (("old.onnx", "--data", "digits.npz"), "opset 12, which has no scale for each channel: take it to 13"),
    (("digits.onnx", "other.onnx", "--data", "digits.npz"), "other.onnx was not made of digits.onnx"),
    (("digits.onnx", "--data", "digits.npz", "--html", "digits.onnx"), "--html would overwrite MODEL"),
    (("digits.onnx", "eight.onnx", "--data", "digits.npz", "--report", "./eight.onnx"), "--report would overwrite CONVERTED"),
    (("digits.onnx", "--data", "digits.npz", "--plot", "n.png", "--report", "n.png"), "--plot would overwrite --report"),
])  # fmt: skip
def test_what_does_not_fit_is_one_line(folder, words, said):
    before = sorted(folder.iterdir())
    assert said in refused(run("noise", *words, "--csv", "never.csv", cwd=folder))
    assert sorted(folder.iterdir()) == before


def test_what_a_file_says_of_tiles_is_not_for_a_model_that_has_its_own(folder, tmp_path):
    """Nor is it named among what made the result."""
    (tmp_path / "tse-onnx.toml").write_text("rows = 3\ntop = 2\n")
    words = ("--config", tmp_path / "tse-onnx.toml", "noise", folder / "digits.onnx")
    more = ("--data", folder / "digits.npz", "--limit", "6", "--format", "json")
    tiled = json.loads(run(*words, folder / "tiled.onnx", *more).stdout)
    assert {block["tiling"] for block in tiled["blocks"]} == {"tiles of 7 rows"}
    assert set(tiled["configuration"]["options"]) == {"top"}
    plain = json.loads(run(*words, *more).stdout)
    assert {block["tiling"] for block in plain["blocks"]} == {"tiles of 3 rows"}
    assert set(plain["configuration"]["options"]) == {"top", "rows"}
