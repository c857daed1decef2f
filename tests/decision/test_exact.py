"""Plans of exact choices alone: the fewest multiply-accumulates, against all subsets; what they do not reach is said."""

import itertools
import re

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import network
from tests.passes.test_recompute import narrow
from tse_onnx import CheckFailed, ModelError, Plan, Recompute, Selection, UsageError
from tse_onnx.decision.analysis import analyse
from tse_onnx.decision.bounding import fewest
from tse_onnx.decision.decide import network_macs
from tse_onnx.files.source import open_model
from tse_onnx.passes.blocks.block import convertible
from tse_onnx.passes.blocks.choice import Site
from tse_onnx.passes.blocks.recompute import Recomputed
from tse_onnx.passes.reasons import Refusal

B0 = "efficientnet_b0_torchscript_17"


@given(
    saved=st.integers(0, 80),
    limit=st.none() | st.integers(0, 60),
    blocks=st.lists(
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 19)), min_size=1, max_size=3), min_size=0, max_size=4
    ),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_the_fewest_by_brute_force(saved, limit, blocks):
    offered = [(20, [Recomputed("z", elements, macs, 1) for macs, elements in ways]) for ways in blocks]
    enough = [
        sum(way.macs for way in some if way)
        for some in itertools.product(*((None, *ways) for _, ways in offered))
        if sum(20 - way.elements for way in some if way) >= saved
        and (limit is None or sum(way.macs for way in some if way) <= limit)
    ]
    found = fewest(saved, offered, limit)
    assert (found is None) == (not enough)
    if found is not None:
        assert sum(20 - way.elements for way in found if way) >= saved
        assert sum(way.macs for way in found if way) == min(enough)


def _subsets(model):
    """What every combination of keeping and recomputing comes to, as a conversion reports it: the reduction and MACs."""
    analysis = analyse(open_model(model))
    offered = []
    for part in analysis.parts:
        site = Site(part.scope, 17, blocks=part.blocks)
        for block in convertible(part.blocks):
            ways = Recompute().ways(block, site)
            held = [] if isinstance(ways, Refusal) else [Recompute(way.held) for way in ways]
            offered.append([(block.name, choice) for choice in (None, *held)])
    return [
        tse_onnx.buffering(model, plan=Plan(None, dict(choices))).totals for choices in itertools.product(*offered)
    ], network_macs(analysis.parts)


@pytest.mark.parametrize(
    "build",
    [lambda: narrow(), lambda: models.load("digits_se"), lambda: _stack()],
    ids=["one block", "digits_se", "several values to hold"],
)
def test_small_networks_by_all_subsets(build):
    model = build()
    totals, network_macs = _subsets(model)
    most = max(one.reduction for one in totals)
    assert most > 0
    for wanted in [*{one.reduction for one in totals}, most / 3, most / 2, 0.9 * most]:
        found = tse_onnx.exact_plan(model, wanted).buffering.totals
        assert found.reduction >= wanted - 1e-9
        assert found.macs_added == min(one.macs_added for one in totals if one.reduction >= wanted - 1e-9)
        limit = 100 * found.macs_added / network_macs
        assert tse_onnx.exact_plan(model, wanted, max_macs=limit * 1.0001).buffering.totals == found
        if found.macs_added:
            with pytest.raises(CheckFailed, match="within the limit of MACs; max_macs="):
                tse_onnx.exact_plan(model, wanted, max_macs=limit * 0.999)
    with pytest.raises(CheckFailed, match="the most is") as stop:
        tse_onnx.exact_plan(model, min(1, most + 0.01))
    said = float(re.search("the most is ([0-9.]+) %", str(stop.value))[1]) / 100
    assert most - 0.001 < said <= most + 1e-9
    assert tse_onnx.exact_plan(model, said).buffering.totals.reduction == most  # what is said to be reached is


def _stack():
    """A map of 8 channels that could be made from 4 channels, or for more from 2."""
    front = "t = Conv(x, we)\nv = Conv(t, wp)\nu = Conv(v, we)\nh = Relu(u)"
    return narrow(front)


