"""The tables of the SqueezeNext paper, cell by cell."""

import math
from pathlib import Path

import pytest

from models.networks import build
from tests.costs.published import ENERGY, IN_NO_FIT, LAYERS, MISPRINTS, TABLE_3
from tse_onnx.costs.arrays import ARRAYS
from tse_onnx.costs.cycles import cost_on
from tse_onnx.costs.profile import profile

# Of v2 to v4 the depths alone are published. With v5's layers otherwise they come to up to 0.98 million more than the 228
# that the paper prints for all four.
NOT_PUBLISHED = {"squeezenext_1.0_23v2": 229, "squeezenext_1.0_23v3": 229, IN_NO_FIT: 709}


@pytest.fixture(scope="module")
def profiles():
    return {name: profile(build(name), convention="squeezenext") for name in TABLE_3}


def test_every_cell_of_the_table_of_layers(profiles):
    found = profiles["squeezenext_1.0_23"]
    assert len(found.layers) == len(LAYERS) == 42
    for layer, (name, repeat, parameters, macs, size) in zip(found.layers, LAYERS, strict=True):
        assert (layer.name, layer.repeat) == (name, repeat)
        assert round(layer.parameters / 1000, 1) == pytest.approx(parameters, abs=0.051), name
        assert round(layer.macs / 1000) == pytest.approx(macs, abs=1), name
        printed, meant = MISPRINTS.get(name, (size, size))
        assert printed == size
        assert math.floor(layer.activation_bytes / 1024 + 0.5) == pytest.approx(meant, abs=0.5), name
    assert found.totals.parameters / 1000 == pytest.approx(712.5, abs=0.05)
    assert found.totals.macs / 1000 == pytest.approx(sum(macs for _, _, _, macs, _ in LAYERS), abs=len(LAYERS) / 2)


@pytest.mark.parametrize("name", TABLE_3)
def test_the_macs_of_table_3(profiles, name):
    printed = NOT_PUBLISHED.get(name, TABLE_3[name][0])
    assert round(profiles[name].totals.macs / 1e6) == printed


@pytest.mark.parametrize(("array", "column", "at_most"), [("squeezelerator8", 1, 0.04), ("squeezelerator16", 2, 0.03)])
def test_the_times_of_table_3_with_one_scale_for_a_column(profiles, array, column, at_most):
    cycles = {name: cost_on(found, ARRAYS[array]).cycles for name, found in profiles.items()}
    logs = {name: math.log(cycles[name] / TABLE_3[name][column]) for name in TABLE_3}
    scale = sum(log for name, log in logs.items() if name != IN_NO_FIT) / (len(logs) - 1)
    errors = {name: abs(log - scale) for name, log in logs.items()}
    fitted = [error for name, error in errors.items() if name != IN_NO_FIT]
    assert sum(fitted) / len(fitted) <= at_most
    assert errors[IN_NO_FIT] <= 0.04
    fastest = min(cycles, key=cycles.get)
    assert TABLE_3[fastest][column] == 1.0


def test_the_energies_of_table_3_are_as_far_off_as_the_page_says(profiles):
    page = (Path(__file__).parents[2] / "docs" / "costs.md").read_text(encoding="utf-8")
    arrays = [ARRAYS[name].with_energy("eyeriss2016") for name in ("squeezelerator8", "squeezelerator16")]
    ratios = []
    for name, printed in ENERGY.items():
        counted = [cost_on(profiles[name], array).energy for array in arrays]
        ratios.append([one / other for one, other in zip(counted, printed, strict=True)])
        pairs = zip(printed, counted, ratios[-1], strict=True)
        cells = [f"{one / 1e9:.1f} | {other / 1e9:.2f} | {ratio:.2f}" for one, other, ratio in pairs]
        assert f"| {name} | {' | '.join(cells)} |" in page
    for column, said in zip(
        zip(*ratios, strict=True), ("0.48 of what is printed, with a mean", "0.44, and"), strict=True
    ):
        assert f"{math.exp(sum(map(math.log, column)) / len(column)):.2f}" == said[:4]
        assert said in page
