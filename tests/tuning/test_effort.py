"""What choices add to a network's cycles, and plans that keep to a second budget beside the memory."""

import itertools

import numpy as np
import onnx
import pytest

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as run
from tse_onnx.costs.arrays import array_of
from tse_onnx.files.source import open_model
from tse_onnx.passes.blocks.recompute import Recompute
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.tuning.choosing import Candidate, least_loss
from tse_onnx.tuning.effort import Cycles
from tse_onnx.tuning.network import Network
from tse_onnx.tuning.result import Point, undominated


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    models.save("digits_se", folder / "digits.onnx")
    np.save(folder / "digits.npy", models.digits()[0][:64])
    return folder


@pytest.mark.parametrize("choice", [Tiling(rows=4), Tiling(rows=8), Tiling(rows=2, squeeze="running", step=2)], ids=str)
def test_what_tiles_add_is_what_a_profile_of_the_converted_model_says(digits, choice):
    """Converted with pools and gathers, which multiply nothing of their own."""
    array = array_of("squeezelerator16")
    cycles = Cycles(Network(open_model(digits / "digits.onnx")), array)
    combination = tuple((block.name, choice) for block in cycles._network.blocks)
    plan = tse_onnx.Plan(choice)
    means = "cumsum" if choice.squeeze == "running" else "pads"
    made = tse_onnx.convert(digits / "digits.onnx", None, plan=plan, means=means, upsample="gather", verify=False)
    after = tse_onnx.cost(made.model, array).cycles
    before = tse_onnx.cost(digits / "digits.onnx", array).cycles
    assert cycles.before == before
    assert cycles.added(combination) == after - before


def test_what_recomputed_blocks_add_is_what_a_profile_says(digits):
    array = array_of("squeezelerator8")
    cycles = Cycles(Network(open_model(digits / "digits.onnx")), array)
    made = tse_onnx.convert(digits / "digits.onnx", None, plan=tse_onnx.Plan(Recompute()), verify=False)
    before, after = (tse_onnx.cost(model, array).cycles for model in (digits / "digits.onnx", made.model))
    combination = tuple((block.name, Recompute()) for block in cycles._network.blocks)
    assert after > before
    assert cycles.added(combination) == after - before


def test_limits_are_kept_to_the_last_one_and_the_best_within_them_is_found():
    """Against every selection of small menus."""
    random = np.random.default_rng(0)
    for _ in range(40):
        menus = [
            [Candidate(str(block), None, 0, 0.0)]
            + [
                Candidate(
                    str(block), Tiling(rows=rows + 1), int(random.integers(0, 50)), float(random.integers(1, 40)), 0,
                    int(random.integers(0, 20)), int(random.integers(-5, 30)),
                )
                for rows in range(3)
            ]
            for block in range(4)
        ]  # fmt: skip
        limits = (("added", int(random.integers(0, 50))), ("cycles", int(random.integers(0, 50))))
        saved = int(random.integers(0, 90))
        allowed = [
            made
            for made in itertools.product(*menus)
            if sum(one.saved for one in made) >= saved
            and all(sum(getattr(one, name) for one in made) <= most for name, most in limits)
        ]
        found = least_loss(menus, saved, limits)
        if not allowed:
            assert found is None
            continue
        assert found in allowed
        assert sum(one.loss for one in found) == min(sum(one.loss for one in made) for made in allowed)


def test_a_point_that_another_beats_is_left_out():
    points = [
        Point((), size, 0.0, loss, 0, cycles)
        for size, loss, cycles in [(10, 1.0, 5), (10, 1.0, 4), (9, 2.0, 9), (12, 0.5, 9), (12, 0.5, 10), (10, 1.0, 4)]
    ]
    kept = {(point.bytes, point.measured, point.cycles_added) for point in undominated(points)}
    assert kept == {(10, 1.0, 4), (9, 2.0, 9), (12, 0.5, 9)}


@pytest.mark.slow
def test_a_plan_keeps_to_its_cycles_and_the_front_has_three_figures(digits):
    words = (
        "tune", "digits.onnx", "--data", "digits.npy", "--reduce", "30%", "--rows", "2,8", "--trials", "4", "--points",
        "4", "--array", "squeezelerator16", "--no-cache", "--format", "json",
    )  # fmt: skip
    free = validated(run(*words, cwd=digits).stdout, "tune")
    assert free["max_cycles"] is None
    assert free["sensitivity"]["array"] == "squeezelerator16"
    spent = free["chosen"]["cycles_added"]
    assert spent > 0
    percent = 50 * spent / free["sensitivity"]["cycles"]
    bound = validated(run(*words, "--max-cycles", f"{percent:.4f}", cwd=digits).stdout, "tune")
    assert bound["chosen"]["cycles_added"] <= percent / 100 * bound["sensitivity"]["cycles"]
    front = [(point["bytes"], point["cycles_added"], point["measured"]) for point in free["pareto"]]
    chosen = (free["chosen"]["bytes"], spent, free["chosen"]["measured"])
    for one in front:
        assert not any(other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in front
                       if chosen not in (one, other))  # fmt: skip


def test_a_limit_on_cycles_needs_an_array(digits):
    said = refused(
        run("tune", "digits.onnx", "--data", "digits.npy", "--reduce", "30%", "--max-cycles", "5", cwd=digits)
    )
    assert "array" in said
    onnx.checker.check_model(str(digits / "digits.onnx"))
