"""Every bundled network, and random ones, certified on the presets as far as a run can be one of them: it stores whole
rows, so `finn` and `hls4ml` are run by rows in a FIFO for each reader; `cascade` as it is, its maps made twice by the
same stages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import TensorProto, helper, numpy_helper

import models
import tse_onnx
from tests.random_networks import networks
from tests.streaming.test_streaming_random import assert_certified, drawn
from tse_onnx.passes.blocks.recompute import Recompute
from tse_onnx.streaming.execute.certificate import certify
from tse_onnx.streaming.network.machine import ROW
from tse_onnx.streaming.network.machines import MACHINES
from tse_onnx.streaming.network.read import network_of

RUN = {
    "ideal": MACHINES["ideal"],
    "finn": replace(MACHINES["finn"], grain=ROW),
    "cascade": MACHINES["cascade"],
}


def recomputed(model):
    return tse_onnx.convert(model, tiling=Recompute(), verify=False).model


def ending_in_a_wide_block(model):
    """The network with a block behind it whose map is six times as wide as what it is made from, where it ends in a
    map of several rows."""
    end = model.graph.output[0]
    dims = [dim.dim_value for dim in end.type.tensor_type.shape.dim]
    if len(dims) != 4 or dims[2] < 2:
        return model
    narrow, wide, random = dims[1], 6 * dims[1], np.random.default_rng(0)
    shapes = {
        "w_wide": (wide, narrow, 1, 1), "w_window": (wide, 1, 3, 3), "w_reduce": (2, wide, 1, 1),
        "w_expand": (wide, 2, 1, 1), "w_narrow": (narrow, wide, 1, 1),
    }  # fmt: skip
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.initializer.extend(
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    )
    made.graph.node.extend([
        helper.make_node("Conv", [end.name, "w_wide"], ["b_wide"], "b_wide"),
        helper.make_node("Conv", ["b_wide", "w_window"], ["b_map"], "b_window", pads=[1, 1, 1, 1], group=wide),
        helper.make_node("GlobalAveragePool", ["b_map"], ["b_mean"], "b_mean"),
        helper.make_node("Conv", ["b_mean", "w_reduce"], ["b_reduced"], "b_reduce"),
        helper.make_node("Relu", ["b_reduced"], ["b_relu"], "b_relu"),
        helper.make_node("Conv", ["b_relu", "w_expand"], ["b_expanded"], "b_expand"),
        helper.make_node("Sigmoid", ["b_expanded"], ["b_gate"], "b_gate"),
        helper.make_node("Mul", ["b_map", "b_gate"], ["b_scaled"], "b_scale"),
        helper.make_node("Conv", ["b_scaled", "w_narrow"], ["b_narrow"], "b_narrow"),
        helper.make_node("Add", ["b_narrow", end.name], ["b_out"], "b_add"),
    ])  # fmt: skip
    made.graph.output.append(helper.make_tensor_value_info("b_out", TensorProto.FLOAT, dims))
    return made


def test_they_are_three_machines():
    """hls4ml by rows is finn by rows without fusion; powers of two are no matter of a run."""
    assert len(set(map(repr, RUN.values()))) == 3
    assert replace(MACHINES["hls4ml"], grain=ROW, resize="pixel") == replace(
        RUN["finn"], power_of_two=False, fusion=False, joins="fused"
    )


@pytest.mark.slow
@pytest.mark.parametrize("machine", RUN)
@pytest.mark.parametrize(
    ("name", "as_it_is"),
    [
        pytest.param(name, as_it_is, marks=() if name == "digits_se" else pytest.mark.long)
        for name in models.names()
        for as_it_is in (True, False)
    ],
)
def test_a_bundled_network_is_certified_on_a_preset(name, as_it_is, machine):
    model = models.load(name) if as_it_is else recomputed(models.load(name))
    network = network_of(model)
    found = certify(model, network, {network.sources[0].name: models.images(name)}, machine=RUN[machine])
    assert found.passed, [proof.text for proof in found.proofs if not proof.passed]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("machine", RUN)
def test_500_random_networks_are_certified_on_a_preset(machine):
    """Most of them end in a block that is made twice."""
    twice = 0

    @settings(drawn, max_examples=500)
    @given(networks(steps=4))
    def check(model):
        nonlocal twice
        whole = ending_in_a_wide_block(model)
        made = recomputed(whole)
        twice += len(made.graph.node) > len(whole.graph.node)
        assert_certified(made, RUN[machine])

    check()
    assert twice > 250
