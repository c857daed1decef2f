"""A layer and what follows it as one stage."""

from __future__ import annotations

import numpy as np
import pytest

import models
import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as run
from tests.streams import CONV3, SE, SE_WEIGHTS, assert_tight, stream_model, streamed
from tse_onnx import Machine, Recompute

FUSED = Machine(fusion=True)
WEIGHTS = {"w": (4, 4, 3, 3), "v": (4, 4, 3, 3), "scale": (4,), "shift": (4,), "mean": (4,), "spread": (4,)}


def held(body, machine=None, weights=WEIGHTS, **options):
    found = tse_onnx.dataflow(stream_model(body, (1, 4, 12, 6), weights, **options), machine=machine)
    return {buffer.tensor: buffer.min.rows for buffer in found.buffers}, found.totals


@pytest.mark.parametrize("followers", [
    "b = Relu(a)",
    "n = BatchNormalization(a, scale, shift, mean, spread)\nb = HardSwish(n)",
    "g = Sigmoid(a)\nb = Mul(a, g)",
    "p = Mul(a, half)\nq = Erf(p)\nr = Add(q, one)\nt = Mul(a, r)\nb = Mul(t, half)",
])  # fmt: skip
def test_what_follows_a_layer_is_as_if_it_were_not_there(followers):
    """Of a network whose activations are one with their layers, the figures are those of one without activations."""
    weights = WEIGHTS | {"half": np.float32([0.5]), "one": np.float32([1.0])}
    with_them = held(f"a = {CONV3}(x, w)\n{followers}\ny = {CONV3}(b, v)", FUSED, weights)
    without = held(f"b = {CONV3}(x, w)\ny = {CONV3}(b, v)", None, weights)
    assert with_them == without


def test_an_addition_is_part_of_the_layer_before_it():
    """By hand: x is read by the window and by the addition at once, so three rows of it are all that there is."""
    rows, _ = held(f"a = {CONV3}(x, w)\ny = Add(a, x)", FUSED)
    assert rows == {"x": 3, "y": 1}


def test_a_stage_has_one_layer():
    rows, _ = held(f"a = {CONV3}(x, w)\nb = {CONV3}(x, v)\ny = Add(a, b)", FUSED)
    assert rows == {"x": 3, "a": 1, "y": 1}


@pytest.mark.parametrize(("body", "kept"), [
    (f"a = {CONV3}(x, w)\nb = Relu(a)\nc = {CONV3}(a, v)\ny = Add(b, c)", "a"),
    (f"a = {CONV3}(x, w)\ny = Relu(a)\nz = {CONV3}(y, v)", "y"),
])  # fmt: skip
def test_what_others_read_is_stored(body, kept):
    outputs = ("y", "z") if "z =" in body else ("y",)
    assert kept in held(body, FUSED, outputs=outputs)[0]


def test_a_gate_still_waits_for_its_map():
    body = f"a = {CONV3}(x, w)\nh = Relu(a)\n{SE.format('h')}\ny = {CONV3}(s, v)"
    weights = WEIGHTS | SE_WEIGHTS
    found = tse_onnx.dataflow(stream_model(body, (1, 4, 12, 6), weights), machine=FUSED)
    assert found.of("h").min.rows == 12
    assert found.of("h").kind == "gate"
    assert "a" not in {buffer.tensor for buffer in found.buffers}
    assert found.weights == tse_onnx.dataflow(stream_model(body, (1, 4, 12, 6), weights)).weights


@pytest.mark.parametrize("storage", ["shared", "per-reader"])
@pytest.mark.parametrize("name", ["digits_se", "efficientnet_b0_torchscript_17"])
def test_stages_that_are_one_hold_less_and_are_minimal(name, storage):
    model = models.load(name)
    found = streamed(model, Machine(storage=storage, fusion=True))
    if name == "digits_se":
        assert_tight(found)
    apart = tse_onnx.dataflow(model, machine=Machine(storage=storage)).totals
    together = tse_onnx.dataflow(model, machine=Machine(storage=storage, fusion=True)).totals
    assert together["gate"] == apart["gate"]
    assert together["bound"] == together["min"]
    assert together["min"].elements < 0.9 * apart["min"].elements


def test_maps_that_are_made_twice_are_fused_alike():
    model = tse_onnx.convert(models.load("digits_se"), tiling=Recompute(), verify=False).model
    cascade = tse_onnx.dataflow(model, machine="cascade")
    assert (
        cascade.totals["min"].elements
        < tse_onnx.dataflow(model, machine=Machine(replay="shared")).totals["min"].elements
    )
    assert len(cascade.payoffs) == 2
    for payoff in cascade.payoffs:
        assert payoff.pays


def test_the_run_has_a_stage_for_every_node(tmp_path):
    path = tmp_path / "digits.onnx"
    models.save("digits_se", path)
    assert "--no-fusion" in refused(run("stream", path, "--machine", "cascade"))
    assert b"Proved" in run("stream", path, "--machine", "cascade", "--no-fusion").stdout
