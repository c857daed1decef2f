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
from tests.graphs import text_model
from tse_onnx import Data, Plan, Tiling, UsageError

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
    _judge(folder)
    for plan, scores in ((PLAN, distilled.before), (Plan.loads(distilled.plan.dumps()), distilled.after)):
        found = tse_onnx.evaluate(folder / "digits.onnx", data=folder / "judge.npz", plan=plan).models[0].outputs
        assert found[0].kl == pytest.approx(scores[0].kl, rel=1e-4)
        assert found[0].samples == scores[0].samples


def _judge(folder):
    """The samples of the verdict, as a file."""
    from tse_onnx.decision.analysis import analyse, input_types
    from tse_onnx.files.source import open_model
    from tse_onnx.tuning.search import halves

    samples = Data(folder / "digits.npz").samples(input_types(analyse(open_model(folder / "digits.onnx"))))
    _, others = halves(samples, 0.5, 0)
    judge, _ = halves(others, 0.3, 0)
    np.savez(folder / "judge.npz", input=np.concatenate([feed["input"] for feed in judge.feeds()]))


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
    assert [done for what, done in asked if what == "training"] == [5, 6, 7]


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
        "--machine", "cascade", "--format", "json", "--report", "report.json", cwd=folder,
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
    told = command(
        "report", "digits.onnx", "--plan", "new.toml", "--machine", "cascade", "--format", "json", cwd=folder
    )
    verdict = json.loads(told.stdout)["verdict"]
    assert {key: found["verdict"][key] for key in ("scales", "network", "machine", "figure")} == {
        key: verdict[key] for key in ("scales", "network", "machine", "figure")
    }


@pytest.fixture(scope="module")
def with_excites(folder):
    return _distil(folder, train=["excite"])


def _initializers(model):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_excites_are_trained_as_well(folder, distilled, with_excites):
    """More is won than by slopes and offsets alone, and nothing but weights of excites changes."""
    assert with_excites.improved
    assert with_excites.after[0].kl < 0.9 * distilled.after[0].kl
    assert with_excites.before == distilled.before
    before, after = _initializers(onnx.load(folder / "digits.onnx")), _initializers(with_excites.model)
    assert list(before) == list(after)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    index = {tensor: node for node in with_excites.model.graph.node for tensor in node.input}
    # By the shapes alone: 1×1 convolutions between C and C / 4 channels of vectors, weights and biases of two in each.
    assert len(changed) == 4 * 4
    assert {index[name].op_type for name in changed} == {"Conv"}
    assert sum(before[name].size for name in changed) == with_excites.numbers - distilled.numbers
    kept = onnx.ModelProto()
    kept.CopyFrom(with_excites.model)
    for tensor in kept.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(onnx.numpy_helper.from_array(before[tensor.name], tensor.name))
    assert kept == onnx.load(folder / "digits.onnx")


def test_the_model_with_trained_excites_is_converted_verified_and_undone(folder, with_excites):
    """Against the original it is what the verdict says of it, on the samples of the verdict."""
    onnx.save(with_excites.model, folder / "trained.onnx")
    result = tse_onnx.convert(folder / "trained.onnx", folder / "both.onnx", plan=with_excites.plan)
    assert result.verification.passed
    again = tse_onnx.convert(folder / "both.onnx", plan=with_excites.plan, verify=False)
    assert again.serialized() == (folder / "both.onnx").read_bytes()
    tse_onnx.restore(folder / "both.onnx", folder / "undone.onnx")
    assert (folder / "undone.onnx").read_bytes() == (folder / "trained.onnx").read_bytes()
    _judge(folder)
    (found,) = tse_onnx.evaluate(folder / "digits.onnx", folder / "both.onnx", data=folder / "judge.npz").models
    assert found.outputs[0].kl == pytest.approx(with_excites.after[0].kl, rel=1e-4)


def test_the_plan_is_for_the_model_with_the_trained_excites(folder, distilled, with_excites):
    before, after = _initializers(onnx.load(folder / "digits.onnx")), _initializers(with_excites.model)
    assert set(with_excites.plan.weights) == {name for name in before if not np.array_equal(before[name], after[name])}
    assert not distilled.plan.weights
    tse_onnx.buffering(with_excites.model, plan=with_excites.plan)
    for call in (
        lambda: tse_onnx.convert(folder / "digits.onnx", plan=with_excites.plan),
        lambda: tse_onnx.distil(folder / "digits.onnx", folder / "digits.npz", with_excites.plan, **QUICK),
    ):
        with pytest.raises(UsageError, match="was trained together with weights that"):
            call()


