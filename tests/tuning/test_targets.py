"""Tuning for a target: what it takes in no form is not offered, said, and not chosen."""

from __future__ import annotations

import json

import numpy as np
import pytest

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as run
from tse_onnx import CheckFailed, Limit, Menu, Plan, Recompute, Target, Tiling

MENU = Menu(rows=(3, 4, 7, 8), squeezes=("tile", "running", "recompute"))

# What is left of the ways to a mean is one that needs tiles of one size: rows that divide.
EVEN = """
name = "even"
[[limits]]
measure = "operator"
operators = ["AveragePool", "CumSum", "MatMul", "Split"]
source = "a page"
version = "1"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tuning")
    models.save("digits_se", path / "digits.onnx")
    (path / "even.toml").write_text(EVEN)
    np.save(path / "noise.npy", np.random.default_rng(0).random((6, 1, 32, 32), dtype=np.float32))
    return path


def bears(folder, **options):
    said = {"menu": MENU, "cache": False, "figure": "gate"} | options
    return tse_onnx.sensitivity(folder / "digits.onnx", folder / "noise.npy", **said)


def choices(entry):
    return [one.choice for one in entry.candidates]


@pytest.mark.slow
def test_what_fits_is_what_a_conversion_of_the_block_alone_comes_to(folder):
    """Each choice by itself, written for the target by the library: whether it is refused."""
    free, held = bears(folder), bears(folder, target=folder / "even.toml")
    assert held.target.name == "even"
    assert free.target is None
    seen = set()
    for offered, entry in zip(free.blocks, held.blocks, strict=True):
        name = entry.block.name
        outside = [choice for choice, _ in entry.outside]
        assert [one for one in choices(offered) if one not in outside] == choices(entry)
        for choice in choices(offered)[1:]:
            made = tse_onnx.convert(
                folder / "digits.onnx", plan=Plan(None, {name: choice}), target=folder / "even.toml", verify=False
            )
            decision = next(one for one in made.blocks if one.block.name == name)
            assert (decision.status == "refused") == (choice in outside), (name, choice)
            seen.add(choice in outside)
        assert all("within the limits of even" in why for _, why in entry.outside)
    assert seen == {True, False}


@pytest.mark.slow
def test_the_losses_of_what_is_offered_are_the_same(folder):
    free, held = bears(folder), bears(folder, target=folder / "even.toml")
    for offered, entry in zip(free.blocks, held.blocks, strict=True):
        known = {one.choice: one for one in offered.candidates}
        assert all(known[one.choice] == one for one in entry.candidates)


@pytest.mark.slow
def test_a_plan_within_the_limits_that_names_its_target(folder):
    menu = Menu(rows=(3, 4, 7, 8), squeezes=("tile",))
    found = tse_onnx.tune(
        folder / "digits.onnx", folder / "noise.npy", reduce=0.5, menu=menu, figure="gate", freeze="never",
        cache=False, trials=2, points=2, target=folder / "even.toml",
    )  # fmt: skip
    assert found.plan.target == str(folder / "even.toml")
    tiles = [choice for choice in found.plan.choices.values() if isinstance(choice, Tiling)]
    assert tiles
    assert {choice.rows for choice in tiles} <= {4, 8}
    result = tse_onnx.convert(folder / "digits.onnx", plan=found.plan, verify=False)
    assert (
        tse_onnx.convert(folder / "digits.onnx", plan=found.plan, verify=False, target="hls4ml").blocks[0].status
        == "refused"
    )
    assert result.report.buffering.totals.converted == len(tiles)


def test_where_nothing_fits_the_note_says_why(folder):
    target = Target(
        "t", "a target", (Limit(("AveragePool", "ReduceMean", "Split", "MatMul"), "operator", "a page", "1"),)
    )
    menu = Menu(rows=(4,), squeezes=("tile",))
    asked = {"menu": menu, "figure": "gate", "freeze": "never", "cache": False, "trials": 0, "points": 0}
    found = tse_onnx.tune(folder / "digits.onnx", folder / "noise.npy", reduce=0, target=target, **asked)
    assert set(found.plan.choices.values()) == {None}
    assert all("within the limits of t" in note for note in found.plan.notes.values())
    assert found.plan.target is None
    with pytest.raises(CheckFailed, match="no plan needs as little"):
        tse_onnx.tune(folder / "digits.onnx", folder / "noise.npy", reduce=0.5, target=target, **asked)


def test_divisors_of_the_rows(folder):
    found = bears(folder, menu=Menu(rows=(3, 7), squeezes=("tile",), divisors=True), freeze="never")
    made = {entry.block.extents[0]: [choice.rows for choice in choices(entry)[1:]] for entry in found.blocks}
    assert made == {32: [2, 8], 16: [2, 8], 8: [2]}  # of 2 and 4 the smaller; 8 rows of 8 are the whole map
    assert not any(isinstance(choice, Recompute) for entry in found.blocks for choice in choices(entry))


@pytest.mark.slow
def test_the_commands(folder):
    words = (
        "--data", "noise.npy", "--rows", "3,8", "--squeeze", "tile", "--freeze", "never", "--figure", "gate",
        "--no-cache", "--target",
    )  # fmt: skip
    done = run("sensitivity", "digits.onnx", *words, "even.toml", "--format", "json", cwd=folder)
    told = validated(done.stdout, "sensitivity")
    assert told["target"] == "even"
    assert "target_note" not in told
    assert [[one["rows"] for one in block["outside"]] for block in told["blocks"]] == [[3]] * 4
    assert all("line_means' would be there" in one["reason"] for block in told["blocks"] for one in block["outside"])
    text = run("sensitivity", "digits.onnx", *words, "even.toml", cwd=folder).stdout.decode()
    assert "Not offered: /3/body/body.6: 1 of 2 choices, as tile of 3 rows: no form of it is within" in text
    more = ("--reduce", "20%", "--trials", "0", "--points", "0", "-o", "plan.toml", "--format", "json")
    more = (*more, "--input-shape", "1,1,32,32", "--rows", "2,3")
    done = run("tune", "digits.onnx", *words, "ethos-u", *more, cwd=folder)
    told = validated(done.stdout, "tune")["sensitivity"]
    assert "--squeeze recompute" in told["target_note"]
    assert done.stderr.decode().splitlines()[-1].startswith("Note on ethos-u: tiles save nothing here")
    assert 'target = "ethos-u"' in (folder / "plan.toml").read_text()
    assert "target" not in json.loads(
        run("sensitivity", "digits.onnx", *words[:-1], "--format", "json", cwd=folder).stdout
    )
    assert "not 'ascent'" in refused(run("tune", "digits.onnx", *words, "ascent", "--reduce", "10%", cwd=folder))
