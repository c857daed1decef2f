"""A row less, tried in one piece of the network, against the same tried in the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
import tse_onnx
from tests.random_networks import networks
from tests.streaming.test_streaming_random import drawn, feed_of
from tests.streams import CONV3, SE, SE_WEIGHTS, stream_model
from tse_onnx import Machine
from tse_onnx.streaming.execute import certificate, pieces
from tse_onnx.streaming.execute.certificate import certify, predicted, streamer_of
from tse_onnx.streaming.execute.pieces import Pieces
from tse_onnx.streaming.network.read import network_of

pytestmark = pytest.mark.slow

PER_READER = Machine(storage="per-reader")
# Two residual blocks behind each other, of which the second has a gate, then a head.
TWO_BLOCKS = stream_model(
    f"a = {CONV3}(x, w)\n b = {CONV3}(a, w)\n c = Add(x, b)\n h = Relu(c)" + SE.format("h")
    + f"t = Add(c, s)\n u = {CONV3}(t, w)\n v = Add(t, u)\n y = GlobalAveragePool(v)",
    (1, 4, 9, 5), SE_WEIGHTS | {"w": (4, 4, 3, 3)},
)  # fmt: skip


def by_whole(streamer, capacities, key, rows):
    halt = streamer.run({**capacities, key: rows}).halt
    return None if halt is None else halt.waits


def assert_same(model, machine=None):
    """Every store with fewer rows than it has, and with one more; how many pieces there are."""
    network = network_of(model)
    streamer = streamer_of(model, network, machine)
    _, capacities = predicted(network, machine or Machine())
    cut = Pieces(streamer.layout, capacities)
    for key, rows in capacities.items():
        for tried in {max(1, rows - 1), max(1, rows // 2), rows + 1}:
            assert cut.waits(key, tried) == by_whole(streamer, capacities, key, tried), (key, tried)
    return len(pieces.cut(streamer.layout))


@pytest.mark.parametrize("machine", [Machine(), PER_READER])
def test_who_waits_in_pieces_waits_in_the_whole(machine):
    assert assert_same(TWO_BLOCKS, machine) == 4


def test_stages_that_are_used_twice_are_in_one_piece():
    model = tse_onnx.convert(models.load("digits_se"), tiling=tse_onnx.Recompute(), verify=False).model
    assert assert_same(model, Machine(replay="shared")) > 1


@drawn
@given(networks(steps=14))
def test_pieces_of_a_random_network_halt_as_the_whole(model):
    assert_same(model)


@drawn
@given(networks(steps=9))
def test_pieces_of_a_random_network_with_a_fifo_per_reader_halt_as_the_whole(model):
    assert_same(model, PER_READER)


@drawn
@given(networks(steps=9), st.data())
def test_a_store_with_a_row_too_many_is_found(model, data):
    """By pieces and by whole, whichever store it is."""
    network = network_of(model)
    streamer = streamer_of(model, network)
    _, capacities = predicted(network, Machine())
    key = data.draw(st.sampled_from(sorted(capacities)))
    planted = {**capacities, key: capacities[key] + 1}
    loose = {each for each, rows in planted.items()
             if rows > 1 and by_whole(streamer, planted, each, rows - 1) is None}  # fmt: skip
    assert key in loose
    _, alive = certificate._tightness(streamer, planted, lambda what, done, of: None)
    assert set(alive) == {name for name, _ in loose}


@pytest.mark.parametrize("tensor", ["x", "c", "h", "t", "g", "y"])
def test_a_certificate_says_which_store_has_a_row_too_many(monkeypatch, tensor):
    network = network_of(TWO_BLOCKS)
    right = certificate.predicted

    def planted(network, machine):
        peaks, least = right(network, machine)
        return peaks, {**least, (tensor, None): least[tensor, None] + 1}

    monkeypatch.setattr(certificate, "predicted", planted)
    found = certify(TWO_BLOCKS, network, feed_of(network))
    tight = {proof.name: proof for proof in found.proofs}["tight"]
    assert not tight.passed
    assert f"'{tensor}'" in tight.text
