"""Distillation: what it trains, what it makes better, and how it goes on where it was interrupted."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import models
import tse_onnx
from tests.command import tse_onnx as command
from tests.command import validated
from tse_onnx import Data, Plan, Tiling

pytest.importorskip("torch")

# Tiles of a single row cost this network a quarter of a nat.
PLAN = Plan(Tiling(1, squeeze="running"))
QUICK = {"views": 64, "step": 16, "epochs": 2, "rate": 0.03, "threads": 1}
OPTIONS = ("--views", 64, "--step", 16, "--epochs", 2, "--rate", 0.03, "--threads", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distillation")
    models.save("digits_se", folder / "digits.onnx")
    np.savez(folder / "digits.npz", input=models.digits()[0][:120])
    (folder / "plan.toml").write_text(PLAN.dumps())
    return folder


def _distil(folder, **options):
    seed = options.pop("seed", 0)
    return tse_onnx.distil(folder / "digits.onnx", Data(folder / "digits.npz", seed=seed), PLAN, **(QUICK | options))


@pytest.fixture(scope="module")
def distilled(folder):
    return _distil(folder)


def test_the_loss_falls_on_samples_that_are_set_aside(distilled):
    assert distilled.improved
    assert distilled.after[0].kl < 0.9 * distilled.before[0].kl
    assert distilled.epochs[distilled.best - 1].stop_loss < distilled.start
    assert len(distilled.trained) == 4


def test_the_verdict_is_that_of_evaluate(folder, distilled):
    """Of the plans as they are written, on the very samples that were set aside."""
    from tse_onnx.decision.analysis import analyse, input_types
    from tse_onnx.files.source import open_model
    from tse_onnx.tuning.search import halves

    samples = Data(folder / "digits.npz").samples(input_types(analyse(open_model(folder / "digits.onnx"))))
    _, others = halves(samples, 0.5, 0)
    judge, _ = halves(others, 0.3, 0)
    np.savez(folder / "judge.npz", input=np.concatenate([feed["input"] for feed in judge.feeds()]))
    for plan, scores in ((PLAN, distilled.before), (Plan.loads(distilled.plan.dumps()), distilled.after)):
        found = tse_onnx.evaluate(folder / "digits.onnx", data=folder / "judge.npz", plan=plan).models[0].outputs
        assert found[0].kl == pytest.approx(scores[0].kl, rel=1e-4)
        assert found[0].samples == scores[0].samples


def test_the_plan_is_converted_verified_and_undone(folder, distilled):
    (folder / "trained.toml").write_text(distilled.plan.dumps())
    plan = Plan.load(folder / "trained.toml")
    assert plan == distilled.plan
    result = tse_onnx.convert(folder / "digits.onnx", folder / "tiled.onnx", plan=plan)
    assert result.verification.passed
    tse_onnx.restore(folder / "tiled.onnx", folder / "restored.onnx")
    assert (folder / "restored.onnx").read_bytes() == (folder / "digits.onnx").read_bytes()


def test_the_last_descriptor_stays_the_mean_of_all_rows(distilled):
    for name in distilled.trained:
        calibration = distilled.plan.choices[name].calibration
        assert calibration.slopes[-1] == 1.0
        assert set(calibration.offsets[-1]) == {0.0}
        assert len(set(calibration.slopes)) > 1


def test_a_seed_gives_the_same_numbers_and_another_gives_others(folder, distilled):
    assert _distil(folder).plan == distilled.plan
    assert _distil(folder, seed=1).plan != distilled.plan


class _Enough(Exception):
    pass


def test_an_interrupted_run_goes_on_bit_for_bit(folder, distilled, tmp_path):
    asked = []

    def stop(what, done, total):
        asked.append((what, done))
        if (what, done) == ("training", 5):  # in the second epoch
            raise _Enough

    with pytest.raises(_Enough):
        _distil(folder, checkpoint=tmp_path / "kept", progress=stop)
    assert (tmp_path / "kept").exists()
    asked.clear()
    again = _distil(folder, checkpoint=tmp_path / "kept", progress=lambda *what: asked.append(what[:2]))
    assert again == distilled
    assert ("training", 0) not in asked
    assert ("training", 4) in asked


def test_a_finished_training_is_not_made_again(folder, distilled, tmp_path):
    _distil(folder, checkpoint=tmp_path / "kept")
    asked = set()
    assert _distil(folder, checkpoint=tmp_path / "kept", progress=lambda what, *_: asked.add(what)) == distilled
    assert asked == {"judging"}


def test_a_checkpoint_of_another_run_is_begun_anew(folder, distilled, tmp_path):
    _distil(folder, checkpoint=tmp_path / "kept", seed=1)
    assert _distil(folder, checkpoint=tmp_path / "kept") == distilled


def test_a_file_that_is_no_checkpoint_is_not_overwritten(folder, tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(tse_onnx.UsageError, match="it is no checkpoint of a distillation, and is not overwritten"):
        _distil(folder, checkpoint=tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "precious"


def test_training_that_makes_nothing_better_keeps_the_plan(folder):
    """With strides that are far too long for a plan that loses next to nothing."""
    given = Plan(Tiling(7, squeeze="running"))
    (folder / "good.toml").write_text(given.dumps())
    done = command(
        "distil", "digits.onnx", "--plan", "good.toml", "--data", "digits.npz", "-o", "kept.toml", *OPTIONS[:-4],
        "--rate", 1, "--threads", 1, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert "Training made nothing better: the plan is the one that was given." in done.stdout.decode()
    kept = Plan.load(folder / "kept.toml")
    assert set(kept.choices.values()) == {given.default}


def test_the_command_writes_what_the_library_finds(folder, distilled):
    done = command(
        "distil", "digits.onnx", "--plan", "plan.toml", "--data", "digits.npz", "-o", "new.toml", *OPTIONS,
        "--format", "json", "--report", "report.json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found = validated(done.stdout, "distil")
    assert found == json.loads((folder / "report.json").read_text())
    assert found["improved"] is True
    assert found["verdict"]["kl"] == found["verdict"]["after"]["kl"] == distilled.after[0].kl
    assert found["verdict"]["before"]["agreement"] == distilled.before[0].agreement
    written = Plan.load(folder / "new.toml")
    assert {name: written.choices[name] for name in distilled.trained} == distilled.plan.choices
    assert not (folder / "new.toml.checkpoint").exists()


def test_operators_without_a_gradient_are_named(folder, tmp_path):
    model = models.load("digits_se")
    strange = onnx.helper.make_node("QuantizeLinear", ["logits", "one"], ["levels"], name="levels")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "one"))
    model.graph.node.append(strange)
    model.graph.output.append(onnx.helper.make_tensor_value_info("levels", onnx.TensorProto.UINT8, ["batch", 10]))
    onnx.save(model, tmp_path / "strange.onnx")
    done = command(
        "distil", tmp_path / "strange.onnx", "--plan", "plan.toml", "--data", "digits.npz", "-o", "x.toml", cwd=folder
    )
    assert done.returncode == 2
    assert done.stderr.decode().count("\n") == 1
    assert "cannot be trained: there is no gradient for 'QuantizeLinear'" in done.stderr.decode()
    assert not (folder / "x.toml").exists()


def test_a_model_of_fixed_batches_gives_the_same(folder, tmp_path, distilled):
    """A Reshape to the batch that an export fixed breaks other batches: they then go in parts of that size."""
    model = models.load("digits_se")
    fixed = onnx.load(folder / "digits.onnx")
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    (flatten,) = [node for node in fixed.graph.node if node.op_type == "Flatten"]
    flatten.op_type = "Reshape"
    del flatten.attribute[:]
    flatten.input.append("to")
    fixed.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, -1], np.int64), "to"))
    del fixed.graph.value_info[:]
    fixed.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    assert model != fixed
    onnx.save(fixed, tmp_path / "fixed.onnx")
    found = tse_onnx.distil(tmp_path / "fixed.onnx", folder / "digits.npz", PLAN, **(QUICK | {"epochs": 1}))
    assert found.epochs[0].loss == pytest.approx(distilled.epochs[0].loss, rel=0.5)
    assert found.improved
