"""Fine-tuning: what it trains, what it makes better, what it leaves as it was, and how it goes on where it stopped."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import models
import tse_onnx
from tests.command import tse_onnx as command
from tests.command import validated
from tse_onnx import CheckFailed, Data, DataError, Plan, Tiling, UsageError

pytest.importorskip("torch")

ROWS = 1
# Tiles of a single row cost this network more than half a nat.
QUICK = {"steps": 8, "batch": 16, "epochs": 2, "threads": 1}
OPTIONS = ("--rows", ROWS, "--steps", 8, "--batch", 16, "--epochs", 2, "--threads", 1)
TRAINED = "tse_onnx.trained"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetuning")
    models.save("digits_se", folder / "digits.onnx")
    images, labels = models.digits()
    np.savez(folder / "digits.npz", input=images[:120], labels=labels[:120])
    tse_onnx.convert(folder / "digits.onnx", folder / "plain.onnx", rows=ROWS)
    return folder


def _finetune(folder, out=None, **options):
    seed = options.pop("seed", 0)
    data = options.pop("data", folder / "digits.npz")
    return tse_onnx.finetune(
        options.pop("model", folder / "digits.onnx"), out, data=Data(data, seed=seed), rows=ROWS, **(QUICK | options)
    )


@pytest.fixture(scope="module")
def tuned(folder):
    return _finetune(folder, folder / "tuned.onnx")


def _initializers(model):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _changed(one, other):
    return {name for name, array in _initializers(one).items() if not np.array_equal(array, _initializers(other)[name])}


def _without_training(model, weights):
    """The model with these initializers, and without the entry that remembers that they were others."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    kept = [entry for entry in made.metadata_props if entry.key != TRAINED]
    assert len(kept) == len(made.metadata_props) - 1
    del made.metadata_props[:]
    made.metadata_props.extend(kept)
    for tensor in made.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(weights[tensor.name])
    return made


def test_the_loss_falls_on_samples_that_are_set_aside(tuned):
    assert tuned.improved
    assert tuned.after[0].kl < 0.8 * tuned.before[0].kl
    assert tuned.epochs[tuned.best - 1].stop_loss < tuned.start
    assert tuned.verdict.accuracy == tuned.after[0]


def test_nothing_else_than_the_trained_weights_is_changed(folder, tuned):
    """Against a conversion without training, byte for byte: weights that the tiles lay anew are compared as they lie."""
    made, plain = onnx.load(folder / "tuned.onnx"), onnx.load(folder / "plain.onnx")
    changed = _changed(plain, made)
    assert changed == set(tuned.weights)
    assert sum(_initializers(plain)[name].size for name in changed) == tuned.numbers
    before = {tensor.name: tensor for tensor in plain.graph.initializer if tensor.name in changed}
    assert _without_training(made, before) == plain


def test_the_conversion_is_verified_and_undone(folder, tuned):
    """The way back gives the network of the original with the trained weights, and a second conversion is the same."""
    assert tuned.conversion.verification.passed
    restored = tse_onnx.restore(folder / "tuned.onnx", folder / "restored.onnx")
    assert restored.exact
    made, original = onnx.load(folder / "restored.onnx"), onnx.load(folder / "digits.onnx")
    assert _changed(original, made) == set(tuned.weights)
    before = {tensor.name: tensor for tensor in original.graph.initializer}
    assert _without_training(made, before) == original
    again = tse_onnx.convert(folder / "restored.onnx", rows=ROWS)
    assert again.serialized() == (folder / "tuned.onnx").read_bytes()


