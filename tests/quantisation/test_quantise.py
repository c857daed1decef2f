"""quantise as a command and as a function: what is written, what is said, and what is refused."""

import json
import os

import numpy as np
import onnx
import pytest

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as run
from tests.graphs import text_model
from tests.quantisation.test_qdq import DATA, TWO, WEIGHTS
from tests.running import session


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    models.save("digits_se", folder / "digits.onnx")
    images, labels = models.digits()
    np.savez(folder / "digits.npz", input=images[:120], labels=labels[:120])
    return folder


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(text_model(TWO, WEIGHTS), "two.onnx")
    np.save("data.npy", DATA)
    return tmp_path


WORDS = ("quantise", "digits.onnx", "eight.onnx", "--data", "digits.npz")


def test_the_command_and_the_function_agree_and_judge_on_what_was_not_calibrated_on(folder):
    printed = validated(run(*WORDS, "--correct", "bias", "--format", "json", cwd=folder).stdout, "quantisation")
    data = tse_onnx.Data(folder / "digits.npz", limit=50)
    result = tse_onnx.quantise(folder / "digits.onnx", data=data, correct="bias")
    assert result.serialized() == (folder / "eight.onnx").read_bytes()
    assert result.to_dict() | {"model": "digits.onnx"} == printed
    assert printed["judged"] == {"samples": "70 of 120 samples from digits.npz", "held_out": True}
    assert printed["calibration"] == {
        "method": "percentile",
        "samples": "50 of 120 samples from digits.npz",
        "values": 22,
    }
    assert [one["quantised"] for one in printed["layers"]] == [True] * 22
    found = session(str(folder / "eight.onnx"))
    chosen = sorted(np.random.default_rng(0).choice(120, 50, replace=False))
    images, labels = (array[:120] for array in models.digits())
    rest = [number for number in range(120) if number not in chosen]
    logits = found.run(None, {found.get_inputs()[0].name: images[rest]})[0]
    assert printed["verdict"]["top1"] == pytest.approx((logits.argmax(1) == labels[rest]).mean())


def test_what_is_shown(folder):
    text = run(*WORDS, "--correct", "bias", "--keep", "/3/body/body.0/Conv", cwd=folder).stdout.decode()
    assert "The quantised model was written to eight.onnx." in text
    assert "Quantised 21 of 22 convolutions" in text
    assert "In float: /3/body/body.0/Conv, asked for." in text
    assert "Corrected 22 biases, and verified" in text
    assert run(*WORDS, "-q", cwd=folder).stdout.decode().startswith("Accuracy: top-1")
    result = tse_onnx.quantise(folder / "digits.onnx", data=tse_onnx.Data(folder / "digits.npz", limit=120))
    assert not result.held_out
    assert "which it was calibrated on" in repr(result)


def test_standard_output_and_the_model_itself(folder, tmp_path):
    poured = run("quantise", "digits.onnx", "-", *WORDS[3:], cwd=folder)
    run(*WORDS, cwd=folder)
    assert poured.stdout == (folder / "eight.onnx").read_bytes()
    assert b"Quantised 22 of 22" in poured.stderr
    path = tmp_path / "same.onnx"
    path.write_bytes((folder / "digits.onnx").read_bytes())
    run("quantise", "same.onnx", "same.onnx", "--data", str(folder / "digits.npz"), cwd=tmp_path)
    assert path.read_bytes() == poured.stdout


