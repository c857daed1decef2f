"""Sensitivity behind cuts, the choice for a budget, what is kept between runs: each against a plain way to the same."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import models
import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as command
from tests.graphs import network, plain_model, se_weights, text_model
from tests.running import session
from tests.streams import stream_model
from tse_onnx import Frozen, Machine, Menu, Plan, Recompute, Tiling
from tse_onnx.data.choice import Data
from tse_onnx.errors import CheckFailed, DataError, ModelError, UsageError
from tse_onnx.passes.blocks.tiling import RUNNING, TILE
from tse_onnx.runtime.scores import per_sample_kl, per_sample_noise
from tse_onnx.tuning.choosing import Candidate, least_loss, most_saved
from tse_onnx.tuning.figures import StreamFigure
from tse_onnx.tuning.refining import refined
from tse_onnx.tuning.search import halves
from tse_onnx.tuning.store import Store, program
from tse_onnx.tuning.work import Measured

FEW = Menu(rows=(1, 3, 7), squeezes=("calibrated", RUNNING, TILE))


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Maps whose rows differ, as those of real images do."""
    path = tmp_path_factory.mktemp("data") / "noise.npy"
    random = np.random.default_rng(0)
    values = random.normal(size=(22, 8, 1, 1)) + random.normal(size=(22, 8, 16, 12)) + np.linspace(0, 1, 16)[:, None]
    np.save(path, values.astype(np.float32))
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The trained network, and images that it never saw with their labels."""
    folder = tmp_path_factory.mktemp("digits")
    models.save("digits_se", folder / "digits.onnx")
    images, labels = models.digits()
    np.savez(
        folder / "digits.npz", **{models.load("digits_se").graph.input[0].name: images[:120], "labels": labels[:120]}
    )
    return folder


def _outputs(model, batches):
    opened = session(model)
    name = opened.get_inputs()[0].name
    names = [value.name for value in opened.get_outputs()]
    runs = [dict(zip(names, opened.run(None, {name: batch}), strict=True)) for batch in batches]
    return {name: np.concatenate([run[name] for run in runs]) for name in names}


def _naively(model, block, choice, data, measure=per_sample_kl):
    """The whole network converted with one block changed, and run."""
    converted = tse_onnx.convert(model, plan=Plan(None, {block: choice}), verify=False).model
    batches = [data[start : start + 8] for start in range(0, len(data), 8)]
    return measure(_outputs(model, batches), _outputs(converted, batches))


BRANCHED = """
h = LeakyRelu(x)
d = GlobalAveragePool(h)
r = Conv(d, w1, b1)
a = Relu(r)
e = Conv(a, w2, b2)
g = Sigmoid(e)
s = Mul(h, g)
skip = Add(s, h)
shape = Shape(skip)
d2 = GlobalAveragePool(skip)
r2 = Conv(d2, w1, b1)
a2 = Relu(r2)
e2 = Conv(a2, w2, b2)
g2 = HardSigmoid(e2)
s2 = Mul(g2, skip)
early = Neg(h)
t2 = Add(s2, skip)
flat = Reshape(t2, shape)
y = Add(flat, x)
z = ArgMax<axis = 1, keepdims = 0>(t2)
"""


def _branched():
    """Skips across both blocks, an output before them, one of integers, and a shape that is computed."""
    model = text_model(BRANCHED, se_weights())
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.INT64, ["N", 16, 12]))
    model.graph.output.append(helper.make_tensor_value_info("early", TensorProto.FLOAT, ["N", 8, 16, 12]))
    return model


@pytest.mark.parametrize(
    ("build", "measure"),
    [(lambda: network(16, 8), per_sample_kl), (_branched, per_sample_noise)],
    ids=["in a row", "branched"],
)  # fmt: skip
def test_what_runs_behind_a_cut_is_what_runs_whole(build, measure, noise):
    model, data = build(), np.load(noise)
    found = tse_onnx.sensitivity(model, noise, menu=FEW, freeze="any", cache=False)
    assert len(found.blocks) == 2
    for entry in found.blocks:
        kinds = {type(one.choice) for one in entry.candidates}
        assert kinds == {type(None), Tiling, Frozen}
        for one in entry.candidates[1:]:
            losses = _naively(model, entry.block.name, one.choice, data, measure)
            assert one.loss == pytest.approx(float(losses.mean()), rel=1e-3, abs=1e-9)
            assert one.error == pytest.approx(float(losses.std(ddof=1) / np.sqrt(len(losses))), rel=1e-3, abs=1e-9)


@pytest.mark.slow
def test_a_bundled_network_behind_its_cuts(tmp_path):
    model = models.load("mobilenetv3_large_torchscript_18")
    data = models.images("mobilenetv3_large_torchscript_18", 2)
    np.save(tmp_path / "images.npy", data)
    found = tse_onnx.sensitivity(
        model, tmp_path / "images.npy", menu=Menu((2,), (RUNNING,)), freeze="never", loss="noise", cache=False
    )
    assert len(found.blocks) == 8
    for entry in (found.blocks[0], found.blocks[5]):
        one = entry.candidates[1]
        naive = [_naively(model, entry.block.name, one.choice, data[n : n + 1], per_sample_noise) for n in range(2)]
        assert one.loss == pytest.approx(float(np.mean(naive)), rel=1e-2)


def test_a_block_in_a_body_is_measured_whole(noise):
    """The network cannot be cut inside the branch of an If."""
    body = network(16, 8).graph
    outer = onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 17)])
    outer.graph.name = "outer"
    outer.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    outer.graph.input.extend(body.input)
    outer.graph.output.extend(body.output)
    del body.input[:]
    outer.graph.node.append(helper.make_node("If", ["yes"], [body.output[0].name], then_branch=body, else_branch=body))
    small = Menu((3,), (RUNNING,))
    asked = {"menu": small, "cache": False, "input_shapes": {"x": ("N", 8, 16, 12)}}
    with pytest.raises(ModelError, match=r"cannot follow: .*; figure='gate' counts what the scales hold alone"):
        tse_onnx.sensitivity(outer, noise, **asked)
    found = tse_onnx.sensitivity(outer, noise, figure="gate", **asked)
    assert len(found.blocks) == 4
    plain = tse_onnx.sensitivity(network(16, 8), noise, menu=small, freeze="never", cache=False)
    losses = [one.loss for entry in plain.blocks for one in entry.candidates]
    taken = [one.loss for entry in found.blocks if "then_branch" in entry.block.scope for one in entry.candidates]
    assert taken == pytest.approx(losses, rel=1e-3, abs=1e-9)
    assert {entry.why for entry in found.blocks} == {"its gate does not show in a run of the model"}


def test_gates_are_frozen_to_their_mean(noise):
    model = network(16, 8)
    found = tse_onnx.sensitivity(model, noise, menu=Menu((3,)), freeze="any", cache=False)
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(onnx.ValueInfoProto(name="g0"))
    gates = _outputs(probe, [np.load(noise)])["g0"][:, :, 0, 0].astype(np.float64)
    gate = found.blocks[0].gate
    np.testing.assert_allclose(gate.frozen.gate, gates.mean(axis=0), rtol=1e-6)
    apart = gates - gates.mean(axis=0)
    assert gate.moved == pytest.approx(np.sqrt((apart**2).mean()) / np.sqrt((gates**2).mean()), rel=1e-4)
    assert gate.largest == pytest.approx(np.abs(apart).max(), rel=1e-4)


@pytest.mark.slow
def test_only_constant_gates_are_offered(noise):
    """A large bias in front of the sigmoid leaves nothing for the image to say."""
    model = network(16, 8)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b2_0")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(8, 40, np.float32), "b2_0"))
    found = tse_onnx.tune(model, noise, reduce=0.6, figure="gate", menu=FEW, cache=False, trials=2, points=2)
    first, second = found.sensitivity.blocks
    assert any(isinstance(one.choice, Frozen) for one in first.candidates)
    assert not any(isinstance(one.choice, Frozen) for one in second.candidates)
    assert isinstance(found.plan.choices["block0_squeeze"], Frozen)
    assert "its gate" in found.plan.notes["block0_squeeze"]
    assert "11 of 22 samples" in found.plan.notes["block0_squeeze"]
    never = tse_onnx.sensitivity(model, noise, menu=FEW, freeze="never", cache=False)
    assert not any(isinstance(one.choice, Frozen) for entry in never.blocks for one in entry.candidates)


# Choosing.

CANDIDATES = st.lists(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40), st.integers(0, 9)), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)


def _menus(numbers):
    return [
        [
            Candidate(f"b{block}", Tiling(number + 1), saved, loss / 8, *macs)
            for number, (saved, loss, *macs) in enumerate(menu)
        ]
        for block, menu in enumerate(numbers)
    ]


def _sum(chosen, what):
    return sum(getattr(one, what) for one in chosen)


@given(CANDIDATES, st.integers(0, 200), st.none() | st.integers(0, 20))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_programme_finds_what_trying_everything_finds(numbers, wanted, limit):
    menus = _menus(numbers)
    every = [chosen for chosen in itertools.product(*menus) if limit is None or _sum(chosen, "macs") <= limit]
    within = [chosen for chosen in every if sum(one.saved for one in chosen) >= wanted]
    limits = () if limit is None else (("macs", limit),)
    found = least_loss(menus, wanted, limits)
    if not within:
        assert found is None
    else:
        assert [one.block for one in found] == [menu[0].block for menu in menus]
        assert _sum(found, "saved") >= wanted
        least = min(_sum(chosen, "loss") for chosen in within)
        assert _sum(found, "loss") == least
        assert _sum(found, "macs") == min(_sum(chosen, "macs") for chosen in within if _sum(chosen, "loss") == least)
    bound = wanted / 16
    cheap = [chosen for chosen in every if sum(one.loss for one in chosen) <= bound]
    found = most_saved(menus, bound, limits)
    if not cheap:
        assert found is None
    else:
        assert sum(one.loss for one in found) <= bound + 1e-9
        assert _sum(found, "saved") == max(_sum(chosen, "saved") for chosen in cheap)
        assert limit is None or _sum(found, "macs") <= limit


def test_a_loss_without_bound_is_never_chosen():
    menus = [[Candidate("b", None, 0, 0.0), Candidate("b", Tiling(1), 9, float("inf"))]]
    assert least_loss(menus, 0)[0].choice is None
    assert least_loss(menus, 5) is None


def test_refining_finds_what_the_sums_hide():
    """Two blocks that hurt each other: alone each is harmless, together they are not."""
    menus = _menus([[(0, 0), (10, 1)], [(0, 0), (10, 1)], [(0, 0), (10, 2)]])
    hurt = (menus[0][1], menus[1][1])

    def measured(chosen):
        together = all(one in chosen for one in hurt)
        return sum(one.loss for one in chosen) + 5.0 * together

    def allowed(chosen):
        return sum(one.saved for one in chosen) >= 20

    start = least_loss(menus, 20)
    assert set(hurt) <= set(start)
    found, used = refined(start, menus, allowed, measured, 20)
    assert measured(found) == min(measured(chosen) for chosen in itertools.product(*menus) if allowed(chosen))
    assert 0 < used <= 20
    assert refined(start, menus, allowed, measured, 0) == (start, 0)


@pytest.mark.slow
def test_what_loses_nothing_is_measured_by_nobody_and_computes_least(digits, tmp_path):
    """Of exact choices alone tune finds the plan that `plan --exact` does, which knows no data."""
    model, data = models.load("digits_se"), digits / "digits.npz"
    menu = Menu(rows=(3,), squeezes=("recompute",))
    for reduce in (0.0, 0.2, 0.35):
        found = tse_onnx.tune(
            model, data, reduce=reduce, figure="gate", menu=menu, freeze="never", cache=tmp_path, points=3
        )
        exact = tse_onnx.exact_plan(model, reduce)
        assert (found.chosen.predicted, found.chosen.measured) == (0, 0)
        assert found.chosen.macs_added == exact.buffering.totals.macs_added
        assert found.chosen.bytes <= found.budget
        assert [score.kl for score in found.judged[0].scores] == [0]
    assert ['"losses"' in file.read_text() for file in tmp_path.glob("*.jsonl")] == [False]
    assert found.plan.choices == exact.plan.choices


@pytest.mark.slow
def test_a_limit_of_macs_is_kept_in_all_that_comes_out(digits, tmp_path):
    model, data = models.load("digits_se"), digits / "digits.npz"
    menu, macs = Menu(rows=(1, 3, 7)), []
    for limit in (None, 16.0, 1.0):
        found = tse_onnx.tune(
            model, data, reduce=0.6, figure="gate", max_macs=limit, menu=menu, cache=tmp_path, trials=3, points=3
        )
        again = Plan.loads(found.plan.dumps())
        assert again == found.plan
        assert again.max_macs == limit
        converted = tse_onnx.convert(model, plan=again)
        assert converted.verification.passed
        totals = converted.report.buffering.totals
        assert (totals.after_bytes, totals.macs_added) == (found.chosen.bytes, found.chosen.macs_added)
        asked = {name: choice for name, choice in again.choices.items() if choice is not None}
        assert {one.block.name: one.choice for one in converted.blocks if one.status == "converted"} == asked
        macs.append(found.chosen.macs_added)
        assert limit is None or macs[-1] <= found.sensitivity.macs * limit / 100
        assert found.chosen.measured == pytest.approx(
            tse_onnx.tune(
                model, data, reduce=0.6, figure="gate", max_macs=limit, menu=menu, cache=False, trials=3, points=0
            ).chosen.measured
        )
    assert macs[0] > macs[1] > macs[2] > 0
    with pytest.raises(CheckFailed, match="with no more than 0 multiply-accumulates added"):
        tse_onnx.tune(model, data, budget=1, max_macs=0, menu=menu, cache=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("replay", ["separate", "shared"])
def test_the_whole_network_counts_copies_as_its_machine_makes_them(digits, replay, tmp_path):
    model, menu = models.load("digits_se"), Menu(rows=(3, 7), squeezes=(RUNNING, "recompute"))
    asked = {"machine": Machine(replay=replay), "menu": menu, "cache": tmp_path, "trials": 3, "points": 0}
    found = tse_onnx.tune(model, digits / "digits.npz", reduce=0.4, **asked)
    converted = tse_onnx.convert(model, plan=found.plan, verify=False)
    held = tse_onnx.stream(converted.model, machine=Machine(replay=replay)).totals["min"].bytes
    assert held == found.chosen.bytes == found.verdict.network.after <= found.budget
    assert found.sensitivity.before == tse_onnx.stream(model).totals["min"].bytes == found.verdict.network.before
    twice = [
        one.bytes for block in found.sensitivity.blocks for one in block.candidates if isinstance(one.choice, Recompute)
    ]
    assert (min(twice) < 0.7 * found.sensitivity.before) == (replay == "shared")


def _turned(model, data, path):
    """The same network and data with height and width exchanged: of poolings too, all other kernels are 1 × 1."""
    turned = onnx.ModelProto()
    turned.CopyFrom(model)
    for value in (*turned.graph.input, *turned.graph.value_info):
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 4:
            dims[2].dim_value, dims[3].dim_value = dims[3].dim_value, dims[2].dim_value
    for attribute in (one for node in turned.graph.node if node.op_type == "AveragePool" for one in node.attribute):
        attribute.ints[:] = attribute.ints[::-1]
    np.save(path, np.ascontiguousarray(np.load(data).swapaxes(2, 3)))
    return turned, path


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["gate", "min"])
def test_columns_are_the_rows_of_the_turned_network(figure, noise, tmp_path):
    """Its calibrations, losses and figures are those by rows where everything lies on its side."""
    model = network(16, 8)
    asked = {"reduce": 0.5, "figure": figure, "menu": FEW, "cache": False, "trials": 3, "points": 3}
    # Means of rows may be written as products, those of columns as pools; what these hold on their way is not the same.
    room = 0 if figure == "gate" else 0.05
    by_rows = tse_onnx.tune(model, noise, **asked)
    turned, data = _turned(model, noise, tmp_path / "turned.npy")
    by_columns = tse_onnx.tune(turned, data, axis="columns", **asked)
    assert by_columns.axis == 1
    for one, other in zip(by_rows.sensitivity.blocks, by_columns.sensitivity.blocks, strict=True):
        for mine, its in zip(one.candidates, other.candidates, strict=True):
            assert its.macs_added == mine.macs_added
            assert its.bytes == pytest.approx(mine.bytes, rel=room)
            assert its.loss == pytest.approx(mine.loss, rel=1e-3, abs=1e-8)
            assert str(its.choice).replace("column", "row") == str(mine.choice)
    assert by_columns.chosen.bytes == pytest.approx(by_rows.chosen.bytes, rel=room)
    if figure == "gate":  # the same choices
        assert by_columns.judged[0].scores[0].kl == pytest.approx(by_rows.judged[0].scores[0].kl, rel=1e-3, abs=1e-8)
    converted = tse_onnx.convert(turned, plan=Plan.loads(by_columns.plan.dumps()))
    assert converted.verification.passed


@pytest.mark.slow
def test_the_better_axis_is_taken(noise, tmp_path):
    """Rows of these maps differ, columns do not."""
    model = network(16, 8)
    asked = {"reduce": 0.6, "menu": FEW, "cache": tmp_path, "trials": 2, "points": 2}
    alone = {axis: tse_onnx.tune(model, noise, axis=axis, **asked) for axis in ("rows", "columns")}
    both = tse_onnx.tune(model, noise, axis="both", **asked)
    losses = [alone[axis].chosen.measured for axis in ("rows", "columns")]
    assert losses[1] < losses[0]
    assert [(axis, point.measured) for axis, point in both.tried] == list(enumerate(losses))
    assert (both.axis, both.chosen, both.plan.axis) == (1, alone["columns"].chosen, 1)
    assert both.plan == alone["columns"].plan
    with pytest.raises(UsageError, match="along one axis"):
        tse_onnx.sensitivity(model, noise, axis="both", cache=False)
    # Within reach along one axis alone: ten rows of 16 are less than ten columns of 12, and of 8 rows there are no ten.
    narrow = tse_onnx.tune(
        model, noise, axis="both", reduce=0.15, menu=Menu((10,), (TILE,)), freeze="never", cache=False
    )
    assert [axis for axis, _ in narrow.tried] == [0]


@pytest.mark.slow
def test_a_plan_streams_along_its_axis(noise, tmp_path):
    model = network(16, 8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = tse_onnx.tune(
        model, noise, axis="columns", reduce=0.5, figure="min", menu=FEW, cache=False, trials=2, points=2
    )
    (tmp_path / "plan.toml").write_text(found.plan.dumps())
    done = command("report", "m.onnx", "--plan", "plan.toml", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    flow = json.loads(done.stdout)["dataflow"]
    assert flow["axis"] == 1
    assert flow["after"]["totals"]["min"]["bytes"] == found.chosen.bytes
    assert flow["before"]["totals"]["min"]["bytes"] == found.sensitivity.before
    done = command("convert", "m.onnx", "o.onnx", "--plan", "plan.toml", "--axis", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert command("convert", "m.onnx", "p.onnx", "--plan", "plan.toml", cwd=tmp_path).returncode == 0
    assert (tmp_path / "o.onnx").read_bytes() == (tmp_path / "p.onnx").read_bytes()
    line = refused(command("convert", "m.onnx", "q.onnx", "--plan", "plan.toml", "--axis", 0, cwd=tmp_path))
    assert "along axis 1, not along 0" in line
    assert not (tmp_path / "q.onnx").exists()


def test_an_axis_turns_what_a_plan_leaves_open(noise, tmp_path):
    model = network(16, 8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "plan.toml").write_text(Plan(Tiling(3)).dumps())
    done = command("convert", "m.onnx", "o.onnx", "--plan", "plan.toml", "--axis", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    expected = tse_onnx.convert(model, tiling=Tiling(3, axis=1), verify=False).serialized()
    assert (tmp_path / "o.onnx").read_bytes() == expected
    calibrated = tse_onnx.tune(
        model, noise, reduce=0.5, menu=Menu((3,), ("calibrated",)), freeze="never", cache=False, points=0
    ).plan
    (tmp_path / "plan.toml").write_text(calibrated.dumps())
    line = refused(command("convert", "m.onnx", "q.onnx", "--plan", "plan.toml", "--axis", 1, cwd=tmp_path))
    assert "along axis 0: tune it anew for axis 1" in line


CHAINED = """
    a = Conv(x, w)
    d1 = GlobalAveragePool(a) p1 = Conv(d1, r1) q1 = Relu(p1) s1 = Conv(q1, e1) g1 = Sigmoid(s1) b = Mul(a, g1)
    d2 = GlobalAveragePool(b) p2 = Conv(d2, r2) q2 = Relu(p2) s2 = Conv(q2, e2) g2 = Sigmoid(s2) c = Mul(b, g2)
    f = Add(c, a)
    y = Conv(f, o)