def test_the_verdict_is_that_of_evaluate(folder, tuned):
    """Of the models as they are written, on the very samples that were set aside."""
    from tse_onnx.decision.analysis import analyse, input_types
    from tse_onnx.files.source import open_model
    from tse_onnx.tuning.search import halves

    samples = Data(folder / "digits.npz").samples(input_types(analyse(open_model(folder / "digits.onnx"))))
    _, others = halves(samples, 0.5, 0)
    judge, _ = halves(others, 0.3, 0)
    data = {"input": np.concatenate([feed["input"] for feed in judge.feeds()]), "labels": judge.labels}
    paths = [folder / "plain.onnx", folder / "tuned.onnx"]
    found = tse_onnx.evaluate(folder / "digits.onnx", paths, data=data).models
    for one, scores in zip(found, (tuned.before, tuned.after), strict=True):
        assert one.outputs[0].kl == pytest.approx(scores[0].kl, rel=1e-4)
        assert one.outputs[0].accuracy == scores[0].accuracy


def test_groups_and_names_are_trained_and_no_others(folder):
    """By the graph alone: an excite's convolutions stand behind the pools, and biases are third inputs."""
    model = onnx.load(folder / "digits.onnx")
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    biases = {node.input[2] for node in convolutions if len(node.input) > 2}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}

    def on_a_descriptor(node):
        while node.op_type not in ("Conv", "GlobalAveragePool", "ReduceMean", "Gemm"):
            node = makers.get(node.input[0])
            if node is None:
                return False
        return node.op_type in ("GlobalAveragePool", "ReduceMean")

    squeezing = [node for node in convolutions if node.input[0] in makers and on_a_descriptor(makers[node.input[0]])]
    assert len(squeezing) == 4
    few = {"epochs": 1, "steps": 1}
    excites = set(_finetune(folder, train="excite", **few).weights)
    assert {name for node in squeezing for name in node.input[1:]} < excites
    assert len(excites) == 16
    assert set(_finetune(folder, train=["norms"], **few).weights) == biases
    both = set(_finetune(folder, train=["excite", "norms"], **few).weights)
    assert both == excites | biases
    every = set(_finetune(folder, **few).weights)
    assert every == {name for name in shapes if np.prod(shapes[name]) > 1}
    head = next(node.input[1] for node in model.graph.node if node.op_type == "Gemm")
    assert _finetune(folder, train=[head.replace("weight", "weigh*")], **few).weights == (head,)