@pytest.mark.slow
def test_efficientnet_needs_no_data(tmp_path):
    path, plan, out = tmp_path / "model.onnx", tmp_path / "plan.toml", tmp_path / "out.onnx"
    models.save(B0, path)
    done = command("plan", path, "--reduce", "69%", "--exact", "-o", plan, "--format", "json")
    assert done.returncode == 0, done.stderr.decode()
    found = validated(done.stdout, "report")
    assert found["totals"]["reduction"] >= 0.69
    assert {block["tiling"]["squeeze"] for block in found["blocks"] if block["tiling"]} == {"recompute"}
    assert Plan.load(plan) == tse_onnx.exact_plan(path, 0.69).plan
    done = command("convert", path, out, "--plan", plan)
    assert done.returncode == 0, done.stderr.decode()
    assert b"bit for bit" in done.stdout
    assert b"buffer down by 69.0 %" in done.stdout
    # Fewer are needed for less, and each of them is needed.
    part = tse_onnx.exact_plan(path, 0.5)
    chosen = {name: choice for name, choice in part.plan.choices.items() if choice is not None}
    assert part.buffering.totals.reduction >= 0.5
    assert len(chosen) < 16
    for name in chosen:
        rest = Plan(None, {other: choice for other, choice in chosen.items() if other != name})
        assert tse_onnx.buffering(path, plan=rest).totals.reduction < 0.5


def test_what_is_not_reached_is_said_with_a_way_that_works(tmp_path):
    path, plan = tmp_path / "model.onnx", tmp_path / "plan.toml"
    models.save(B0, path)
    ask = ("plan", path, "--exact", "-o", plan)
    complaint = refused(command(*ask, "--reduce", "75%"), code=1)
    assert "the most is 69.0 %, 715,008 of 2,306,528 elements; tiles go further" in complaint
    complaint = refused(command(*ask, "--reduce", "75%", "--max-macs", 20), code=1)
    assert "the most is 45.5 %" in complaint
    assert "69.0 % without it" in complaint
    complaint = refused(command(*ask, "--reduce", "60%", "--max-macs", 20), code=1)
    assert not plan.exists()
    advice = re.search(r"--max-macs ([0-9.]+) has room", complaint)
    assert command(*ask, "--reduce", "60%", "--max-macs", advice[1]).returncode == 0
    less = f"{float(advice[1]) - 0.1:g}"
    assert command(*ask, "--reduce", "60%", "--max-macs", less).returncode == 1


def test_selections_and_cascades():
    model = models.load("digits_se")
    names = [block.name for block in tse_onnx.find_blocks(model) if block.refusal is None]
    most = tse_onnx.buffering(model, tiling=Recompute()).totals.reduction
    whole = tse_onnx.exact_plan(model, most, cascade=True)
    assert all(choice is None or choice.cascade for choice in whole.plan.choices.values())
    left_out = next(name for name in names if whole.plan.choices[name] is not None)
    with pytest.raises(CheckFailed, match="exact choices do not reach"):
        tse_onnx.exact_plan(model, most, selection=Selection(exclude=(left_out,)))
    small = tse_onnx.exact_plan(model, 0.01, selection=Selection(exclude=(left_out,)))
    assert small.plan.choices[left_out] is None
    assert "left out" in small.plan.notes[left_out]


def test_where_the_plan_and_what_it_comes_to_go(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(narrow().SerializeToString())
    ask = ("plan", path, "--exact", "--reduce", "50%")
    plan = command(*ask)
    assert (plan.returncode, plan.stderr) == (0, b"")
    assert command(*ask, "-o", "-").stdout == plan.stdout
    both = command(*ask, "--format", "json")
    assert both.stdout == plan.stdout
    assert validated(both.stderr, "report")["totals"]["reduction"] >= 0.5
    done = command(*ask, "-o", tmp_path / "plan.toml")
    assert (tmp_path / "plan.toml").read_bytes() == plan.stdout
    assert b"convert --plan takes it" in done.stdout
    plain = command("plan", path, "--rows", 5, "-o", tmp_path / "rows.toml")
    assert plain.returncode == 0
    assert (tmp_path / "rows.toml").read_bytes() == command("plan", path, "--rows", 5).stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--exact"], "--exact needs --reduce"),
        (["--reduce", "50%"], "--reduce goes with --exact"),
        (["--exact", "--reduce", "150%"], "no part of a whole"),
        (["--exact", "--reduce", "50%", "--rows", "7"], "it takes no --rows"),
        (["--exact", "--reduce", "50%", "--squeeze", "running"], "it takes no --squeeze"),
        (["--exact", "--reduce", "50%", "--plan", "missing.toml"], "missing.toml"),
    ],
)
def test_bad_options(options, complaint, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(network(16, 8).SerializeToString())
    assert complaint in refused(command("plan", path, *options))


def test_a_model_without_blocks():
    head = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[1,2,4,4] x) => (float[1,2,4,4] y) { y = Relu(x) }'
    )
    converted = tse_onnx.convert(network(28), rows=7).model
    with pytest.raises(ModelError, match="converted already: restore it first"):
        tse_onnx.exact_plan(converted, 0.1)
    with pytest.raises(ModelError, match="no squeeze-and-excite block"):
        tse_onnx.exact_plan(head, 0.5)
    with pytest.raises(UsageError, match="a fraction from 0 to 1"):
        tse_onnx.exact_plan(narrow(), 1.5)
