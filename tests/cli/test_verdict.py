"""One verdict: the same numbers for one plan, whichever command is asked."""

import json

import numpy as np
import pytest

import models
from tests.command import tse_onnx

pytestmark = pytest.mark.slow

LINES = ("Scales of the blocks: ", "Whole network: ", "Accuracy: ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained network, data for it and a plan."""
    folder = tmp_path_factory.mktemp("verdict")
    models.save("digits_se", folder / "digits.onnx")
    images, labels = models.digits()
    np.savez(folder / "digits.npz", input=images[:60], labels=labels[:60])
    tuned = told("tune", "digits.onnx", "--data", "digits.npz", "--reduce", "40%", "--trials", "0", "--points", "0",
                 "-o", "plan.toml", cwd=folder)  # fmt: skip
    (folder / "tuned.json").write_text(json.dumps(tuned))
    return folder


def told(*arguments, cwd):
    done = tse_onnx(*arguments, "--format", "json", cwd=cwd)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_one_plan_has_one_verdict(folder):
    tuned = json.loads((folder / "tuned.json").read_text())["verdict"]
    reported = told("report", "digits.onnx", "--plan", "plan.toml", cwd=folder)
    converted = told("convert", "digits.onnx", "out.onnx", "--plan", "plan.toml", "--report", "out.json", cwd=folder)
    for found in (reported["verdict"], converted["verdict"]):
        assert {key: found[key] for key in ("scales", "network", "machine", "figure")} == {
            key: tuned[key] for key in ("scales", "network", "machine", "figure")
        }
    assert json.loads((folder / "out.json").read_text())["verdict"] == converted["verdict"]
    # And these are the numbers that stand elsewhere.
    flows = reported["dataflow"]
    assert tuned["network"] == {side: flows[side]["totals"]["min"]["bytes"] for side in ("before", "after")}
    assert tuned["machine"] == flows["after"]["machine"]
    assert tuned["scales"]["after"] == reported["totals"]["buffer_after_bytes"] < tuned["scales"]["before"]
    written = told("stream", "out.onnx", "--no-run", cwd=folder)["dataflow"]["totals"]["min"]["bytes"]
    assert written == tuned["network"]["after"]


def test_people_read_the_same_lines_everywhere(folder):
    said = [
        [line for line in tse_onnx(*words, cwd=folder).stdout.decode().splitlines() if line.startswith(LINES)]
        for words in (
            ("report", "digits.onnx", "--plan", "plan.toml"),
            ("convert", "digits.onnx", "out.onnx", "--plan", "plan.toml"),
            ("tune", "digits.onnx", "--data", "digits.npz", "--reduce", "40%", "--trials", "0", "--points", "0"),
        )
    ]
    assert [len(lines) for lines in said] == [3, 3, 3]
    assert said[0][:2] == said[1][:2] == said[2][:2]
    assert said[0][2] == "Accuracy: unknown, nothing was run."
    assert said[1][2] == "Accuracy: unknown, only noise was run."
    assert said[2][2].startswith("Accuracy: agreement ")


def test_noise_says_nothing_of_accuracy(folder):
    noise = tse_onnx("convert", "digits.onnx", "out.onnx", "--report", "out.json", cwd=folder).stdout.decode()
    assert "agreement" not in noise
    assert json.loads((folder / "out.json").read_text())["verdict"]["accuracy"] is None
    words = ("convert", "digits.onnx", "out.onnx", "--data", "digits.npz", "--report", "out.json")
    assert "Accuracy: agreement " in tse_onnx(*words, cwd=folder).stdout.decode()
    accuracy = json.loads((folder / "out.json").read_text())["verdict"]["accuracy"]
    judged = told("evaluate", "digits.onnx", "out.onnx", "--data", "digits.npz", cwd=folder)["models"][0]["outputs"][0]
    assert accuracy["agreement"] == judged["agreement"]
    assert accuracy["kl"] == pytest.approx(judged["kl"], rel=1e-4)
    assert accuracy["samples"] == "60 samples from digits.npz"


def test_the_network_is_counted_where_the_result_is_verified_or_it_is_asked_for(folder):
    def network(*more):
        return told("convert", "digits.onnx", "out.onnx", *more, cwd=folder)["verdict"]["network"]

    counted = network()
    assert counted["after"] < counted["before"]
    assert network("--no-verify", "--dataflow") == counted
    assert network("--no-verify") is None
    assert network("--no-dataflow") is None
