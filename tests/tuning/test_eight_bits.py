"""Tuning in eight bits, against quantising, converting and comparing by hand."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import models
import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as command
from tse_onnx.files.source import open_model
from tse_onnx.quantisation.qdq.quantised import quantised
from tse_onnx.quantisation.qdq.ranges import ranges_on
from tse_onnx.quantisation.qdq.scheme import Scheme
from tse_onnx.quantisation.qdq.subject import Subject
from tse_onnx.tuning.search import halves

MENU = tse_onnx.Menu(rows=(3, 7), squeezes=("tile", "running"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    models.save("digits_se", folder / "digits.onnx")
    images, labels = models.digits()
    np.savez(folder / "digits.npz", input=images[:48], labels=labels[:48])
    return folder


def run(model, images):
    """The logits, batch by batch."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": images[at : at + 8]})[0] for at in range(0, len(images), 8)])


def divergence(reference, found):
    """Kullback and Leibler's, in nats, sample by sample."""
    logs = []
    for values in (reference, found):
        values = values.astype(np.float64) - values.max(axis=1, keepdims=True)
        logs.append(values - np.log(np.exp(values).sum(axis=1, keepdims=True)))
    return (np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1)


def by_hand(folder, operators, images):
    """The float model, and the one in eight bits with ranges from these images."""
    model = onnx.load(folder / "digits.onnx")
    scheme = Scheme(operators=operators)
    subject = Subject.of(open_model(model), operators)
    feeds = [{"input": images[at : at + 8]} for at in range(0, len(images), 8)]
    return model, quantised(subject, ranges_on(subject, feeds, scheme), scheme)


@pytest.mark.parametrize("operators", ["convolutions", "all"])
def test_a_loss_is_what_a_choice_adds_to_the_quantised_network_s(digits, operators):
    data = tse_onnx.Data(digits / "digits.npz")
    found = tse_onnx.sensitivity(
        digits / "digits.onnx", data, menu=MENU, quantise=operators, freeze="never", cache=False
    )
    assert found.quantised == Scheme(operators=operators)
    images = np.load(digits / "digits.npz")["input"]
    model, eight = by_hand(digits, operators, images)
    reference, own = run(model, images), divergence(run(model, images), run(eight, images))
    assert own.mean() > 0
    for entry in found.blocks:
        for one in entry.candidates[1:]:
            plan = tse_onnx.Plan(None, {entry.block.name: one.choice})
            tiled = tse_onnx.convert(eight, plan=plan, verify=False).model
            wanted = divergence(reference, run(tiled, images)) - own
            # Behind a cut onnxruntime may have other operators as one, which round a step otherwise.
            assert one.loss == pytest.approx(wanted.mean(), rel=0.1, abs=0.05 * own.mean()), (entry.block.name, one)


def test_the_verdict_is_of_tiles_and_eight_bits_together(digits):
    data = tse_onnx.Data(digits / "digits.npz")
    found = tse_onnx.tune(
        digits / "digits.onnx", data, reduce=0.5, menu=MENU, quantise="convolutions", freeze="never", trials=0, points=0,
        cache=False,
    )  # fmt: skip
    assert found.plan.quantised == "convolutions"
    assert tse_onnx.Plan.loads(found.plan.dumps()) == found.plan
    by_title = {one.title: one.scores[0] for one in found.judged}
    images = np.load(digits / "digits.npz")["input"]
    choose, judge = halves(data.samples(_types(digits)), 0.5, 0)
    to_choose, to_judge = (images[list(map(int, part.names))] for part in (choose, judge))
    model, eight = by_hand(digits, "convolutions", to_choose)
    reference = run(model, to_judge)
    for title, made in (
        ("chosen", tse_onnx.convert(eight, plan=found.plan, verify=False).model),
        ("nothing but eight bits", eight),
        ("chosen, in float", tse_onnx.convert(model, plan=found.plan, verify=False).model),
    ):
        assert by_title[title].kl == pytest.approx(
            divergence(reference, run(made, to_judge)).mean(), rel=1e-3, abs=1e-7
        )
    assert found.sensitivity.before < tse_onnx.stream(digits / "digits.onnx").totals["min"].bytes


def _types(folder):
    from tse_onnx.decision.inputs import types_of

    return types_of(open_model(folder / "digits.onnx"), {})


def test_in_float_nothing_is_said_of_it(digits):
    data = tse_onnx.Data(digits / "digits.npz")
    found = tse_onnx.sensitivity(digits / "digits.onnx", data, menu=MENU, freeze="never", cache=False)
    assert found.quantised is None
    assert "quantised" not in json.dumps(found.to_dict())
    assert "quantised" not in tse_onnx.Plan().dumps()


def test_what_was_measured_in_float_is_not_taken_for_eight_bits(digits, tmp_path):
    data = tse_onnx.Data(digits / "digits.npz")
    losses = []
    for scheme in (None, "convolutions", "all", "convolutions", None):
        found = tse_onnx.sensitivity(
            digits / "digits.onnx", data, menu=MENU, quantise=scheme, freeze="never", cache=tmp_path
        )
        losses.append([one.loss for entry in found.blocks for one in entry.candidates])
    assert losses[0] == losses[4]
    assert losses[1] == losses[3]
    assert losses[0] != losses[1] != losses[2]
    assert len(list(tmp_path.iterdir())) == 3


def test_the_command_says_it_and_so_does_the_plan(digits, tmp_path):
    words = ["--data", digits / "digits.npz", "--rows", "7", "--squeeze", "tile", "--quantise", "convolutions"]
    done = command(
        "tune", digits / "digits.onnx", *words, "--reduce", "30%", "--no-cache", "--trials", 0, "--points", 0,
        "-o", tmp_path / "plan.toml", "--report", tmp_path / "tune.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "In eight bits: the inputs and weights of convolutions, by percentile ranges." in text
    assert "samples from digits.npz, in eight bits)" in text
    assert 'quantised = "convolutions"' in (tmp_path / "plan.toml").read_text()
    said = json.loads((tmp_path / "tune.json").read_text())["sensitivity"]["quantised"]
    assert said == {"operators": "convolutions", "calibration": "percentile", "percentile": 99.99}
    assert command("convert", digits / "digits.onnx", "-", "--plan", tmp_path / "plan.toml").returncode == 0


def test_what_cannot_be_quantised_is_one_line(digits, tmp_path):
    _, eight = by_hand(digits, "all", np.load(digits / "digits.npz")["input"][:16])
    onnx.save(eight, tmp_path / "eight.onnx")
    words = ["tune", tmp_path / "eight.onnx", "--data", digits / "digits.npz", "--reduce", "30%", "--quantise", "all"]
    assert "is quantised already" in refused(command(*words))
    one = tmp_path / "two.npz"
    np.savez(one, input=np.load(digits / "digits.npz")["input"][:2])
    words = ["tune", digits / "digits.onnx", "--data", one, "--reduce", "30%", "--quantise", "all"]
    assert "calibrate on two" in refused(command(*words))
    with pytest.raises(tse_onnx.UsageError, match="none of"):
        tse_onnx.sensitivity(digits / "digits.onnx", digits / "digits.npz", quantise="everything")
    text = 'schema = "tse-onnx/plan/1"\nquantised = 8\n'
    with pytest.raises(tse_onnx.UsageError, match="quantised is"):
        tse_onnx.Plan.loads(text)