"""


@pytest.mark.slow
def test_savings_that_do_not_add_up(tmp_path):
    """Two blocks below one skip connection, which waits for both: the first saves nothing before the second does. Of
    all nine combinations the smallest is found, and what lies between is reached."""
    excites = {"r1": (2, 8, 1, 1), "e1": (8, 2, 1, 1), "r2": (2, 8, 1, 1), "e2": (8, 2, 1, 1)}
    model = stream_model(CHAINED, (1, 3, 16, 4), {"w": (8, 3, 1, 1), "o": (4, 8, 1, 1), **excites})
    for number, node in enumerate(model.graph.node):
        node.name = f"node{number}"
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(8, 3, 16, 4)).astype(np.float32))
    first, second = (block.name for block in tse_onnx.find_blocks(model) if block.refusal is None)
    tiles = (None, Tiling(2), Tiling(6))
    held = {}
    for one, other in itertools.product(tiles, tiles):
        plan = tse_onnx.Plan(None, {first: one, second: other})
        held[one, other] = tse_onnx.stream(tse_onnx.convert(model, plan=plan, verify=False).model).totals["min"].bytes
    before = held[None, None]
    assert held[Tiling(2), None] > before
    assert held[Tiling(2), Tiling(2)] < held[None, Tiling(2)] == min(held[None, tile] for tile in tiles)
    asked = {"menu": Menu((2, 6), (TILE,)), "freeze": "never", "loss": "noise", "cache": tmp_path, "points": 0}
    for wanted in sorted(held.values()):
        found = tse_onnx.tune(model, tmp_path / "x.npy", budget=wanted, trials=5, **asked)
        assert found.chosen.bytes <= wanted
        assert found.least == min(held.values())
        assert found.chosen.bytes == held[found.chosen.of(first), found.chosen.of(second)]
    assert tse_onnx.tune(model, tmp_path / "x.npy", max_loss=9, **asked).chosen.bytes == min(held.values())
    with pytest.raises(CheckFailed, match="no plan needs as little"):
        tse_onnx.tune(model, tmp_path / "x.npy", budget=min(held.values()) - 1, **asked)


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["gate", "asap", "min"])
def test_the_plan_is_within_the_budget_and_as_good_as_it_says(figure, noise, tmp_path):
    model = network(16, 8)
    whole = tse_onnx.tune(model, noise, reduce=0, figure=figure, menu=FEW, cache=tmp_path, trials=0, points=1)
    budget = round(0.7 * whole.sensitivity.before)
    found = tse_onnx.tune(model, noise, budget=budget, figure=figure, menu=FEW, cache=tmp_path, trials=4, points=3)
    assert found.chosen.bytes <= budget
    converted = tse_onnx.convert(model, plan=found.plan)
    assert converted.verification.passed
    if figure == "gate":
        held = converted.report.buffering.totals.after_bytes
        assert whole.sensitivity.before == converted.report.buffering.totals.before_bytes
    else:
        held = tse_onnx.stream(converted.model).totals[figure].bytes
        assert whole.sensitivity.before == tse_onnx.stream(model).totals[figure].bytes
    assert held == found.chosen.bytes
    # What was measured on the held-out half is what a run of both models gives.
    network_samples = Data(noise).samples(_types(model))
    choose, judge = halves(network_samples, 0.5, 0)
    for samples, measured in ((choose, found.chosen.measured), (judge, found.judged[0].scores[0].kl)):
        batches = [next(iter(feed.values())) for feed in samples.feeds()]
        losses = per_sample_kl(_outputs(model, batches), _outputs(converted.model, batches))
        assert float(losses.mean()) == pytest.approx(measured, rel=1e-3, abs=1e-9)


def _types(model):
    from tse_onnx.decision.analysis import analyse, input_types
    from tse_onnx.files.source import open_model

    return input_types(analyse(open_model(model)))


@pytest.mark.slow
def test_bits_scale_the_budget(noise):
    found = [
        tse_onnx.tune(
            network(16, 8), noise, reduce=0.3, machine=Machine(bits=bits), menu=FEW, cache=False, trials=0, points=0
        )
        for bits in (32, 8)
    ]
    assert found[0].chosen.combination == found[1].chosen.combination
    assert found[0].chosen.bytes == 4 * found[1].chosen.bytes


def test_the_smallest_buffer_for_a_loss(noise, tmp_path):
    model = network(16, 8)
    curve = tse_onnx.tune(model, noise, reduce=0.5, menu=FEW, cache=tmp_path, trials=0, points=8).pareto
    bound = sorted(point.measured for point in curve)[len(curve) // 2]
    found = tse_onnx.tune(model, noise, max_loss=bound, menu=FEW, cache=tmp_path, points=2)
    assert found.chosen.measured <= bound
    assert found.chosen.bytes <= min(point.bytes for point in curve if point.measured <= bound)
    assert found.budget is None
    nothing = tse_onnx.tune(model, noise, max_loss=0, menu=FEW, freeze="never", cache=tmp_path, points=0)
    assert nothing.chosen.bytes == nothing.sensitivity.before


def test_the_curve_falls(noise):
    found = tse_onnx.tune(network(16, 8), noise, reduce=0.7, menu=FEW, cache=False, trials=0, points=6)
    held = [point.bytes for point in found.pareto]
    assert held == sorted(held, reverse=True)
    assert held[-1] == found.least
    assert [point.predicted for point in found.pareto] == sorted(point.predicted for point in found.pareto)
    titles = [verdict.title for verdict in found.judged]
    assert titles[:2] == ["chosen", "tile of 7 everywhere"]
    uniform = found.judged[1].point
    assert {choice for _, choice in uniform.combination} == {Tiling(7)}


def test_the_halves_are_spread_and_do_not_meet(noise):
    samples = Data(noise).samples(_types(network(16, 8)))
    choose, judge = halves(samples, 0.5, 0)
    assert (choose.count, judge.count) == (11, 11)
    assert not set(choose.names) & set(judge.names)
    numbers = [int(name) for name in judge.names]
    assert all(2 * place <= number < 2 * place + 2 for place, number in enumerate(numbers))
    assert halves(samples, 0.5, 1)[1].names != judge.names
    assert halves(samples, 0.1, 0)[1].count == 2


# Losses.


def test_any_function_is_a_loss(noise):
    model, asked = network(16, 8), []

    def largest(reference, changed, labels):
        asked.append(len(reference["y"]))
        return np.abs(changed["y"] - reference["y"]).max(axis=1)

    found = tse_onnx.sensitivity(model, noise, loss=largest, menu=Menu((3,), (TILE,)), freeze="never", cache=False)
    converted = tse_onnx.convert(model, plan=Plan(None, {"block0_squeeze": Tiling(3)}), verify=False).model
    data = np.load(noise)
    expected = np.abs(_outputs(converted, [data])["y"] - _outputs(model, [data])["y"]).max(axis=1).mean()
    assert found.blocks[0].candidates[1].loss == pytest.approx(float(expected), rel=1e-4)
    assert (found.loss, set(asked)) == ("largest", {8, 6})
    tse_onnx.sensitivity(model, noise, loss=lambda *_: 1.0, menu=Menu((3,), (TILE,)), cache=False)
    with pytest.raises(UsageError, match="one number or 8"):
        tse_onnx.sensitivity(model, noise, loss=lambda *_: np.zeros(3), menu=Menu((3,)), cache=False)
    with pytest.raises(UsageError, match="not a number"):
        tse_onnx.sensitivity(model, noise, loss=lambda *_: float("nan"), menu=Menu((3,)), cache=False)


@pytest.mark.slow
def test_labels_make_accuracy_a_loss(digits):
    model = digits / "digits.onnx"
    found = tse_onnx.sensitivity(model, digits / "digits.npz", loss="top1", menu=Menu((1,), (TILE,)), cache=False)
    images, labels = models.digits()
    images, labels = images[:120], labels[:120]
    right = _outputs(str(model), [images])["logits"].argmax(1) == labels
    for entry in found.blocks:
        converted = tse_onnx.convert(model, plan=Plan(None, {entry.block.name: Tiling(1)}), verify=False).model
        now = _outputs(converted, [images])["logits"].argmax(1) == labels
        assert entry.candidates[1].loss == pytest.approx(right.mean() - now.mean())


# Long work.


class _Slowly:
    """Measurements that stop after a few."""

    def __init__(self, after):
        self.left = after

    def __call__(self, what, done, total):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on(noise, tmp_path, monkeypatch):
    model = network(16, 8)
    with pytest.raises(KeyboardInterrupt):
        tse_onnx.sensitivity(model, noise, menu=FEW, cache=tmp_path, progress=_Slowly(20))
    (file,) = tmp_path.iterdir()
    kept = file.read_text().count('"losses"')
    assert kept > 5
    with file.open("a") as torn:
        torn.write('{"combination": "block0_squeeze=r1", "bat')
    seen = []
    add = Store.add
    monkeypatch.setattr(Store, "add", lambda self, measured: (seen.append(measured), add(self, measured)))
    found = tse_onnx.sensitivity(model, noise, menu=FEW, cache=tmp_path)
    total = sum(len(entry.candidates) - 1 for entry in found.blocks) * 3
    assert len(seen) == total - kept
    assert found == tse_onnx.sensitivity(model, noise, menu=FEW, cache=False)
    seen.clear()
    assert tse_onnx.sensitivity(model, noise, menu=FEW, cache=tmp_path) == found
    assert not seen


@pytest.mark.slow
def test_a_choice_is_counted_as_it_is_written(digits):
    """Frozen gates go into weights, where there are some; whatever becomes of them, the verdict on it is the same."""
    model, data = models.load("digits_se"), Data(digits / "digits.npz", limit=20)
    found = tse_onnx.sensitivity(model, data, menu=Menu((3,)), freeze="any", cache=False)
    for entry in found.blocks:
        for one in entry.candidates:
            plan = Plan(None, {entry.block.name: one.choice})
            made = tse_onnx.convert(model, plan=plan, verify=False, machine="ideal")
            assert made.report.verdict.network.after == one.bytes, str(one.choice)


def test_what_was_counted_is_not_counted_again(noise, tmp_path, monkeypatch):
    model, counted = network(16, 8), StreamFigure._counted
    asked = {"menu": Menu((3,), (RUNNING,)), "cache": tmp_path, "freeze": "never"}
    found = tse_onnx.sensitivity(model, noise, **asked)
    seen = []
    monkeypatch.setattr(StreamFigure, "_counted", lambda self, one: (seen.append(one), counted(self, one))[1])
    assert tse_onnx.sensitivity(model, noise, **asked) == found
    assert not seen
    for other in ({"machine": "finn"}, {"figure": "asap"}, {"axis": "columns"}):
        seen.clear()
        changed = tse_onnx.sensitivity(model, noise, **asked, **other)
        assert len(seen) == 1 + sum(len(entry.candidates) - 1 for entry in changed.blocks)
        assert changed == tse_onnx.sensitivity(model, noise, **{**asked, "cache": False}, **other)


@pytest.mark.parametrize("change", ["model", "data", "loss", "batch"])
def test_what_was_measured_for_something_else_is_not_taken(change, noise, tmp_path):
    model, data = network(16, 8), Data(noise)
    options = {"menu": Menu((3,), (TILE,)), "cache": tmp_path}
    tse_onnx.sensitivity(model, data, **options)
    if change == "model":
        model.graph.node[-1].name = "another"
    elif change == "data":
        data = Data(noise, limit=20)
    elif change == "loss":
        options["loss"] = "noise"
    else:
        data = Data(noise, batch=4)
    tse_onnx.sensitivity(model, data, **options)
    assert len(list(tmp_path.iterdir())) == 2


def test_another_text_of_the_program_has_measurements_of_its_own(tmp_path, monkeypatch):
    """Between two releases the version stays, and what is counted may not."""
    mine = program()
    assert program() == mine
    other = tmp_path / "passes"
    shutil.copytree(tse_onnx.passes.__path__[0], other)
    monkeypatch.setattr(tse_onnx.passes, "__path__", [str(other)])
    assert program() == mine
    with (other / "lowering" / "squeeze.py").open("a") as file:
        file.write("# other means\n")
    assert program() != mine


def test_lines_that_are_no_measurements_are_left_out(tmp_path):
    with Store(tmp_path, "a") as store:
        store.add(Measured((("b", Tiling(3)),), 0, [0.5, float("inf")]))
    path = next(tmp_path.iterdir())
    with path.open("a") as file:
        file.write('no json\n[]\n{"combination": 3, "batch": 0, "losses": []}\n{"losses": ["x"]}\n')
        file.write('{"combination": "b", "figure": "f", "bytes": true}\n{"combination": "b", "figure": "f"}\n{"torn')
    with Store(tmp_path, "a") as store:
        assert store.found == 1
        assert store.losses((("b", Tiling(3)),), [0]) == [0.5, float("inf")]
        store.add(Measured((("b", Tiling(5)),), 0, [0.25]))
    with Store(tmp_path, "a") as store:
        assert store.found == 2


@pytest.mark.slow
def test_little_memory_gives_the_same_numbers(noise):
    model = network(16, 8)
    plenty = tse_onnx.sensitivity(model, noise, menu=FEW, cache=False)
    assert tse_onnx.sensitivity(model, noise, menu=FEW, cache=False, memory=1) == plenty


def test_a_fixed_batch(tmp_path, noise):
    model = network(16, 8)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    found = tse_onnx.tune(model, noise, reduce=0.5, menu=Menu((3,), (TILE,)), cache=False, trials=0, points=0)
    assert found.sensitivity.samples.startswith("12 of 22")  # five whole batches, two of them to judge by
    np.save(tmp_path / "few.npy", np.load(noise)[:3])
    with pytest.raises(DataError, match="too few"):
        tse_onnx.sensitivity(model, tmp_path / "few.npy", cache=False)


# More than one process.

SMALL = {"menu": Menu((1, 3), ("calibrated", RUNNING)), "cache": False, "freeze": "any"}


def _kill_one_worker(client, stopped):
    """Kill a worker process as soon as the first result is in."""

    def progress(what, done, total):
        if done and not stopped:
            pids = client.run(os.getpid)
            address, pid = next(iter(pids.items()))
            stopped.append(address)
            os.kill(pid, signal.SIGKILL)

    return progress


@pytest.mark.slow
def test_a_cluster_gives_the_same_numbers_though_a_worker_is_killed(noise):
    distributed = pytest.importorskip("distributed")
    model = network(16, 8)
    here = tse_onnx.tune(model, noise, reduce=0.6, trials=3, points=3, **SMALL)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        stopped = []
        address = cluster.scheduler_address
        there = tse_onnx.tune(
            model, noise, reduce=0.6, trials=3, points=3, scheduler=address, progress=_kill_one_worker(client, stopped),
            **SMALL,
        )  # fmt: skip
        assert stopped
    assert there == here


@pytest.mark.slow
def test_workers_are_started_and_stopped_by_the_command(noise, tmp_path):
    pytest.importorskip("distributed")
    path = tmp_path / "model.onnx"
    path.write_bytes(network(16, 8).SerializeToString())
    words = ["sensitivity", path, "--data", noise, "--rows", "3", "--no-cache", "--format", "json"]
    alone = command(*words)
    done = subprocess.run(
        [sys.executable, "-m", "tse_onnx", *map(str, words), "--workers", "2"], capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr
    assert json.loads(done.stdout) == json.loads(alone.stdout)


@pytest.mark.slow
def test_a_scheduler_that_is_not_there(tmp_path, noise, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("tse_onnx.tuning.cluster._SECONDS_TO_CONNECT", 1)
    path = tmp_path / "model.onnx"
    path.write_bytes(network(16, 8).SerializeToString())
    done = command("sensitivity", path, "--data", noise, "--scheduler", "tcp://127.0.0.1:1", "--no-cache")
    assert "cannot use the scheduler at tcp://127.0.0.1:1" in refused(done)


# The command line.


@pytest.mark.slow
def test_the_whole_way(digits, tmp_path):
    """Tune with labels, convert with the plan, evaluate on the same images."""
    words = ["--data", digits / "digits.npz", "--rows", "1,3,5,7", "--trials", "6", "--points", "4"]
    plan, report, csv, plot = (tmp_path / name for name in ("plan.toml", "tune.json", "blocks.csv", "tune.svg"))
    done = command(
        "tune", digits / "digits.onnx", *words, "--reduce", "60%", "--figure", "gate", "-o", plan, "--report", report, "--csv", csv,
        "--plot", plot, "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"On samples that nothing was chosen by" in done.stdout
    assert b"top-1" in done.stdout
    assert plot.read_bytes().lstrip().startswith(b"<?xml")
    stated = json.loads(report.read_text())
    assert stated["chosen"]["bytes"] <= 0.4 * stated["sensitivity"]["bytes_before"]
    assert len(csv.read_text().splitlines()) == 1 + sum(
        len(block["candidates"]) for block in stated["sensitivity"]["blocks"]
    )
    again = command(
        "tune",
        digits / "digits.onnx",
        *words,
        "--reduce",
        "60%",
        "--figure",
        "gate",
        "-o",
        "-",
        "--cache",
        tmp_path / "cache",
    )
    assert again.stdout == plan.read_bytes()
    assert b"The plan was written to standard output" in again.stderr
    out = tmp_path / "tiled.onnx"
    converted = command("convert", digits / "digits.onnx", out, "--plan", plan, "--format", "json")
    assert converted.returncode == 0, converted.stderr.decode()
    assert json.loads(converted.stdout)["totals"]["buffer_after_bytes"] == stated["chosen"]["bytes"]
    evaluated = command("evaluate", digits / "digits.onnx", out, "--data", digits / "digits.npz")
    assert evaluated.returncode == 0


# The command with a place where it waits, however fast or loaded the machine is: once it has kept twenty measurements.
# A shell that started the tests in the background has them ignore interrupts, and the command would keep to that.
_HELD = """\
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from tse_onnx.cli import main
from tse_onnx.tuning.store import Store

