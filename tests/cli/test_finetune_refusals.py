"""What `finetune` refuses before any work starts: one line, exit code 2, nothing written. All of it without torch."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import pytest

import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as command
from tests.graphs import network, some_input
from tse_onnx import Plan, Previous


@pytest.fixture
def folder(tmp_path):
    model = network(14, 7)
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "x.npz", x=some_input(model, batch=12))
    return tmp_path


@pytest.fixture
def with_torch(monkeypatch):
    """As if torch were installed, for what is refused before it is used."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: object() if name == "torch" else found(name, *rest)
    )


def _refused(folder, *arguments, says, model="net.onnx", out="out.onnx"):
    before = sorted(folder.iterdir())
    line = refused(command("finetune", model, out, "--data", "x.npz", "--rows", 2, *arguments, cwd=folder))
    assert says in line
    assert sorted(folder.iterdir()) == before


def test_without_torch(folder, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else found(name, *rest)
    )
    _refused(folder, says="fine-tuning needs torch: pip install 'tse-onnx[finetune]'")


def test_no_data(folder):
    line = refused(command("finetune", "net.onnx", "out.onnx", "--rows", 2, cwd=folder))
    assert "--data" in line


def test_a_pattern_that_fits_nothing(folder, with_torch):
    name = next(tensor.name for tensor in onnx.load(folder / "net.onnx").graph.initializer)
    _refused(
        folder, "--train", f"{name}x", says=f"no initializer in single precision is called '{name}x'; the nearest is"
    )
    _refused(folder, "--train", "exite", says="the nearest is 'excite'")


def test_a_model_that_is_tiled(folder, with_torch):
    tse_onnx.convert(folder / "net.onnx", folder / "tiled.onnx", rows=2, verify=False)
    _refused(folder, model="tiled.onnx", says="is tiled already, and the original is what it would be trained against")


def test_a_model_that_is_quantised(folder, with_torch):
    model = onnx.load(folder / "net.onnx")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "one"))
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", [model.graph.input[0].name, "one"], ["levels"]))
    onnx.save(model, folder / "quantised.onnx")
    _refused(folder, model="quantised.onnx", says="quantised.onnx is quantised, and whole numbers have no gradient")


def test_where_nothing_is_converted(folder, with_torch):
    _refused(folder, "--exclude", "*", says="no block of the model is converted so")


def test_the_gates_of_the_frame_before(folder, with_torch):
    (folder / "plan.toml").write_text(Plan(None, {"block1_squeeze": Previous()}).dumps())
    line = refused(command("finetune", "net.onnx", "out.onnx", "--data", "x.npz", "--plan", "plan.toml", cwd=folder))
    assert "scales 'block1_squeeze' by the gates of the frame before" in line


def test_labels_that_are_not_there(folder, with_torch):
    _refused(folder, "--label-weight", 0.5, says="it is to be trained by labels, and the data have none")


def test_the_output_is_the_model(folder, with_torch):
    _refused(folder, out="net.onnx", says="the result would take the place of net.onnx")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--output-loss", "logits"), "'logits' is not OUTPUT=LOSS"),
        (("--epochs", 0), "0 is not in the range"),
        (("--lr", 0), "0 is not in the range"),
        (("--stop", "100%"), "stop is a fraction between 0 and 1"),
        (("--checkpoint", "c", "--no-checkpoint"), "exclude each other"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_options_that_make_no_sense(folder, with_torch, words, says):
    _refused(folder, *words, says=says)
