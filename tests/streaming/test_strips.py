"""The numbers of a run are the same in strips of any size: a strip of nothing is one firing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

import models
import tse_onnx
from tests.random_networks import networks
from tests.streaming.test_streaming_random import drawn, feed_of
from tests.streams import CONV3, stream_model
from tse_onnx.passes.blocks.tiling import RUNNING, Tiling
from tse_onnx.streaming.execute.certificate import predicted, streamer_of
from tse_onnx.streaming.execute.kernels import windows
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.read import network_of


def assert_same(model, feed, rooms=(1 << 12, 1 << 40)):
    """Every tensor, in strips and row by row, in the least room."""
    network = network_of(model)
    streamer, (_, least) = streamer_of(model, network), predicted(network, Machine())

    def made(room):
        rows: dict[tuple[str, int], np.ndarray] = {}

        def seen(name, numbers, block, alone):
            axis = network.tensors[name].rows
            parts = [block] if len(numbers) == 1 else np.split(block, len(numbers), axis=axis.axis)
            rows.update({(name, row): part for row, part in zip(numbers, parts, strict=True)})

        run = streamer.run(least, feed, seen=seen, room=room)
        assert run.halt is None
        return run, rows

    one, alone = made(0)
    for room in rooms:
        run, rows = made(room)
        assert (run.peaks, run.peak_bytes, run.fired) == (one.peaks, one.peak_bytes, one.fired)
        assert rows.keys() == alone.keys()
        for key, row in rows.items():
            assert row.shape == alone[key].shape
            np.testing.assert_allclose(row, alone[key], rtol=1e-4, atol=1e-5 * (1 + np.abs(alone[key]).max()))
        for name, output in one.outputs.items():
            assert run.outputs[name].shape == output.shape


@pytest.mark.parametrize("choice", [None, Tiling(7), Tiling(2, squeeze=RUNNING), tse_onnx.Recompute()])
def test_a_network_computes_the_same_in_strips(choice):
    model = models.load("digits_se")
    if choice is not None:
        model = tse_onnx.convert(model, tiling=choice, verify=False).model
    assert_same(model, {"input": models.images("digits_se")})


@pytest.mark.slow
@drawn
@given(networks(steps=9))
def test_a_random_network_computes_the_same_in_strips(model):
    assert_same(model, feed_of(network_of(model)))


@pytest.mark.parametrize(
    "conv",
    [
        "Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 1]>",
        "Conv<kernel_shape = [3, 3], pads = [3, 0, 4, 0]>",
        "Conv<kernel_shape = [3, 3], pads = [2, 2, 2, 2], dilations = [2, 2]>",
        "Conv<kernel_shape = [3, 3], strides = [4, 1]>",
    ],
)
def test_windows_of_every_kind_are_the_same_in_strips(conv):
    model = stream_model(f"a = {conv}(x, w)\n y = Relu(a)", (1, 2, 13, 5), {"w": (2, 2, 3, 3)})
    assert_same(model, feed_of(network_of(model)))


def test_a_strip_is_given_the_rows_that_its_firings_take_and_no_others(monkeypatch):
    """A kernel that reads a row beyond those that it says it takes fails, though the row is there."""
    right = windows.Geometry.inside
    monkeypatch.setattr(windows.Geometry, "inside", lambda self, row: right(self, row)[:-1])
    model = stream_model(f"y = {CONV3}(x, w)", (1, 2, 8, 5), {"w": (2, 2, 3, 3)})
    network = network_of(model)
    streamer = streamer_of(model, network)
    for room in (0, 1 << 40):
        with pytest.raises(KeyError):
            streamer.run(None, feed_of(network), room=room)
