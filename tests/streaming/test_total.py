"""A total by itself is the one that stands among all figures."""

import pytest

import models
import tse_onnx
from tse_onnx.streaming.depths.model import measured
from tse_onnx.streaming.depths.total import COUNTED, total
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.read import network_of

MACHINES = {
    "ideal": Machine(),
    "FIFOs in powers of two, 8 bits": Machine(storage="per-reader", power_of_two=True, bits=8),
    "fused, replaying": Machine(fusion=True, replay="shared"),
}
CHOICES = {"original": None, "tile": tse_onnx.Tiling(7), "twice": tse_onnx.Recompute()}


def converted(name, choice):
    model = models.load(name)
    return model if choice is None else tse_onnx.convert(model, tiling=choice, verify=False).model


def agree(network, machine):
    every = measured(network, machine, "").totals
    return all(total(network, machine, figure) == every[figure] for figure in COUNTED)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=list(MACHINES))
@pytest.mark.parametrize("choice", CHOICES.values(), ids=list(CHOICES))
def test_a_total_is_that_of_all_figures(choice, machine):
    assert agree(network_of(converted("digits_se", choice)), machine)


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("choice", [None, tse_onnx.Tiling(7)], ids=["original", "tile"])
def test_a_total_of_a_bundled_network_is_that_of_all_figures(name, choice):
    assert agree(network_of(converted(name, choice)), Machine())