REFUSED = {
    "one sample": (["two.onnx", "out.onnx", "--data", "data.npy", "--limit", "1"], "one sample says nothing of the range"),
    "no data": (["two.onnx", "out.onnx", "--data", "none.npy"], "none.npy"),
    "a layer": (["two.onnx", "out.onnx", "--data", "data.npy", "--keep", "yy"], "no convolution 'yy'; the nearest name is 'y'"),
    "quantised": (["eight.onnx", "out.onnx", "--data", "data.npy"], "eight.onnx is quantised already, as QuantizeLinear"),
    "opset": (["old.onnx", "out.onnx", "--data", "data.npy"], "old.onnx is in opset 12, which has no scale for each channel"),
    "folder": (["two.onnx", "no/such/out.onnx", "--data", "data.npy"], "no/such"),
    "half": (["half.onnx", "out.onnx", "--data", "half.npy"], "it is in half precision, which has quantisers from opset 19 on"),
    "nothing": (["relu.onnx", "out.onnx", "--data", "data.npy"], "relu.onnx has no convolution to quantise"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_one_line_and_nothing_is_written(small, what):
    tse_onnx.quantise("two.onnx", "eight.onnx", data="data.npy")
    onnx.save(text_model(TWO, WEIGHTS, opset=12), "old.onnx")
    onnx.save(text_model("y = Relu(x)"), "relu.onnx")
    half = {"inputs": "float16[N, 8, 16, 12] x", "outputs": "float16[N, 8, 16, 12] y"}
    onnx.save(text_model(TWO, {name: array.astype(np.float16) for name, array in WEIGHTS.items()}, **half), "half.onnx")
    np.save("half.npy", DATA.astype(np.float16))
    before = sorted(os.listdir(small))
    words, said = REFUSED[what]
    assert said in refused(run("quantise", *words, cwd=small))
    assert sorted(os.listdir(small)) == before


def test_options_that_make_no_sense(small):
    with pytest.raises(tse_onnx.UsageError, match="what is corrected is bias, not 'mean'"):
        tse_onnx.quantise("two.onnx", data="data.npy", correct="mean")
    with pytest.raises(tse_onnx.UsageError, match="not on streams of frames"):
        tse_onnx.quantise("two.onnx", data=tse_onnx.Data(".", frames=True))


def test_a_fixed_batch_is_kept_whole(small):
    onnx.save(text_model(TWO, WEIGHTS, inputs="float[4, 8, 16, 12] x", outputs="float[4, 8, 16, 12] y"), "four.onnx")
    result = tse_onnx.quantise("four.onnx", data=tse_onnx.Data(DATA, limit=6))
    assert result.ranges.samples == 4
    assert result.scores[0].samples == 8


def test_restore_says_what_it_put_back(small):
    tse_onnx.quantise("two.onnx", "plain.onnx", data=tse_onnx.Data("data.npy", limit=8))
    words = ("quantise", "two.onnx", "moved.onnx", "--data", "data.npy", "--limit", "8", "--correct", "bias")
    run(*words, "--report", "report.json", cwd=small)
    assert json.loads((small / "report.json").read_text())["scores"]["uncorrected"]
    done = run("restore", "moved.onnx", "back.onnx", cwd=small)
    assert done.stdout == b"Restored 2 biases; written to back.onnx.\n"
    assert (small / "back.onnx").read_bytes() == (small / "plain.onnx").read_bytes()
    assert run("restore", "back.onnx", "back.onnx", cwd=small).stdout.startswith(b"No block is tiled")


def layers_in_float(result):
    return [layer.name for layer in result.layers if not layer.quantised]


def test_the_layers_that_lose_most_stay_in_float(folder):
    data = tse_onnx.Data(folder / "digits.npz", limit=50)
    worst = tse_onnx.noise(folder / "digits.onnx", data=data)
    printed = validated(run(*WORDS, "--keep", "3", "--format", "json", cwd=folder).stdout, "quantisation")
    kept = {one["node"]: one for one in printed["layers"] if not one["quantised"]}
    assert set(kept) == set(worst.ranking[:3])
    assert kept[worst.ranking[0]]["reason"] == "number 1 of those that lose most"
    shares = {layer.node: worst.share(layer.quantised) for layer in worst.layers}
    assert {one["node"]: one["share"] for one in printed["layers"]} == pytest.approx(shares, rel=1e-3)
    result = tse_onnx.quantise(folder / "digits.onnx", data=data, keep=3)
    assert result.serialized() == (folder / "eight.onnx").read_bytes()
    by_name = tse_onnx.quantise(folder / "digits.onnx", data=data, keep=worst.ranking[:3])
    assert by_name.serialized() == result.serialized()
    plain = tse_onnx.quantise(folder / "digits.onnx", data=data)
    assert result.scores[0].sqnr_db > plain.scores[0].sqnr_db + 1
    text = run(*WORDS, "--keep", "1", "--keep", "/7/Conv", cwd=folder).stdout.decode()
    assert f"In float: {worst.ranking[0]}, number 1 of those that lose most, " in text
    assert "In float: /7/Conv, asked for." in text


def test_as_few_as_keep_the_loss_within_a_bound(folder):
    """The loss with one layer fewer is over the bound, by a model that is told which layers to keep."""
    data = tse_onnx.Data(folder / "digits.npz", limit=50)
    images = models.digits()[0][sorted(np.random.default_rng(0).choice(120, 50, replace=False))]
    result = tse_onnx.quantise(folder / "digits.onnx", data=data, keep_loss=0.0005)
    ranking = tse_onnx.noise(folder / "digits.onnx", data=data).ranking
    count = len(layers_in_float(result))
    assert 0 < count < 21
    assert set(layers_in_float(result)) == set(ranking[:count])
    losses = []
    for many in (count - 1, count):
        made = tse_onnx.quantise(folder / "digits.onnx", data=data, keep=ranking[:many])
        made.model.SerializeToString()
        losses.append(divergence(folder, made.model, images))
    assert losses[1] <= 0.0005 < losses[0]
    assert not layers_in_float(tse_onnx.quantise(folder / "digits.onnx", data=data, keep_loss=10.0))


def divergence(folder, model, images):
    """KL of the softmax, by numpy."""

    def spread(opened):
        logits = opened.run(None, {opened.get_inputs()[0].name: images})[0].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    was, now = spread(session(str(folder / "digits.onnx"))), spread(session(model))
    return (np.exp(was) * (was - now)).sum(axis=1).mean()


def test_digits_are_a_name_where_there_is_a_layer_of_that_name(small):
    model = text_model(TWO, WEIGHTS)
    for node in model.graph.node:
        node.name = {"h": "2", "y": "7"}.get(node.output[0], node.name)
    onnx.save(model, "digits.onnx")
    assert layers_in_float(tse_onnx.quantise("digits.onnx", data="data.npy", keep="2")) == ["2"]
    assert layers_in_float(tse_onnx.quantise("digits.onnx", data="data.npy", keep="1")) != []
    assert layers_in_float(tse_onnx.quantise("digits.onnx", data="data.npy", keep=1)) != []


KEEPING = {
    "all": (["--keep", "2"], "two.onnx has 2 layers to quantise: 2 of them cannot stay in float", 2),
    "both": (["--keep", "1", "--keep-loss", "1"], "--keep-loss exclude each other", 2),
    "two numbers": (["--keep", "1", "--keep", "2"], "1 and 2 are both said", 2),
    "many digits": (["--keep", "9" * 5000], "no convolution '9999", 2),
    "below zero": (["--keep-loss", "-1"], "--keep-loss", 2),
    "out of reach": (["--keep-loss", "0"], "more than the bound of 0", 1),
}


@pytest.mark.parametrize("what", KEEPING)
def test_what_cannot_be_kept_is_one_line_and_nothing_is_written(small, what):
    words, said, code = KEEPING[what]
    before = sorted(os.listdir(small))
    assert said in refused(run("quantise", "two.onnx", "out.onnx", "--data", "data.npy", *words, cwd=small), code)
    assert sorted(os.listdir(small)) == before


@pytest.mark.parametrize("order", ["tiles first", "eight bits first"])
def test_tiles_and_eight_bits_in_either_order(folder, tmp_path, order):
    """Neither order quantises anything that the other does not, and both lose what the two lose alone, or less."""
    data, net = tse_onnx.Data(folder / "digits.npz", limit=50), folder / "digits.onnx"
    plain = tse_onnx.quantise(net, tmp_path / "eight.onnx", data=data)
    tiled = tse_onnx.convert(net, tmp_path / "tiled.onnx", rows=7)
    if order == "tiles first":
        both = tse_onnx.quantise(tmp_path / "tiled.onnx", data=data).model
    else:
        both = tse_onnx.convert(tmp_path / "eight.onnx", rows=7).model
    counts = [sum(node.op_type == "QuantizeLinear" for node in made.graph.node) for made in (plain.model, both)]
    assert counts[0] == counts[1]
    onnx.save(both, tmp_path / "both.onnx")
    everything = tse_onnx.Data(folder / "digits.npz")
    scores = [
        tse_onnx.evaluate(net, made, data=everything).models[0].outputs[0] for made in (tiled.model, plain.model, both)
    ]
    noises = [10 ** (-score.sqnr_db / 10) for score in scores]
    assert noises[2] <= 1.25 * (noises[0] + noises[1])


def test_the_layers_in_float_are_those_that_lose_most_in_runs_of_the_whole_network(folder):
    """One layer quantised at a time, and the noise of its logits by numpy, on the samples that are calibrated on."""
    data = tse_onnx.Data(folder / "digits.npz", limit=50)
    images = models.digits()[0][sorted(np.random.default_rng(0).choice(120, 50, replace=False))]

    def logits(model):
        opened = session(model)
        return opened.run(None, {opened.get_inputs()[0].name: images})[0].astype(np.float64)

    original = logits(str(folder / "digits.onnx"))
    result = tse_onnx.quantise(folder / "digits.onnx", data=data, keep=2)
    names = [layer.name for layer in result.layers]
    alone = {}
    for name in names:
        made = tse_onnx.quantise(folder / "digits.onnx", data=data, keep=[other for other in names if other != name])
        alone[name] = np.square(logits(made.model) - original).sum()
    first, second = sorted(names, key=lambda name: -alone[name])[:2]
    assert set(layers_in_float(result)) == {first, second}
    shares = {layer.name: layer.share for layer in result.layers}
    assert shares[first] / shares[second] == pytest.approx(alone[first] / alone[second], rel=1e-3)
