"""Labels that are not those of the network are pointed out, with the option that would help."""

import json

import numpy as np
import pytest

import models
from tests.command import tse_onnx

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doubt")
    models.save("digits_se", folder / "net.onnx")
    images, labels = models.digits()
    some = labels < 9
    np.savez(folder / "right.npz", input=images[some][:90], labels=labels[some][:90])
    np.savez(folder / "higher.npz", input=images[some][:90], labels=labels[some][:90] + 1)
    np.savez(folder / "drawn.npz", input=images[:90], labels=(3 * labels[:90] + 1) % 10)
    np.savez(folder / "few.npz", input=images[some][:20], labels=labels[some][:20] + 1)
    return folder


def evaluated(folder, data, *words):
    done = tse_onnx("evaluate", "net.onnx", "--rows", 7, "--data", data, *words, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize("data", ["higher.npz", "drawn.npz"])
def test_labels_that_fit_by_chance_are_doubted_and_no_gain_is_reported(folder, data):
    shown = evaluated(folder, data)
    doubt = next(line for line in shown.splitlines() if line.startswith("Doubtful: "))
    assert ("were every label one less" in doubt) == (data == "higher.npz")
    assert ("--label-offset" in doubt) == (data == "higher.npz")
    assert ("--preprocess" in doubt) == (data == "drawn.npz")
    assert "points" not in evaluated(folder, data, "--by-stage")
    row = next(line for line in shown.splitlines() if line.startswith("the conversion"))
    assert row.count(" %") == 3  # top-1, top-5 and the agreement: no change of them, none lost, none gained
    assert "," not in row
    told = json.loads(evaluated(folder, data, "--format", "json"))
    assert f"Doubtful: {told['models'][0]['outputs'][0]['accuracy']['doubt']}." == doubt


@pytest.mark.parametrize(
    ("data", "words"), [("right.npz", ()), ("higher.npz", ("--label-offset", -1)), ("few.npz", ())]
)
def test_labels_that_fit_and_few_samples_are_not_doubted(folder, data, words):
    assert "Doubtful" not in evaluated(folder, data, *words)
    told = json.loads(evaluated(folder, data, *words, "--format", "json"))
    assert told["models"][0]["outputs"][0]["accuracy"]["doubt"] is None


@pytest.mark.parametrize(("data", "code"), [("right.npz", 0), ("few.npz", 0), ("higher.npz", 1), ("drawn.npz", 1)])
def test_a_bound_on_the_loss_is_not_kept_by_labels_that_fit_by_chance(folder, data, code):
    """No network loses anything by such labels, so the job would pass whatever the conversion did."""
    done = tse_onnx("evaluate", "net.onnx", "--rows", 1, "--data", data, "--max-loss", 100, "--quiet", cwd=folder)
    assert done.returncode == code
    assert ("the loss of accuracy cannot be judged" in done.stderr.decode()) == bool(code)
    assert ("Doubtful: " in done.stdout.decode()) == bool(code)
    assert ("top-1" in done.stdout.decode()) != bool(code)
