"""Every bundled network, as it is and converted, runs row by row in the predicted room and equals onnxruntime."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest

import models
import tse_onnx
from tse_onnx.passes.blocks.tiling import RUNNING, Tiling
from tse_onnx.streaming.depths.model import measured
from tse_onnx.streaming.depths.occupancy import occupancy
from tse_onnx.streaming.depths.total import total
from tse_onnx.streaming.execute.certificate import certify
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.read import network_of

TILINGS = {
    "original": None,
    "tile of 7": Tiling(7),
    "running, 3 rows": Tiling(3, squeeze=RUNNING),
}


def certified(name, model, axis=0):
    network = network_of(model, axis=axis)
    return certify(model, network, {network.sources[0].name: models.images(name)})


# One export of each network is enough for the whole proof in every run of the suite; the rest are marked long.
QUICK = ("digits_se", "efficientnet_b0_torchscript_17", "mobilenetv3_large_dynamo_20")
CASES = [
    pytest.param(name, tiling, marks=() if name in QUICK else pytest.mark.long)
    for name in models.names()
    for tiling in TILINGS
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tiling"), CASES)
def test_a_bundled_network_is_certified(name, tiling):
    model = models.load(name)
    if TILINGS[tiling] is not None:
        model = tse_onnx.convert(model, tiling=TILINGS[tiling], verify=False).model
    found = certified(name, model)
    assert found.passed, [proof.text for proof in found.proofs if not proof.passed]
    assert found.peak_bytes <= found.bound_bytes


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tiling"), CASES)
def test_a_bundled_network_is_certified_by_columns(name, tiling):
    model = models.load(name)
    if (along := TILINGS[tiling]) is not None:
        model = tse_onnx.convert(model, tiling=replace(along, axis=1), verify=False).model
    found = certified(name, model, axis=1)
    assert found.passed, [proof.text for proof in found.proofs if not proof.passed]
    assert found.axis == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_the_model_sees_the_gates_that_the_metric_counts(name):
    """Two ways to the paper's figure: from the blocks, and from what waits for what in the graph."""
    model = models.load(name)
    paper = tse_onnx.buffering(model, 7).totals
    assert tse_onnx.stream(model).totals["gate"].elements == paper.before
    converted = tse_onnx.convert(model, rows=7, verify=False).model
    assert tse_onnx.stream(converted).totals["gate"].elements == paper.after


BESIDE = {
    "previous everywhere": tse_onnx.Plan(tse_onnx.Previous()),
    "tiles and a recomputed map beside it": tse_onnx.Plan(
        tse_onnx.Previous(), {"/3/body/body.6": Tiling(3), "/5/body/body.6": tse_onnx.Recompute()}
    ),
}


@pytest.mark.parametrize("plan", BESIDE)
@pytest.mark.parametrize("machine", [Machine(), Machine(bits=4, grain="pixel", replay="shared", power_of_two=True)])
def test_gates_of_the_frame_before_are_a_buffer_of_the_network_as_they_are_of_the_blocks(plan, machine):
    model, plan = models.load("digits_se"), BESIDE[plan]
    result = tse_onnx.convert(model, plan=plan, verify=False)
    blocks, found = result.report.buffering, tse_onnx.stream(result.model, machine=machine)
    assert found.totals["gate"].elements == blocks.totals.after
    carried = [block for block in blocks.blocks if isinstance(block.decision.choice, tse_onnx.Previous)]
    held = {buffer.tensor: buffer for buffer in found.buffers if buffer.maker == "the frame before"}
    assert {block.waits: block.after for block in carried} == {name: each.gate.elements for name, each in held.items()}
    assert all(each.kind == "gate" and len(each.readers) == 1 for each in held.values())
    # Without their record they are weights.
    plain = onnx.ModelProto.FromString(result.model.SerializeToString())
    del plain.metadata_props[:]
    for node in plain.graph.node:
        del node.metadata_props[:]
    other = tse_onnx.stream(plain, machine=replace(machine, replay="separate"))
    same = tse_onnx.stream(result.model, machine=replace(machine, replay="separate"))
    for figure in ("asap", "min", "no_stall", "bound"):
        waiting = sum(each.min.elements for each in held.values())
        assert same.totals[figure].elements - other.totals[figure].elements == waiting
    assert other.weights.elements - same.weights.elements == sum(block.after for block in carried)
    network = network_of(result.model)
    assert total(network, machine, "min") == found.totals["min"]
    drawn = occupancy(network_of(result.model), found)
    assert drawn.held["gate"][0] >= sum(each.min.bytes for each in held.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in models.names() if not name.startswith("mobilenetv2")])
def test_no_schedule_holds_much_less_where_maps_are_made_twice(name):
    """Rows that may wait in several places are where a least that is found, and a bound, could be far apart."""
    converted = tse_onnx.convert(models.load(name), tiling=tse_onnx.Recompute(), verify=False).model
    for model in (models.load(name), converted):
        totals = tse_onnx.stream(model).totals
        assert totals["bound"].elements <= totals["min"].elements <= 1.01 * totals["bound"].elements


@pytest.mark.parametrize("means", ["matmul", "cumsum"])
def test_a_running_squeeze_holds_as_many_rows_as_a_tile(means):
    model = models.load("digits_se")
    held = tse_onnx.stream(tse_onnx.convert(model, tiling=Tiling(3, squeeze=RUNNING), means=means, verify=False).model)
    gates = [buffer for buffer in held.buffers if buffer.kind == "gate"]
    assert [buffer.min.rows for buffer in gates] == [3] * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits_se", "efficientnet_b0_torchscript_17", "ghostnet_torchscript_20"])
@pytest.mark.parametrize("tiling", [Tiling(7), Tiling(3, squeeze=RUNNING, step=2)], ids=["tile", "running"])
def test_square_networks_hold_the_same_by_rows_and_by_columns(name, tiling):
    """Kernels and strides are square as well, so that a network converted along an axis, in forms that there are along
    both, holds as much along it."""
    model, held = models.load(name), []
    forms = {"means": "matmul" if tiling.squeeze == "running" else "pads", "upsample": "resize"}
    for axis in (0, 1):
        converted = tse_onnx.convert(model, tiling=replace(tiling, axis=axis), verify=False, **forms).model
        network = network_of(converted, axis=axis)
        held.append({figure: sums.bytes for figure, sums in measured(network, Machine(), "").totals.items()})
    assert held[0] == held[1]
    assert held[0]["gate"] == tse_onnx.buffering(model, tiling=tiling).totals.after_bytes