def test_a_plan_of_tiles_has_excites_to_train(folder):
    plan = Plan(Tiling(2))
    found = tse_onnx.distil(folder / "digits.onnx", folder / "digits.npz", plan, train=["excite"], **QUICK)
    assert found.improved
    assert (found.plan.default, set(found.plan.choices.values())) == (Tiling(2), {Tiling(2)})
    assert found.after[0].kl < 0.9 * found.before[0].kl


def test_linear_layers_that_become_convolutions_are_trained(folder, tmp_path):
    """Their weights lie in another shape in the converted model, and transposed: they come back as they were."""
    random = np.random.default_rng(0)
    weights = {
        "w1": random.standard_normal((8, 4)), "b1": random.standard_normal(4), "w2": random.standard_normal((4, 8)),
        "b2": random.standard_normal(8), "head": random.standard_normal((8, 5)),
    }  # fmt: skip
    body = """
        h = Relu(x)
        d = GlobalAveragePool(h)
        f = Flatten(d)
        r = MatMul(f, w1)
        s = Add(r, b1)
        a = Relu(s)
        e = Gemm(a, w2, b2)
        g = Sigmoid(e)
        u = Unsqueeze(g, axes)
        z = Mul(h, u)
        p = GlobalAveragePool(z)
        q = Flatten(p)
        y = MatMul(q, head)
    """
    given = {name: value.astype(np.float32) for name, value in weights.items()} | {"axes": np.array([2, 3])}
    model = text_model(body, given, outputs="float[N, 5] y")
    np.savez(
        tmp_path / "x.npz",
        x=random.standard_normal((60, 8, 16, 12)).astype(np.float32) + random.random((60, 8, 1, 1)).astype(np.float32),
    )
    found = tse_onnx.distil(model, tmp_path / "x.npz", Plan(Tiling(1)), train=["excite"], **QUICK)
    assert found.numbers == 8 * 4 + 4 + 4 * 8 + 8
    assert found.after[0].kl < found.before[0].kl
    after = _initializers(found.model)
    moved = {name for name, value in given.items() if not np.array_equal(after[name], value)}
    assert moved == {"w1", "b1", "w2", "b2"}
    assert all(np.abs(after[name] - given[name]).max() < 0.3 * np.abs(given[name]).max() for name in moved)


def test_an_interrupted_training_of_excites_goes_on(folder, with_excites, tmp_path):
    def stop(what, done, total):
        if (what, done) == ("training", 5):
            raise _Enough

    with pytest.raises(_Enough):
        _distil(folder, checkpoint=tmp_path / "kept", progress=stop, train=["excite"])
    assert _distil(folder, checkpoint=tmp_path / "kept", train=["excite"]) == with_excites


def test_the_command_writes_the_model_that_the_plan_is_for(folder, with_excites):
    done = command(
        "distil", "digits.onnx", "--plan", "plan.toml", "--data", "digits.npz", "-o", "new.toml", *OPTIONS,
        "--train", "excite", "--model-output", "new.onnx", "--report", "report.json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"the weights of 4 excites among them" in done.stdout
    assert onnx.load(folder / "new.onnx") == with_excites.model
    found = validated((folder / "report.json").read_text(), "distil")
    assert found["excites"] == list(with_excites.excites) == found["trained"]
    assert found["verdict"]["kl"] == with_excites.after[0].kl


def test_the_model_stays_as_it_was_where_nothing_is_better(folder):
    (folder / "good.toml").write_text(Plan(Tiling(7, squeeze="running")).dumps())
    done = command(
        "distil", "digits.onnx", "--plan", "good.toml", "--data", "digits.npz", "-o", "kept.toml", *OPTIONS[:-4],
        "--rate", 1, "--threads", 1, "--train", "excite", "--model-output", "kept.onnx", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"The model was written to kept.onnx as it was." in done.stdout
    assert b"Training made nothing better: the plan is the one that was given." in done.stdout
    assert (folder / "kept.onnx").read_bytes() == (folder / "digits.onnx").read_bytes()


def test_external_weights_are_trained_and_the_file_is_not_changed(folder, tmp_path, with_excites):
    home = tmp_path / "home"
    home.mkdir()
    onnx.save(
        onnx.load(folder / "digits.onnx"), home / "digits.onnx", save_as_external_data=True, location="weights.bin",
        size_threshold=0,
    )  # fmt: skip
    kept = (home / "weights.bin").read_bytes()
    done = command(
        "distil", home / "digits.onnx", "--plan", folder / "plan.toml", "--data", folder / "digits.npz", *OPTIONS,
        "--train", "excite", "--model-output", tmp_path / "new.onnx",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert (home / "weights.bin").read_bytes() == (tmp_path / "weights.bin").read_bytes() == kept
    after, expected = _initializers(onnx.load(tmp_path / "new.onnx")), _initializers(with_excites.model)
    assert all(np.array_equal(after[name], value) for name, value in expected.items())


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