keep, kept = Store.add, []

def add(self, *arguments, **named):
    keep(self, *arguments, **named)
    kept.append(arguments)
    if len(kept) > 20:
        self.path.with_name("reached").touch()
        time.sleep(600)

Store.add = add
main(prog_name="tse-onnx")
"""


@pytest.mark.slow
def test_an_interrupt_says_what_is_kept(digits, tmp_path):
    words = ["tune", digits / "digits.onnx", "--data", digits / "digits.npz", "--reduce", "60%", "-o", tmp_path / "plan.toml",
             "--cache", tmp_path / "cache"]  # fmt: skip
    (tmp_path / "held.py").write_text(_HELD)
    running = subprocess.Popen(
        [sys.executable, tmp_path / "held.py", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not (tmp_path / "cache" / "reached").exists():
        assert running.poll() is None, running.communicate()[1].decode()
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err.decode()
    kept = next((tmp_path / "cache").glob("*.jsonl")).read_text().splitlines()
    assert len(kept) > 20
    assert err.decode() == "Interrupted: what was measured is kept, and the same command goes on from there.\n"
    assert not (tmp_path / "plan.toml").exists()
    assert not out


def _prepared(tmp_path, model=None):
    (tmp_path / "m.onnx").write_bytes((model or network(16, 8)).SerializeToString())
    random = np.random.default_rng(0)
    np.save(tmp_path / "d.npy", random.normal(size=(6, 8, 16, 12)).astype(np.float32))
    np.save(tmp_path / "one.npy", random.normal(size=(1, 8, 16, 12)).astype(np.float32))
    np.save(tmp_path / "none.npy", np.zeros((0, 8, 16, 12), np.float32))
    np.save(tmp_path / "wrong.npy", np.zeros((4, 3, 16, 12), np.float32))
    (tmp_path / "empty").mkdir()


WANTED = ("--reduce", "50%")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--data", "d.npy"), "one of --budget, --reduce and --max-loss says what is wanted"),
        (("--data", "d.npy", "--budget", "1KiB", "--reduce", "50%"), "one of --budget, --reduce and --max-loss"),
        (("--data", "gone.npy", *WANTED), "'gone.npy' does not exist"),
        (("--data", "one.npy", *WANTED), "too few: some to choose by are needed, and some to judge by"),
        (("--data", "none.npy", *WANTED), "none.npy"),
        (("--data", "wrong.npy", *WANTED), "have shape [4, 3, 16, 12]"),
        (("--data", "empty", *WANTED), "empty"),
        (("--data", "d.npy", "--reduce", "150%"), "'150%' is no part of a whole"),
        (("--data", "d.npy", "--reduce", "a lot"), "'a lot' is no part of a whole"),
        (("--data", "d.npy", "--budget", "1.2 furlongs"), "is no size, as 1.2MiB"),
        (("--data", "d.npy", "--held-out", "100%", *WANTED), "a fraction between 0 and 1"),
        (("--data", "d.npy", "--rows", "0", *WANTED), "is no list of whole numbers"),
        (("--data", "d.npy", "--squeeze", "tyle", *WANTED), "among tile, running, calibrated, recompute and previous"),
        (("--data", "d.npy", "--squeeze", "tile,previous", *WANTED), "samples on their own have no frame before"),
        (("--data", "d.npy", "--max-macs", "-1", *WANTED), "--max-macs"),
        (("--data", "d.npy", "--loss", "top1", *WANTED), "--loss top1 needs labels"),
        (("--data", "d.npy", "--plot", "p.gif", *WANTED), "a plot is an .svg or a .png"),
        (("--data", "d.npy", "--cache", "m.onnx/below", *WANTED), "cannot keep measurements"),
        (("--data", "d.npy", "--cache", "c", "--no-cache", *WANTED), "exclude each other"),
        (("--data", "d.npy", "--workers", "2", "--scheduler", "tcp://127.0.0.1:1", *WANTED), "not both"),
        (("--data", "d.npy", "-o", "gone/plan.toml", *WANTED, "--rows", "3", "--points", "0"), "gone"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(words, complaint, tmp_path):
    _prepared(tmp_path)
    extra = () if "--cache" in words else ("--no-cache",)
    assert complaint in refused(command("tune", "m.onnx", *words, *extra, cwd=tmp_path))


@pytest.mark.slow
def test_a_budget_out_of_reach_is_a_check_that_failed(tmp_path):
    """The most that is reached is said, and reached; of the whole network it is less than of its scales."""
    _prepared(tmp_path)
    words = ("tune", "m.onnx", "--data", "d.npy", "--no-cache", "--trials", "0", "--points", "0", "--rows", "2,5")
    line = refused(command(*words, "--reduce", "80%", "-o", "plan.toml", cwd=tmp_path), 1)
    least, before, part = re.search(
        r"the least is ([0-9,]+) of ([0-9,]+), ([0-9.]+) % less than before; ", line
    ).groups()
    assert "of the whole network: --figure gate counts what its scales hold" in line
    assert not (tmp_path / "plan.toml").exists()
    assert before.replace(",", "") == str(tse_onnx.stream(tmp_path / "m.onnx").totals["min"].bytes)
    done = command(*words, "--budget", least.replace(",", ""), "--format", "json", cwd=tmp_path)
    assert json.loads(done.stdout)["chosen"]["bytes"] == int(least.replace(",", ""))
    assert command(*words, "--reduce", f"{part}%", cwd=tmp_path).returncode == 0
    assert command(*words, "--reduce", "80%", "--figure", "gate", cwd=tmp_path).returncode == 0
    line = refused(command(*words, "--reduce", "99%", "--figure", "gate", cwd=tmp_path), 1)
    assert "--figure" not in line


@pytest.mark.parametrize("model", ["plain", "tiled"])
def test_without_blocks_there_is_nothing_to_choose(model, tmp_path):
    made = plain_model() if model == "plain" else tse_onnx.convert(network(16, 8), rows=3, verify=False).model
    _prepared(tmp_path, made)
    line = refused(command("tune", "m.onnx", "--data", "d.npy", *WANTED, "--no-cache", cwd=tmp_path))
    assert "no squeeze-and-excite block to choose for" in line
    assert ("restore it first" in line) == (model == "tiled")


def test_errors_of_the_library(noise):
    model = network(16, 8)
    for options, error in (
        ({}, UsageError),
        ({"reduce": 0.5, "loss": "odd"}, UsageError),
        ({"reduce": 0.5, "figure": "odd"}, UsageError),
        ({"reduce": 0.5, "freeze": "odd"}, UsageError),
        ({"reduce": -1}, UsageError),
        ({"max_loss": float("nan")}, UsageError),
        ({"reduce": 0.5, "max_macs": float("nan")}, UsageError),
    ):
        with pytest.raises(error):
            tse_onnx.tune(model, noise, cache=False, **options)
    with pytest.raises(ModelError):
        tse_onnx.tune(plain_model(), noise, reduce=0.5, cache=False)
    with pytest.raises(UsageError, match="the rows to try"):
        Menu(rows=())


def test_outputs_that_are_no_classes_need_another_loss(noise):
    model = _branched()
    with pytest.raises(DataError, match="no output of the model looks like classes"):
        tse_onnx.sensitivity(model, noise, loss="kl", cache=False)


def test_a_model_without_outputs_has_no_loss(tmp_path):
    model = network(28)
    del model.graph.output[:]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.save(tmp_path / "data.npy", np.zeros((4, 8, 28, 12), np.float32))
    for words in (("sensitivity",), ("tune", "--reduce", "10%")):
        done = command(*words, "m.onnx", "--data", "data.npy", "--rows", "7", "--no-cache", cwd=tmp_path)
        assert "no output" in refused(done)
