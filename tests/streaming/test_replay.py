"""Machines that make the map of a recomputed block with the same stages twice."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import helper

import models
import tse_onnx
from tests.command import tse_onnx as run
from tests.streams import CONV3, stream_model
from tse_onnx import Machine, Plan, Recompute, Tiling
from tse_onnx.passes.blocks.tiling import RUNNING
from tse_onnx.streaming.execute.certificate import certify
from tse_onnx.streaming.network.read import network_of

BLOCK = f"""
    z = Conv(x, narrow)
    e = Conv(z, wide)
    m = {CONV3}(e, kernel)
    d = GlobalAveragePool(m)
    q = Conv(d, reduce)
    r = Relu(q)
    p = Conv(r, expand)
    g = Sigmoid(p)
    s = Mul(m, g)
    o = Conv(s, narrow_again)
"""
WEIGHTS = {
    "narrow": (2, 3, 1, 1), "wide": (16, 2, 1, 1), "kernel": (16, 16, 3, 3), "reduce": (4, 16, 1, 1),
    "expand": (16, 4, 1, 1), "narrow_again": (2, 16, 1, 1),
}  # fmt: skip
ROWS = 12
TAILS = {"plain": "y = Relu(o)", "residual": "y = Add(o, z)"}


def block(tail="plain"):
    return stream_model(BLOCK + TAILS[tail], (1, 3, ROWS, 4), WEIGHTS)


def recomputed(model):
    return tse_onnx.convert(model, tiling=Recompute(), verify=False).model


def least(model, **machine):
    return tse_onnx.stream(model, machine=Machine(**machine))


def feed_of(network):
    random = np.random.default_rng(0)
    return {each.name: random.standard_normal(each.dims).astype(np.float32) for each in network.sources}


@pytest.mark.parametrize("storage", ["shared", "per-reader"])
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("cascade", [False, True])
def test_a_block_whose_stages_are_used_twice_is_certified(tail, storage, cascade):
    model = tse_onnx.convert(block(tail), tiling=Recompute(cascade=cascade), verify=False).model
    network = network_of(model)
    found = certify(model, network, feed_of(network), machine=Machine(storage=storage, replay="shared"))
    assert found.passed, [proof.text for proof in found.proofs]


def test_digits_is_certified_where_some_maps_are_made_twice():
    model = recomputed(models.load("digits_se"))
    network = network_of(model)
    found = certify(model, network, {"input": models.images("digits_se")}, machine=Machine(replay="shared"))
    assert found.passed, [proof.text for proof in found.proofs]


def test_the_narrow_value_waits_and_nothing_else_is_there_twice():
    """By hand: the original holds all rows of the map m (16 wide, 4 columns) and one of z (2 wide); the other way
    round where the map is made twice with the same stages."""
    before, after = least(block()).totals, least(recomputed(block()), replay="shared").totals
    assert before["min"].elements - after["min"].elements == (ROWS - 1) * (16 - 2) * 4
    assert after["bound"] == after["min"]


def test_what_waits_for_an_addition_anyway_costs_nothing():
    before, after = least(block("residual")).totals, least(recomputed(block("residual")), replay="shared").totals
    # z waits for the addition: till the gate is known in the original too, and for a row on its way through m's window.
    assert before["min"].elements - after["min"].elements >= (ROWS - 1) * 16 * 4 - 2 * 2 * 4
    assert before["gate"].elements == ROWS * 16 * 4
    assert after["gate"].elements == ROWS * 2 * 4


def test_pixels_are_held_alike():
    rows, pixels = (
        least(recomputed(block()), replay="shared", grain=grain).totals["min"] for grain in ("row", "pixel")
    )
    assert 2 * 4 * ROWS < pixels.elements <= rows.elements


def test_weights_are_held_once_where_a_stage_is_used_twice():
    model = recomputed(block())
    original = least(block()).weights.elements
    assert original == sum(np.prod(shape) for shape in WEIGHTS.values())
    assert least(model, replay="shared").weights.elements == original
    assert least(model).weights.elements == original + 16 * 2 + 16 * 16 * 9


@pytest.mark.parametrize("replay", ["shared", "separate"])
def test_what_a_block_is_worth_is_what_the_network_would_hold_without(replay):
    """Another way to the same numbers: a conversion that leaves out one block."""
    model = models.load("digits_se")
    names = [found.name for found in tse_onnx.find_blocks(model) if found.refusal is None]
    worth = least(recomputed(model), replay=replay).payoffs
    assert len(worth) == 2
    for payoff in worth:
        others = {name: Recompute() for name in names if name != payoff.block}
        without = tse_onnx.convert(model, plan=Plan(None, others), verify=False).model
        assert payoff.before == least(without, replay=replay).totals["min"]


def test_equal_nodes_are_no_copies_without_a_record():
    """Two layers may read the same and have the same weights, and still be two."""
    model = recomputed(block())
    for node in model.graph.node:
        del node.metadata_props[:]
    assert least(model, replay="shared").totals == least(model).totals


def test_a_copy_that_was_edited_is_no_copy():
    model = recomputed(block())
    copy = next(node for node in model.graph.node if node.metadata_props and len(node.attribute) > 1)
    copy.attribute.append(helper.make_attribute("auto_pad", "NOTSET"))
    whole = least(recomputed(block()), replay="shared").totals["min"].elements
    assert whole < least(model, replay="shared").totals["min"].elements <= least(model).totals["min"].elements


def test_other_choices_are_what_they_are():
    model = tse_onnx.convert(block(), tiling=Tiling(3, squeeze=RUNNING), verify=False).model
    assert least(model, replay="shared").totals == least(model).totals


def test_the_commands_say_whether_it_pays(tmp_path):
    path = str(tmp_path / "block.onnx")
    onnx.save(recomputed(block()), path)
    done = run("stream", path, "--replay", "shared", "--format", "json")
    found = json.loads(done.stdout)["dataflow"]
    assert found["machine"]["replay"] == "shared"
    (worth,) = found["recomputed"]
    assert worth["held"] == "z"
    assert worth["before"]["elements"] - worth["after"]["elements"] == (ROWS - 1) * (16 - 2) * 4
    assert worth["after"] == found["totals"]["min"]
    text = run("stream", path, "--no-run", "--replay", "shared").stdout.decode()
    assert "the same stages go over it again" in text
    assert "which it goes over twice" in text


def test_a_replay_is_shared_or_separate():
    with pytest.raises(tse_onnx.UsageError, match="replay is shared or separate"):
        Machine(replay="twice")
