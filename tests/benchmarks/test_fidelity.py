"""What the table of fidelity says is what tune says of the same samples; its intervals, and what a front is."""

import re

import numpy as np
import pytest

import models
import tse_onnx
from benchmarks.fidelity import Line, Spot, front, front_csv, table
from tse_onnx import Data, Menu
from tse_onnx.files.source import open_model
from tse_onnx.tuning.network import Network

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    models.save("digits_se", folder / "digits.onnx")
    np.save(folder / "digits.npy", models.digits()[0])
    return Network(open_model(folder / "digits.onnx")), Data(folder / "digits.npy", limit=24), folder


def test_the_table_is_what_tune_says(digits):
    network, data, folder = digits
    asked = {"figure": "gate", "menu": Menu((3, 7), ("running", "recompute")), "cache": folder, "trials": 0}
    lines = list(table(network, data, [80], [1], asked))
    assert len(lines) == 4
    found = tse_onnx.tune(folder / "digits.onnx", Data(folder / "digits.npy", limit=24, seed=1), reduce=0.8, **asked)
    score = found.judged[0].scores[0]
    saved, macs, agreement, kl = re.findall(r"([+-]?[0-9.]+)(?: %)?(?: \[[^]]*\])? \|", lines[2])[2:]
    assert saved == f"{100 * found.reduction:.1f}"
    assert macs == f"{100 * found.chosen.macs_added / found.sensitivity.macs:+.1f}"
    assert agreement == f"{100 * score.agreement:.0f}"
    assert float(kl) == pytest.approx(score.kl, abs=1e-4)
    assert lines[3].startswith("| tile of 7 rows | 1 | 65.0 % |")


def test_intervals():
    line = Line(0.8, 0.1, np.arange(100) > 2, np.r_[np.zeros(50), np.ones(50)])
    assert line.agreement == pytest.approx(
        (0.97, 0.9155, 0.9897), abs=1e-4
    )  # as statsmodels' proportion_confint has it
    mean, low, high = line.divergence
    assert mean == 0.5
    assert (low, high) == pytest.approx((0.402, 0.598), abs=0.015)  # half a sample's 1.96 / sqrt(100)


def test_nothing_on_the_front_is_beaten(digits):
    network, data, folder = digits
    spots = front(network, data, 3, {"figure": "gate", "menu": Menu((3, 7), ("running", "recompute")), "cache": folder})
    figures = [(-spot.line.saved, spot.line.macs, float(spot.line.kl.mean())) for spot in spots]
    assert len(figures) > 3
    for one in figures:
        assert not any(other != one and all(np.array(other) <= one) for other in figures)
    assert len(front_csv(spots).splitlines()) == 1 + len(spots)
    assert isinstance(spots[0], Spot)