def test_a_seed_gives_the_same_bytes_and_another_gives_others(folder, tuned, tmp_path):
    _finetune(folder, tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == (folder / "tuned.onnx").read_bytes()
    _finetune(folder, tmp_path / "other.onnx", seed=1)
    assert (tmp_path / "other.onnx").read_bytes() != (folder / "tuned.onnx").read_bytes()


class _Enough(Exception):
    pass


@pytest.mark.parametrize("at", [3, 8, 13], ids=["in the first epoch", "between", "in the second"])
def test_an_interrupted_run_goes_on_bit_for_bit(folder, tuned, tmp_path, at):
    asked = []

    def stop(what, done, total):
        if (what, done) == ("training", at):
            raise _Enough

    with pytest.raises(_Enough):
        _finetune(folder, tmp_path / "out.onnx", checkpoint=tmp_path / "kept", progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    told = {"checkpoint": tmp_path / "kept", "progress": lambda *what: asked.append(what[:2])}
    again = _finetune(folder, tmp_path / "out.onnx", **told)
    assert [done for what, done in asked if what == "training"] == list(range(at, 16))
    assert (tmp_path / "out.onnx").read_bytes() == (folder / "tuned.onnx").read_bytes()
    assert again.epochs == tuned.epochs


def test_a_checkpoint_of_another_run_is_begun_anew(folder, tuned, tmp_path):
    _finetune(folder, checkpoint=tmp_path / "kept", label_weight=0.5)
    assert _finetune(folder, checkpoint=tmp_path / "kept").epochs == tuned.epochs


def test_training_that_makes_nothing_better_gives_the_plain_conversion(folder, tmp_path):
    """With strides that are far too long."""
    done = command(
        "finetune", "digits.onnx", tmp_path / "out.onnx", "--data", "digits.npz", *OPTIONS, "--lr", 1, cwd=folder
    )
    assert done.returncode == 0, done.stderr.decode()
    assert "Training made nothing better: the weights are those that were given." in done.stdout.decode()
    assert (tmp_path / "out.onnx").read_bytes() == (folder / "plain.onnx").read_bytes()


def test_labels_are_learnt(folder):
    """With labels that are all wrong, the network gives what they say: the teacher has no part in it."""
    images, labels = models.digits()
    wrong = {"input": images[:120], "labels": (labels[:120] + 1) % 10}
    found = _finetune(folder, data=wrong, label_weight=1, epochs=3, steps=20, lr=0.02)
    assert found.before[0].accuracy.top1 < 0.1
    assert found.after[0].accuracy.top1 > 0.3
    assert found.improved
    half = _finetune(folder, data=wrong, label_weight=0.5)
    assert half.epochs != _finetune(folder, data=wrong).epochs


def test_products_in_half_precision(folder, tuned):
    """Trained by other roundings to nearly the same: what is trained and the losses stay in single precision."""
    found = _finetune(folder, precision="bfloat16")
    assert found.place == "cpu in bfloat16"
    assert found.epochs != tuned.epochs
    assert found.start == pytest.approx(tuned.start, rel=0.05)
    assert found.epochs[-1].stop_loss == pytest.approx(tuned.epochs[-1].stop_loss, rel=0.15)
    assert found.improved
    assert {array.dtype for name, array in _initializers(found.model).items() if name in found.weights} == {
        np.dtype(np.float32)
    }


def test_external_weights_stay_where_they_are(folder, tuned, tmp_path):
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    out.mkdir()
    onnx.save(
        onnx.load(folder / "digits.onnx"), home / "digits.onnx", save_as_external_data=True, location="weights.bin",
        size_threshold=0,
    )  # fmt: skip
    kept = {path.name: path.read_bytes() for path in home.iterdir()}
    found = _finetune(folder, out / "tuned.onnx", model=home / "digits.onnx", train="excite")
    assert found.improved
    assert {path.name: path.read_bytes() for path in home.iterdir()} == kept
    assert (out / "weights.bin").read_bytes() == kept["weights.bin"]
    inside = {t.name for t in onnx.load(out / "tuned.onnx", load_external_data=False).graph.initializer
              if not t.external_data}  # fmt: skip
    assert set(found.weights) <= inside
    plain = _initializers(onnx.load(folder / "plain.onnx"))
    for name, array in _initializers(onnx.load(out / "tuned.onnx")).items():
        assert np.array_equal(array, plain[name]) == (name not in found.weights), name


def test_a_broken_bound_writes_nothing(folder, tmp_path):
    with pytest.raises(CheckFailed, match=r"divergence .* beyond the bound of 1e-05 nats"):
        _finetune(folder, tmp_path / "out.onnx", bounds={"max_kl": 1e-5})
    assert not list(tmp_path.iterdir())
    done = command(
        "finetune", "digits.onnx", tmp_path / "out.onnx", "--data", "digits.npz", *OPTIONS, "--min-saved", 99,
        cwd=folder,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, b"")
    assert not list(tmp_path.iterdir())


def test_a_metric_of_ones_own(folder):
    """Called once for each model, with every sample of the verdict in order."""
    seen = []

    def right(batches):
        hits = []
        for one in batches:
            assert set(one.feed) == {"input"}
            assert len(one.names) == len(one.labels) == len(one.outputs["logits"])
            seen.extend(one.names)
            hits.extend(one.outputs["logits"].argmax(1) == one.labels)
        return np.mean(hits)

    found = _finetune(folder, metric=right)
    assert len(seen) == 3 * len(set(seen)) == 3 * found.before[0].samples
    accuracy = found.before[0].accuracy
    assert found.metric.name == "right"
    assert found.metric.original == pytest.approx(accuracy.original_top1)
    assert found.metric.models == pytest.approx((accuracy.top1, found.after[0].accuracy.top1))
    assert found.to_dict()["metric"]["before"] == found.metric.models[0]
    assert "Your right: " in found.summary()
    with pytest.raises(UsageError, match="a metric gives one number, and <lambda> gave a list"):
        _finetune(folder, metric=lambda batches: [1, 2])


def test_the_command_writes_what_the_library_finds(folder, tuned):
    done = command(
        "finetune", "digits.onnx", "again.onnx", "--data", "digits.npz", *OPTIONS, "--format", "json",
        "--report", "report.json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found = validated(done.stdout, "finetune")
    assert found == json.loads((folder / "report.json").read_text())
    assert (folder / "again.onnx").read_bytes() == (folder / "tuned.onnx").read_bytes()
    assert not (folder / "again.onnx.checkpoint").exists()
    assert found["improved"] is True
    assert found["weights"] == list(tuned.weights)
    assert found["verdict"]["kl"] == found["verdict"]["after"]["kl"] == tuned.after[0].kl
    assert found["verdict"]["before"]["kl"] == tuned.before[0].kl
    validated(json.dumps(found["conversion"]), "report")
    assert repr(tuned).startswith("<FinetuneResult: Scales of the blocks: 270 KiB before")


def test_what_is_refused_when_the_model_is_known(folder):
    with pytest.raises(UsageError, match="a loss is for an output that holds fractions: 'logit' is none of 'logits'"):
        _finetune(folder, losses={"logit": "kl"})
    with pytest.raises(UsageError, match="there is no loss 'kll'; there is kl, kl:AXIS, mse, l1, none"):
        _finetune(folder, losses={"logits": "kll"})
    with pytest.raises(UsageError, match="has no axis 4"):
        _finetune(folder, losses={"logits": "kl:4"})
    with pytest.raises(UsageError, match="torch cannot use the device 'cuda:99'"):
        _finetune(folder, device="cuda:99")
    with pytest.raises(UsageError, match="float16 is for a GPU"):
        _finetune(folder, precision="float16")
    images, labels = models.digits()
    with pytest.raises(DataError, match="10 classes"):
        _finetune(folder, data={"input": images[:120], "labels": labels[:120] + 5}, label_weight=0.5)


def test_losses_by_name_are_what_they_say():
    """Against numpy, for maps of logits along both axes that may be meant, and for what a softmax has made."""
    import torch

    from tse_onnx.distillation.losses import loss_of

    random = np.random.default_rng(0)
    p, q = (random.standard_normal((2, 3, 4, 5)) for _ in range(2))
    shares = [np.exp(one) / np.exp(one).sum(axis, keepdims=True) for axis in (1, 3) for one in (p, q)]

    def loss(name, one, other):
        return float(loss_of(name, lambda value: value)(torch.tensor(one), torch.tensor(other)))

    for axis, (was, now) in ((1, shares[:2]), (3, shares[2:])):
        expected = (was * np.log(was / now)).sum(axis).mean()
        for one, other in ((p, q), (was, now)):
            assert loss(f"kl:{axis}", one, other) == pytest.approx(expected)
            assert loss(f"kl:{axis - 4}", one, other) == pytest.approx(expected)
    assert loss("kl", p, q) == loss("kl:1", p, q)
    assert loss("mse", p, q) == pytest.approx(np.square(p - q).mean() / np.square(p).mean())
    assert loss("l1", p, q) == pytest.approx(np.abs(p - q).mean() / np.abs(p).mean())
    assert loss_of("none", lambda value: value) is None


def test_a_loss_of_ones_own_is_what_is_made_small(folder):
    """Away from what the original says of one class: nothing else pulls."""
    found = _finetune(folder, losses={"logits": lambda was, now: now[:, 3].mean() + 100}, feature_weight=0, vary=False)
    assert found.start > 90
    assert found.epochs[-1].stop_loss < found.start - 1
    assert not _finetune(folder, losses={"logits": "none"}, feature_weight=0).improved


def test_a_plan_with_a_running_squeeze(folder):
    found = tse_onnx.finetune(
        folder / "digits.onnx", data=folder / "digits.npz", plan=Plan(Tiling(1, squeeze="running")), **QUICK
    )
    assert found.improved
    assert found.conversion.verification.passed
