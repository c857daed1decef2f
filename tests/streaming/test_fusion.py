"""A layer and what follows it as one stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import models
import tse_onnx
from tests.command import tse_onnx as run
from tests.random_networks import networks
from tests.streams import CONV3, SE, SE_WEIGHTS, assert_tight, stream_model, streamed
from tse_onnx import Machine, Recompute
from tse_onnx.streaming.depths import fusion
from tse_onnx.streaming.execute.certificate import certify
from tse_onnx.streaming.network.machines import MACHINES
from tse_onnx.streaming.network.read import network_of

FUSED = Machine(fusion=True)
WEIGHTS = {"w": (4, 4, 3, 3), "v": (4, 4, 3, 3), "scale": (4,), "shift": (4,), "mean": (4,), "spread": (4,)}


def held(body, machine=None, weights=WEIGHTS, **options):
    found = tse_onnx.stream(stream_model(body, (1, 4, 12, 6), weights, **options), machine=machine)
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
    found = tse_onnx.stream(stream_model(body, (1, 4, 12, 6), weights), machine=FUSED)
    assert found.of("h").min.rows == 12
    assert found.of("h").kind == "gate"
    assert "a" not in {buffer.tensor for buffer in found.buffers}
    assert found.weights == tse_onnx.stream(stream_model(body, (1, 4, 12, 6), weights)).weights


@pytest.mark.parametrize("storage", ["shared", "per-reader"])
@pytest.mark.parametrize("name", ["digits_se", "efficientnet_b0_torchscript_17"])
def test_stages_that_are_one_hold_less_and_are_minimal(name, storage):
    model = models.load(name)
    found = streamed(model, Machine(storage=storage, fusion=True))
    if name == "digits_se":
        assert_tight(found)
    apart = tse_onnx.stream(model, machine=Machine(storage=storage)).totals
    together = tse_onnx.stream(model, machine=Machine(storage=storage, fusion=True)).totals
    assert together["gate"] == apart["gate"]
    assert together["bound"] == together["min"]
    assert together["min"].elements < 0.9 * apart["min"].elements


def test_maps_that_are_made_twice_are_fused_alike():
    model = tse_onnx.convert(models.load("digits_se"), tiling=Recompute(), verify=False).model
    cascade = tse_onnx.stream(model, machine="cascade")
    assert (
        cascade.totals["min"].elements < tse_onnx.stream(model, machine=Machine(replay="shared")).totals["min"].elements
    )
    assert len(cascade.payoffs) == 2
    for payoff in cascade.payoffs:
        assert payoff.pays


@pytest.mark.parametrize(("body", "apart"), [
    # What reads the layer alone is part of it, by whatever way; what adds another tensor is not.
    (f"a = {CONV3}(x, w)\ng = Sigmoid(a)\ny = Mul(a, g)", False),
    (f"a = {CONV3}(x, w)\np = Mul(a, half)\nq = Erf(p)\nr = Add(q, one)\ny = Mul(a, r)", False),
    (f"a = {CONV3}(x, w)\nb = Relu(a)\ny = Add(b, x)", True),
    (f"a = {CONV3}(x, w)\nb = {CONV3}(x, v)\nc = Add(a, b)\ny = Relu(c)", True),
])  # fmt: skip
def test_joins_are_stages_of_their_own_where_the_machine_says_so(body, apart):
    model = stream_model(body, (1, 4, 12, 6), WEIGHTS | {"half": np.float32([0.5]), "one": np.float32([1.0])})
    fused, separate = (
        {buffer.tensor for buffer in tse_onnx.stream(model, machine=machine).buffers}
        for machine in (FUSED, Machine(fusion=True, joins="separate"))
    )
    kept = {name for node in model.graph.node if node.op_type == "Add" for name in node.input} if apart else set()
    assert separate - {"one"} == fused | kept


def certified(model, machine, axis=0):
    network = network_of(model, axis=axis)
    random = np.random.default_rng(0)
    feed = {each.name: random.standard_normal(each.dims).astype(np.float32) for each in network.sources}
    return certify(model, network, feed, machine=machine)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["shared", "per-reader"])
@pytest.mark.parametrize("joins", ["fused", "separate"])
@settings(max_examples=30, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(networks())
def test_a_random_network_runs_with_stages_that_are_one(storage, joins, model):
    found = certified(model, Machine(storage=storage, fusion=True, joins=joins))
    assert found.passed, [proof.text for proof in found.proofs if not proof.passed]


def test_the_run_makes_a_row_of_all_that_is_one_stage():
    body = f"a = {CONV3}(x, w)\nb = Relu(a)\ny = Add(b, x)"
    model = stream_model(body, (1, 4, 12, 6), WEIGHTS)
    found = certified(model, FUSED)
    assert found.passed
    assert found.firings == 12
    assert found.bound_bytes == (3 + 1) * 4 * 6 * 4
    assert [(each.tensor, each.rows) for each in found.deadlocks] == [("x", 2)]


def test_stages_that_would_take_more_rows_than_one_fail_in_the_run(monkeypatch):
    """A model that takes two convolutions for one stage has no row of the first but the one that is made."""
    monkeypatch.setattr(fusion, "_FOLLOWERS", fusion._FOLLOWERS | {"Conv"})
    monkeypatch.setattr(fusion, "_same", lambda link: True)
    model = stream_model(f"a = {CONV3}(x, w)\ny = {CONV3}(a, v)", (1, 4, 12, 6), WEIGHTS)
    with pytest.raises(KeyError):
        certified(model, FUSED)


def test_a_stage_has_one_store_for_what_its_nodes_read():
    """By hand: x for the layer and the addition that are one, in three rows; for the other layer in three of its own."""
    model = stream_model(
        f"a = {CONV3}(x, w)\ny = Add(a, x)\nz = {CONV3}(x, v)", (1, 4, 12, 6), WEIGHTS, outputs=("y", "z")
    )
    machine = Machine(storage="per-reader", fusion=True)
    held = {
        (buffer.tensor, buffer.reader): buffer.min.rows for buffer in tse_onnx.stream(model, machine=machine).buffers
    }
    assert held == {("x", "Conv 'a'"): 3, ("x", "Conv 'z'"): 3, ("y", None): 1, ("z", None): 1}
    assert certified(model, machine).passed


@pytest.mark.parametrize("storage", ["shared", "per-reader"])
def test_fused_machines_are_certified(storage, tmp_path):
    path = tmp_path / "digits.onnx"
    models.save("digits_se", path)
    told = run("stream", path, "--machine", "cascade", "--storage", storage).stdout
    assert told.count(b"Proved") == 4
    recomputed = tse_onnx.convert(models.load("digits_se"), tiling=Recompute(), verify=False).model
    assert certified(recomputed, replace(MACHINES["cascade"], storage=storage)).passed
