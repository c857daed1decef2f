"""One verdict: the same numbers for one plan, whichever command is asked."""

import json
import re

import numpy as np
import pytest

import models
from tests.command import refused, tse_onnx

pytestmark = pytest.mark.slow

LINES = ("Scales of the blocks: ", "Whole network: ", "Accuracy: ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained network, and data for it."""
    folder = tmp_path_factory.mktemp("verdict")
    models.save("digits_se", folder / "digits.onnx")
    images, labels = models.digits()
    np.savez(folder / "digits.npz", input=images[:60], labels=labels[:60])
    return folder


def told(*arguments, cwd):
    done = tse_onnx(*arguments, "--format", "json", cwd=cwd)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=[(), ("--machine", "cascade", "--bits", "8")], ids=["plain", "cascade"])
def machine(request):
    """Options of a machine."""
    return request.param


TUNE = (
    "tune",
    "digits.onnx",
    "--data",
    "digits.npz",
    "--reduce",
    "40%",
    "--trials",
    "0",
    "--points",
    "0",
    "--no-cache",
)


def test_one_plan_has_one_verdict(folder, machine):
    tuned = told(*TUNE, *machine, "-o", "own.toml", cwd=folder)["verdict"]
    plan = ("--plan", "own.toml", *machine)
    reported = told("report", "digits.onnx", *plan, cwd=folder)
    converted = told("convert", "digits.onnx", "out.onnx", *plan, "--report", "out.json", cwd=folder)
    for found in (reported["verdict"], converted["verdict"]):
        assert {key: found[key] for key in ("scales", "network", "machine", "figure")} == {
            key: tuned[key] for key in ("scales", "network", "machine", "figure")
        }
    assert json.loads((folder / "out.json").read_text())["verdict"] == converted["verdict"]
    # And these are the numbers that stand elsewhere.
    flows = reported["dataflow"]
    assert tuned["network"] == {side: flows[side]["totals"]["min"]["bytes"] for side in ("before", "after")}
    assert tuned["machine"] == flows["after"]["machine"]
    assert tuned["machine"]["bits"] == (8 if machine else None)
    if not machine:  # the totals of a report are at the tensors' own types
        assert tuned["scales"]["after"] == reported["totals"]["buffer_after_bytes"] < tuned["scales"]["before"]
    written = told("stream", "out.onnx", "--no-run", *machine, cwd=folder)["dataflow"]["totals"]["min"]["bytes"]
    assert written == tuned["network"]["after"]


def test_people_read_the_same_lines_everywhere(folder, machine):
    tuned = tse_onnx(*TUNE, *machine, "-o", "own.toml", cwd=folder).stdout.decode()
    plan = ("--plan", "own.toml", *machine)
    drawn = tse_onnx("report", "digits.onnx", *plan, "--plot", "p.svg", cwd=folder).stdout.decode()
    converted = tse_onnx("convert", "digits.onnx", "out.onnx", *plan, cwd=folder).stdout.decode()
    picture = "\n".join(re.findall("<!-- (.*) -->", (folder / "p.svg").read_text()))
    said = [
        [line for line in text.splitlines() if line.startswith(LINES)] for text in (drawn, picture, converted, tuned)
    ]
    assert [len(lines) for lines in said] == [3, 3, 3, 3]
    assert said[0][:2] == said[1][:2] == said[2][:2] == said[3][:2]
    assert said[0][2] == said[1][2] == "Accuracy: unknown, nothing was run."
    assert said[2][2] == "Accuracy: unknown, only noise was run."
    assert said[3][2].startswith("Accuracy: agreement ")


def test_a_machine_is_for_what_is_counted(folder):
    words = ("convert", "digits.onnx", "gone.onnx", "--no-verify", "--replay", "shared")
    assert "--replay says what the whole network is counted on" in refused(tse_onnx(*words, cwd=folder))
    assert told(*words, "--dataflow", cwd=folder)["verdict"]["machine"]["replay"] == "shared"


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
