"""What `sensitivity` and `tune` print is what docs/tune.md and the schemas say."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.command import DOCS, validated
from tests.command import tse_onnx as command
from tests.graphs import network, some_input

SMALL = ("--rows", "2,5", "--step", "1,2", "--freeze", "any", "--no-cache", "--threads", 1)
QUICK = ("--trials", 1, "--points", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    model = network(14, 7)
    onnx.save(model, folder / "net.onnx")
    labels = np.random.default_rng(0).integers(0, 10, 8)
    np.savez(folder / "x.npz", x=some_input(model, batch=8), labels=labels)
    return folder


def _run(folder, *arguments):
    done = command(*arguments, *SMALL, "--data", "x.npz", cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_sensitivity_is_what_its_schema_says(folder):
    found = validated(_run(folder, "sensitivity", "net.onnx", "--format", "json", "--csv", "x.csv"), "sensitivity")
    assert (found["loss"], found["figure"], found["bits"], len(found["blocks"])) == ("kl", "min", None, 2)
    for block in found["blocks"]:
        first, *others = block["candidates"]
        assert (first["squeeze"], first["saved"], first["loss"]) == ("global", 0, 0)
        assert {one["squeeze"] for one in others} == {"tile", "running", "frozen"}
        assert {one["step"] for one in others if one["squeeze"] == "running"} == {1, 2}
        assert any(one["calibrated"] for one in others)
        assert all(one["bytes"] + one["saved"] == found["bytes_before"] for one in others)


def test_the_columns_of_the_csv_are_documented(folder):
    _run(folder, "sensitivity", "net.onnx", "--csv", "x.csv")
    (said,) = re.findall(r"^The columns of `--csv` are (.*?); a line", (DOCS / "tune.md").read_text(), re.M | re.S)
    rows = list(csv.reader(io.StringIO((folder / "x.csv").read_text())))
    assert rows[0] == re.findall(r"`([a-z_]+)`", said)
    choices = {row[1] for row in rows[1:]}
    assert {"keep", "2", "r2", "c2", "r5/2", "c5/2", "frozen"} <= choices


@pytest.mark.slow
@pytest.mark.parametrize(
    "wanted",
    [
        ("--reduce", "60%", "--figure", "gate"),
        ("--reduce", "60%", "--figure", "gate", "--axis", "both"),
        ("--max-loss", 0.01, "--loss", "top1", "--machine", "cascade"),
        ("--budget", "1KB", "--bits", 8, "--loss", "noise"),
    ],
    ids=["reduce", "axis", "max-loss", "budget"],
)
def test_tune_is_what_its_schema_says(folder, wanted):
    if "--budget" in wanted:
        wanted = ("--budget", str(_least(folder) + 100), *wanted[2:])
    found = validated(
        _run(folder, "tune", "net.onnx", *wanted, *QUICK, "--report", "x.json", "--format", "json"), "tune"
    )
    assert validated((folder / "x.json").read_text(), "tune") == found
    assert (found["budget"] is None) == ("--max-loss" in wanted)
    assert found["judged"][0]["title"] == "chosen"
    assert found["judged"][0]["scores"][0]["samples"] == 4
    assert found["chosen"] in found["pareto"]
    assert [one["axis"] for one in found["tried"]] == ([0, 1] if "--axis" in wanted else [0])
    assert {"axis": found["axis"]} | found["chosen"] in found["tried"]
    assert {one["axis"] for one in found["chosen"]["choices"] if one["rows"]} <= {found["axis"]}
    _the_verdict_says_what_stands_elsewhere(found)
    assert all(point["bytes"] >= found["least"] for point in found["pareto"])
    if found["budget"] is not None:
        assert found["chosen"]["bytes"] <= found["budget"]


def _the_verdict_says_what_stands_elsewhere(found):
    verdict, scores = found["verdict"], found["judged"][0]["scores"][0]
    for measure in ("output", "agreement", "kl", "sqnr_db"):
        assert verdict[measure] == verdict["accuracy"][measure] == scores[measure]
    assert verdict["samples"] == found["held_out"]
    figure = verdict["scales" if found["sensitivity"]["figure"] == "gate" else "network"]
    assert figure == {"before": found["sensitivity"]["bytes_before"], "after": found["chosen"]["bytes"]}
    assert verdict["figure"] == "min"


def _least(folder) -> int:
    done = command(
        "tune", "net.onnx", "--data", "x.npz", "--bits", 8, "--budget", 0, "--rows", "2", "--squeeze",
        "tile", "--freeze", "never", "--no-cache", *QUICK, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 1
    return int(re.search(rb"the least is ([0-9,]+) of", done.stderr)[1].replace(b",", b""))
