"""What `distil` refuses before any work starts: one line, exit code 2, nothing written. All of it without torch."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import pytest

import tse_onnx
from tests.command import tse_onnx as command
from tests.graphs import network, some_input
from tse_onnx import Frozen, Plan, Previous, Tiling


@pytest.fixture
def folder(tmp_path):
    model = network(14, 7)
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "x.npz", x=some_input(model, batch=12))
    (tmp_path / "plan.toml").write_text(Plan(Tiling(2, squeeze="running")).dumps())
    return tmp_path


@pytest.fixture
def with_torch(monkeypatch):
    """As if torch were installed, for what is refused before it is used."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: object() if name == "torch" else found(name, *rest)
    )


def _refused(folder, *arguments, says):
    before = sorted(folder.iterdir())
    done = command("distil", "net.onnx", "--data", "x.npz", "-o", "new.toml", *arguments, cwd=folder)
    text = done.stderr.decode()
    assert (done.returncode, done.stdout, text.count("\n")) == (2, b"", 1), text
    assert says in text
    assert sorted(folder.iterdir()) == before


def test_without_torch(folder, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else found(name, *rest)
    )
    _refused(folder, "--plan", "plan.toml", says="distilling needs torch: pip install 'tse-onnx[distil]'")


def test_a_plan_without_a_running_squeeze(folder, with_torch):
    (folder / "tiles.toml").write_text(Plan(Tiling(2)).dumps())
    _refused(folder, "--plan", "tiles.toml", says="the plan has no running squeeze")


def test_a_plan_with_the_gates_of_the_frame_before(folder, with_torch):
    """Single samples have no frame before."""
    plan = Plan(Tiling(2, squeeze="running"), {"block1_squeeze": Previous()})
    (folder / "plan.toml").write_text(plan.dumps())
    _refused(folder, "--plan", "plan.toml", says="scales 'block1_squeeze' by the gates of the frame before")


def test_a_plan_of_another_model(folder, with_torch):
    (folder / "other.toml").write_text(Plan(None, {"elsewhere": Tiling(2, squeeze="running")}).dumps())
    _refused(folder, "--plan", "other.toml", says="'elsewhere', which is no block of the model")


def test_no_plan_at_all(folder, with_torch):
    _refused(folder, "--plan", "nowhere.toml", says="nowhere.toml")


def test_a_calibration_for_another_size(folder, with_torch):
    wrong = tse_onnx.Calibration((1.0, 1.0), ((0.0,) * 4, (0.0,) * 4))
    name = tse_onnx.find_blocks(folder / "net.onnx")[0].name
    plan = Plan(Tiling(2, squeeze="running"), {name: Tiling(2, squeeze="running", calibration=wrong)})
    (folder / "size.toml").write_text(plan.dumps())
    _refused(folder, "--plan", "size.toml", says="the plan calibrates")


EXCITE = ("--train", "excite", "--model-output", "trained.onnx")


def test_a_weight_that_something_else_reads(folder, with_torch):
    model = onnx.load(folder / "net.onnx")
    excite = next(
        node for node in model.graph.node if node.op_type == "Conv" and "GlobalAveragePool" in _behind(model, node)
    )
    model.graph.node.append(onnx.helper.make_node("Abs", [excite.input[1]], ["elsewhere"], name="reader"))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("elsewhere"))
    onnx.save(model, folder / "net.onnx")
    _refused(folder, "--plan", "plan.toml", *EXCITE, says=f"{excite.input[1]!r}, a weight of block")
    _refused(folder, "--plan", "plan.toml", *EXCITE, says="is read by 'reader' as well")


def test_a_weight_that_is_an_output(folder, with_torch):
    model = onnx.load(folder / "net.onnx")
    excite = next(
        node for node in model.graph.node if node.op_type == "Conv" and "GlobalAveragePool" in _behind(model, node)
    )
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(excite.input[1]))
    onnx.save(model, folder / "net.onnx")
    _refused(folder, "--plan", "plan.toml", *EXCITE, says="is an output of the model as well")


def _behind(model, node):
    """The operators that make what a node reads."""
    makers = {name: other for other in model.graph.node for name in other.output}
    return {makers[name].op_type for name in node.input if name in makers}


def test_a_plan_that_cuts_nothing_has_no_excite_to_train(folder, with_torch):
    name = tse_onnx.find_blocks(folder / "net.onnx")[0].name
    (folder / "frozen.toml").write_text(Plan(None, {name: Frozen((0.5,))}).dumps())
    _refused(folder, "--plan", "frozen.toml", *EXCITE, says="there is none to train")


def test_where_the_model_cannot_go(folder, with_torch):
    for where, says in (
        ("net.onnx", "--model-output is MODEL, which is never changed"),
        ("./net.onnx", "--model-output is MODEL, which is never changed"),
        ("nowhere/trained.onnx", "there is no directory nowhere"),
        (".", "is a directory"),
    ):
        _refused(folder, "--plan", "plan.toml", "--train", "excite", "--model-output", where, says=says)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_samples(folder, with_torch, count):
    _refused(folder, "--plan", "plan.toml", "--limit", count, says="too few")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--held-out", "100%"), "held_out is a fraction between 0 and 1"),
        (("--stop", "0"), "stop is a fraction between 0 and 1"),
        (("--rate", "0"), "--rate"),
        (("--epochs", "0"), "--epochs"),
        (("--checkpoint", "c", "--no-checkpoint"), "exclude each other"),
        (("--held-out", "many"), "no part of a whole"),
        (("--train", "excite"), "--train excite and --model-output go together"),
        (("--train", "excite", "--model-output", "new.toml"), "name the same file"),
        (("--model-output", "trained.onnx"), "--train excite and --model-output go together"),
        (("--train", "everything", "--model-output", "trained.onnx"), "--train"),
    ],
)
def test_options_that_make_no_sense(folder, with_torch, options, says):
    _refused(folder, "--plan", "plan.toml", *options, says=says)
