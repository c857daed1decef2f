"""`tse-onnx evaluate` against networks computed in numpy alone, and on a trained one, through the command line."""

import csv
import json
import os
import pty
import subprocess
import sys

import numpy as np
import onnx
import pytest
from matplotlib.figure import Figure
from PIL import Image

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import network, se_weights, some_input, text_model
from tests.running import run
from tests.se_by_numpy import GATE, INNER, tiled_block
from tse_onnx.passes.blocks.tiling import Calibration

HEIGHTS = (28, 14, 7)


def _forward(x, rows, steps=None):
    """`graphs.network(*HEIGHTS)` in numpy, with tiles of as many rows for each block; `steps` gets the maps before."""
    now = x.astype(np.float64)
    for number, (height, tile) in enumerate(zip(HEIGHTS, rows, strict=True)):
        if now.shape[2] != height:
            now = now.reshape(*now.shape[:2], height, -1, now.shape[3]).mean(axis=3)
        if steps is not None:
            steps.append(now)
        now = tiled_block(now, se_weights(8, seed=number), tile)
    head = np.random.default_rng(5).standard_normal((8, 10)).astype(np.float32)
    return now.mean(axis=(2, 3)) @ head


def _measures(reference, other, labels):
    """The definitions, written out."""
    p, q = (np.exp(rows) / np.exp(rows).sum(1, keepdims=True) for rows in (reference, other))
    was, now = reference.argmax(1) == labels, other.argmax(1) == labels
    return {
        "agreement": np.mean(reference.argmax(1) == other.argmax(1)),
        "kl": np.mean((p * np.log(p / q)).sum(1)),
        "sqnr_db": 10 * np.log10((reference**2).sum() / ((other - reference) ** 2).sum()),
        "max_abs": np.abs(other - reference).max(),
        "noise": np.mean(((other - reference) ** 2).sum(1) / (reference**2).sum(1)),
        "top1": now.mean(),
        "top5": np.mean([label in np.argsort(-row)[:5] for row, label in zip(other, labels, strict=True)]),
        "lost": int(np.sum(was & ~now)),
        "gained": int(np.sum(now & ~was)),
    }


def _assert_measures(found, wanted):
    for name in ("agreement", "kl", "sqnr_db", "max_abs", "noise"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-3, abs=1e-6), name
    for name in ("top1", "top5", "lost", "gained"):
        assert found["accuracy"][name] == pytest.approx(wanted[name]), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    onnx.save(network(*HEIGHTS), folder / "net.onnx")
    tse_onnx.convert(folder / "net.onnx", folder / "tiled.onnx", rows=3, verify=False)
    x = some_input(network(*HEIGHTS), batch=21)
    np.savez(folder / "x.npz", x=x, labels=np.random.default_rng(2).integers(0, 10, 21))
    return folder


@pytest.fixture(scope="module")
def data(folder):
    with np.load(folder / "x.npz") as stored:
        return stored["x"], stored["labels"]


def _json(folder, *arguments, code=0):
    done = command("evaluate", *arguments, "--format", "json", cwd=folder)
    assert done.returncode == code, done.stderr
    return validated(done.stdout, "evaluate")


def test_one_of_the_models_may_come_from_standard_input(folder):
    words = ("--data", "x.npz", "--format", "json")
    wanted = _json(folder, "net.onnx", "tiled.onnx", "--data", "x.npz")
    done = command("evaluate", "net.onnx", "-", *words, cwd=folder, stdin=(folder / "tiled.onnx").read_bytes())
    assert validated(done.stdout, "evaluate")["models"][0]["outputs"] == wanted["models"][0]["outputs"]
    for words in (("-", "-"), ("net.onnx", "-", "-")):
        done = command("evaluate", *words, "--data", "x.npz", cwd=folder)
        assert "one of the models comes from standard input" in refused(done)


@pytest.mark.parametrize("batch", [[], ["--batch", "1"], ["--batch", "21"]])
def test_a_converted_model_is_as_far_from_the_original_as_numpy_says(folder, data, batch):
    found = _json(folder, "net.onnx", "tiled.onnx", "net.onnx", "--data", "x.npz", *batch)
    x, labels = data
    reference = _forward(x, HEIGHTS)
    tiled, same = (one["outputs"][0] for one in found["models"])
    _assert_measures(tiled, _measures(reference, _forward(x, (3, 3, 3)), labels))
    assert tiled["accuracy"]["original_top1"] == np.mean(reference.argmax(1) == labels)
    assert (tiled["samples"], tiled["equal"]) == (21, False)
    assert (same["equal"], same["agreement"], same["kl"], same["max_abs"]) == (True, 1, 0, 0)
    assert found["data"] == {"text": "21 samples from x.npz", "samples": 21, "labelled": True, "preprocess": None,
                             "skipped": []}  # fmt: skip


@pytest.mark.parametrize("how", [["tiled.onnx"], ["--rows", "3"], ["--rows", "7", "--rows", "block0*=3"]])
def test_each_stage_alone_costs_what_numpy_says(folder, data, how):
    found = _json(folder, "net.onnx", *how, "--data", "x.npz", "--by-stage")
    x, labels = data
    reference = _forward(x, HEIGHTS)
    rows = (3, 7, 7) if len(how) == 4 else (3, 3, 3)
    _assert_measures(found["models"][0]["outputs"][0], _measures(reference, _forward(x, rows), labels))
    assert [stage["extents"] for stage in found["stages"]] == [[height, 12] for height in HEIGHTS]
    for number, stage in enumerate(found["stages"]):
        tile = rows[number]
        assert stage["blocks"] == [f"block{number}_squeeze"]
        assert (stage["buffer_before"], stage["buffer_after"]) == (8 * HEIGHTS[number] * 12, 8 * tile * 12)
        if tile == HEIGHTS[number]:
            assert (stage["converted"], stage["outputs"]) == (0, [])
            continue
        alone = [tile if place == number else height for place, height in enumerate(HEIGHTS)]
        _assert_measures(stage["outputs"][0], _measures(reference, _forward(x, alone), labels))


@pytest.mark.parametrize("squeeze", ["tile", "running"])
def test_correlations_are_those_of_numpy(folder, data, squeeze):
    how = ["--squeeze", squeeze, "--rows", "5"]
    found = _json(folder, "net.onnx", *how, "--data", "x.npz", "--correlation", "--csv", "c.csv")["correlations"]
    steps = []
    _forward(data[0], HEIGHTS, steps)
    lines = list(csv.DictReader((folder / "c.csv").read_text().splitlines()))
    for number, (block, whole) in enumerate(zip(found, steps, strict=True)):
        height = HEIGHTS[number]
        if squeeze == "tile":
            spans = [(top, min(top + 5, height)) for top in range(0, height, 5)]
        else:
            spans = [(0, min(row + 5, height)) for row in range(height - 4)]
        spans = [tuple(tile["region"][0]) for tile in block["tiles"]] if squeeze == "running" else spans
        assert [tuple(tile["region"][0]) for tile in block["tiles"]] == spans
        means = np.array([whole[:, :, top:end].mean(axis=(2, 3)) for top, end in spans])
        every = np.broadcast_to(whole.mean(axis=(2, 3)), means.shape)
        for name, (tiles, all_of_it) in {
            "squeeze": (means, every), "excite": (_gate(means, number), _gate(every, number)),
        }.items():  # fmt: skip
            assert block[name] == pytest.approx(np.corrcoef(tiles.ravel(), all_of_it.ravel())[0, 1], abs=1e-5)
            for tile, one, other in zip(block["tiles"], tiles, all_of_it, strict=True):
                assert tile[name] == pytest.approx(np.corrcoef(one.ravel(), other.ravel())[0, 1], abs=1e-5)
        own = [line for line in lines if line["block"] == block["block"]]
        assert [float(line["squeeze"]) for line in own] == [tile["squeeze"] for tile in block["tiles"]]


def _gate(means, number):
    weights = {name: array.astype(np.float64) for name, array in se_weights(8, seed=number).items()}
    reduced = INNER["Relu"](means @ weights["w1"][:, :, 0, 0].T + weights["b1"])
    return GATE["Sigmoid"](reduced @ weights["w2"][:, :, 0, 0].T + weights["b2"])


def test_a_calibrated_running_squeeze_is_correlated_as_it_is_calibrated(tmp_path):
    """Offsets that part the images' means from the whole maps' in every channel."""
    model = network(14)
    x = some_input(model, 5)
    np.save(tmp_path / "x.npy", x)
    slopes = (0.5, 2.0, 1.0)
    offsets = np.random.default_rng(0).standard_normal((3, 8)) * np.array([[3.0], [1.0], [0.0]])
    calibration = Calibration(slopes, tuple(map(tuple, offsets.tolist())))
    plan = tse_onnx.Plan(tse_onnx.Tiling(5, squeeze="running", step=5, calibration=calibration))
    (block,) = tse_onnx.correlate(model, data=tmp_path / "x.npy", plan=plan).blocks
    whole = x.astype(np.float64).mean(axis=(2, 3))
    for tile, end, slope, offset in zip(block.tiles, (5, 10, 14), slopes, offsets, strict=True):
        mean = slope * x[:, :, :end].astype(np.float64).mean(axis=(2, 3)) + offset
        assert tile.squeeze == pytest.approx(np.corrcoef(mean.ravel(), whole.ravel())[0, 1], abs=1e-6)
        gates = np.corrcoef(_gate(mean, 0).ravel(), _gate(whole, 0).ravel())[0, 1]
        assert tile.excite == pytest.approx(gates, abs=1e-5)


def test_a_gate_that_does_not_vary_has_no_correlation(tmp_path):
    model = network(*HEIGHTS)
    for weight in model.graph.initializer:
        if weight.name in ("w2_0", "b2_0"):
            array = np.zeros(onnx.numpy_helper.to_array(weight).shape, np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    np.save(tmp_path / "x.npy", some_input(model, 4))
    found = tse_onnx.correlate(model, data=tmp_path / "x.npy", plan=tse_onnx.Plan())
    assert (found.blocks[0].excite, {tile.excite for tile in found.blocks[0].tiles}) == (None, {None})
    assert found.blocks[0].squeeze is not None
    assert found.blocks[1].excite is not None


# A trained network


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    models.save("digits_se", folder / "digits.onnx")
    tse_onnx.convert(folder / "digits.onnx", folder / "tiled.onnx", rows=7, verify=False)
    x, labels = models.digits()
    np.savez(folder / "digits.npz", input=x, labels=labels)
    np.save(folder / "x.npy", x)
    np.save(folder / "labels.npy", labels)
    (folder / "labels.csv").write_text("label\n" + "".join(f"{label}\n" for label in labels))
    (folder / "indexed.csv").write_text("".join(f"{number},{labels[number]}\n" for number in reversed(range(450))))
    return folder


@pytest.mark.slow
def test_the_trained_digits_with_labels(digits):
    found = _json(digits, "digits.onnx", "tiled.onnx", "--data", "digits.npz")
    x, labels = models.digits()
    before, after = (run(str(digits / name), x) for name in ("digits.onnx", "tiled.onnx"))
    wanted = _measures(before.astype(np.float64), after.astype(np.float64), labels)
    _assert_measures(found["models"][0]["outputs"][0], wanted)
    # What the README says of them: 439 and 437 of 450, 444 alike.
    score = found["models"][0]["outputs"][0]
    counts = [score["accuracy"]["original_top1"] * 450, score["accuracy"]["top1"] * 450, score["agreement"] * 450]
    assert counts == pytest.approx([439, 437, 444])


@pytest.mark.parametrize("labels", ["labels.npy", "labels.csv", "indexed.csv"])
def test_labels_from_a_file_are_those_in_the_npz(digits, labels):
    one, other = (
        _json(digits, "digits.onnx", "tiled.onnx", "--limit", "60", *given)["models"]
        for given in (["--data", "digits.npz"], ["--data", "x.npy", "--labels", labels])
    )
    assert one == other
    assert one[0]["outputs"][0]["accuracy"] is not None


def test_the_tables(folder):
    done = command("evaluate", "net.onnx", "tiled.onnx", "--data", "x.npz", "--by-stage", cwd=folder)
    text = done.stdout.decode()
    assert "21 samples from x.npz." in text
    assert [line.split()[0] for line in text.splitlines()[3:8]] == ["stage", "1", "2", "3", "all"]
    assert not done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_picture(folder, suffix):
    command("evaluate", "net.onnx", "--data", "x.npz", "--correlation", "--plot", f"c.{suffix}", cwd=folder)
    drawn = (folder / f"c.{suffix}").read_bytes()
    assert drawn.startswith({"svg": b"<?xml", "png": b"\x89PNG"}[suffix])
    if suffix == "png":
        with Image.open(folder / "c.png") as image:
            assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_the_legend_of_a_narrow_picture_is_not_cut_off(folder, monkeypatch):
    seen = []
    honest = Figure.savefig

    def savefig(figure, *given, **options):
        honest(figure, *given, **options)
        seen.append((figure.legends[0].get_window_extent(), figure.bbox))

    monkeypatch.setattr(Figure, "savefig", savefig)
    command("evaluate", "net.onnx", "--data", "x.npz", "--correlation", "--plot", "c.png", cwd=folder)
    ((legend, page),) = seen
    assert page.x0 <= legend.x0 < legend.x1 <= page.x1


# Bounds


@pytest.fixture(scope="module")
def found(digits):
    return tse_onnx.evaluate(digits / "digits.onnx", digits / "tiled.onnx", data=digits / "digits.npz")


@pytest.mark.parametrize(("bounds", "broken"), [
    ({"min_agreement": 0.98}, None), ({"min_agreement": 0.99}, "agreement 98.67 %"), ({"max_kl": 0.02}, None),
    ({"max_kl": 0.01}, "divergence 0.01797"), ({"max_loss": 0.45}, None), ({"max_loss": 0.4}, "accuracy 0.44 points"),
    ({"max_loss": -1}, "accuracy 0.44 points"), ({"min_sqnr": 16}, None), ({"min_sqnr": 17}, "ratio 16.5 dB"),
    ({"min_sqnr": 17, "max_kl": 1}, "ratio 16.5 dB"), ({"max_kl": float("nan")}, "divergence"), ({}, None),
])  # fmt: skip
def test_bounds(found, bounds, broken):
    if broken is None:
        found.require(**bounds)
        return
    with pytest.raises(tse_onnx.CheckFailed, match=broken):
        found.require(**bounds)


def test_a_broken_bound_is_an_exit_code_behind_the_table(folder):
    arguments = ("evaluate", "net.onnx", "tiled.onnx", "--data", "x.npz")
    done = command(*arguments, "--max-kl", "0", "--min-sqnr", "500", cwd=folder)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"21 samples" in done.stdout
    assert b"tiled.onnx" in done.stderr
    assert command(*arguments, "--max-kl", "9", "--min-sqnr", "-50", cwd=folder).returncode == 0


def test_bounds_of_what_there_is_not(folder, data, tmp_path):
    np.save(tmp_path / "x.npy", data[0])
    found = tse_onnx.evaluate(folder / "net.onnx", folder / "tiled.onnx", data=tmp_path / "x.npy")
    with pytest.raises(tse_onnx.UsageError, match="needs labels"):
        found.require(max_loss=1)


# Progress


@pytest.mark.slow
@pytest.mark.parametrize("colour", [True, False])
def test_a_bar_on_a_terminal_alone(folder, colour):
    leader, follower = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-m", "tse_onnx", "evaluate", "net.onnx", "tiled.onnx", "--data", "x.npz"],
        cwd=folder, stdout=subprocess.PIPE, stderr=follower, env=env | ({} if colour else {"NO_COLOR": "1"}),
    ) as process:  # fmt: skip
        os.close(follower)
        shown = b""
        try:
            while part := os.read(leader, 4096):
                shown += part
        except OSError:  # how Linux says that the other end is closed
            pass
        out = process.stdout.read()
    os.close(leader)
    assert process.returncode == 0
    assert b"\x1b" not in out
    assert (b"comparing" in shown and b"21/21" in shown) if colour else not shown


# What does not fit


BAD = [
    (["net.onnx", "tiled.onnx"], "--data"),
    (["net.onnx", "tiled.onnx", "--data", "none.npz"], "none.npz"),
    (["net.onnx", "tiled.onnx", "--data", "x.npz", "--rows", "3"], "--rows"),
    (["net.onnx", "tiled.onnx", "--data", "x.npz", "--plan", "p.toml"], "--plan"),
    (["net.onnx", "tiled.onnx", "--data", "x.npz", "--limit", "0"], "--limit"),
    (["net.onnx", "tiled.onnx", "--data", "x.npz", "--min-agreement", "95"], "--min-agreement"),
    (["net.onnx", "tiled.onnx", "--data", "x.npz", "--plot", "c.png"], "--correlation"),
    (["net.onnx", "tiled.onnx", "--data", "x.npz", "--correlation", "--plot", "c.pdf"], ".svg"),
    (["net.onnx", "tiled.onnx", "net.onnx", "--data", "x.npz", "--by-stage"], "one conversion"),
    (["net.onnx", "net.onnx", "--data", "x.npz", "--by-stage"], "no converted block"),
    (["net.onnx", "other.onnx", "--data", "x.npz", "--by-stage"], "was not made of net.onnx"),
    (["net.onnx", "wide.onnx", "--data", "x.npz"], "[N, 8, 28, 13]"),
    (["net.onnx", "named.onnx", "--data", "x.npz"], "'z'"),
    (["net.onnx", "without.onnx", "--data", "x.npz"], "no output 'y'"),
    (["net.onnx", "tiled.onnx", "--data", "x.npz", "--labels", "ten.npy"], "10"),
    (["net.onnx", "tiled.onnx", "--data", "x.npz", "--label-offset", "1"], "10 classes"),
    (["net.onnx", "tiled.onnx", "--data", "x.npz", "--label-offset", "-1"], "numbered from 0"),
    (["map.onnx", "map.onnx", "--data", "x.npz", "--labels", "ten.npy"], "looks like classes"),
]


@pytest.fixture(scope="module")
def crowd(folder):
    """Models and files that do not go with net.onnx."""
    other = network(*HEIGHTS)
    for node in other.graph.node:
        node.name = f"other_{node.name}"
    tse_onnx.convert(other, folder / "other.onnx", rows=3, verify=False)
    onnx.save(network(*HEIGHTS, width=13), folder / "wide.onnx")
    renamed = network(*HEIGHTS)
    onnx.save(text_model("y = Identity(z)", inputs="float[N, 8, 28, 12] z"), folder / "named.onnx")
    renamed.graph.node[-1].output[0] = renamed.graph.output[0].name = "q"
    onnx.save(renamed, folder / "without.onnx")
    onnx.save(text_model("y = Relu(x)", inputs="float[N, 8, 28, 12] x", outputs="float[N, 8, 28, 12] y"),
              folder / "map.onnx")  # fmt: skip
    with np.load(folder / "x.npz") as stored:
        labels = stored["labels"].copy()
    labels[3] = 10
    np.save(folder / "ten.npy", labels)
    labels[:] = np.arange(21) % 10
    (folder / "p.toml").write_text('schema = "tse-onnx/plan/1"\n')
    return folder


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=lambda value: " ".join(value[2:]) if value else "")
def test_bad_usage_is_one_line(crowd, arguments, said):
    assert said in refused(command("evaluate", *arguments, cwd=crowd))


def test_labels_that_nobody_asked_for_do_no_harm(crowd):
    """The .npz has labels; a network without classes has no use for them."""
    found = _json(crowd, "map.onnx", "map.onnx", "--data", "x.npz")
    assert found["models"][0]["outputs"][0]["accuracy"] is None


def test_a_converted_model_of_fixed_size_says_the_size(tmp_path):
    """What the original leaves open a converted model may fix, the batch included."""
    model = text_model("y = GlobalAveragePool(x)", inputs="float[N, 3, H, W] x", outputs="float[N, 3, 1, 1] y")
    fixed = text_model("y = GlobalAveragePool(x)", inputs="float[2, 3, 8, 6] x", outputs="float[2, 3, 1, 1] y")
    onnx.save(model, tmp_path / "a.onnx")
    onnx.save(fixed, tmp_path / "b.onnx")
    (tmp_path / "images").mkdir()
    for number in range(4):
        Image.new("RGB", (6, 8), (number * 60, 3, 9)).save(tmp_path / "images" / f"{number}.png")
    found = _json(tmp_path, "a.onnx", "b.onnx", "--data", "images")
    assert (found["data"]["samples"], found["models"][0]["outputs"][0]["equal"]) == (4, True)
    assert "--input-shape" in refused(command("evaluate", "a.onnx", "a.onnx", "--data", "images", cwd=tmp_path))
    os.remove(tmp_path / "images" / "3.png")
    assert "batches of 2" in refused(command("evaluate", "a.onnx", "b.onnx", "--data", "images", cwd=tmp_path))


def test_the_schema_lets_nothing_else_through(folder):
    found = _json(folder, "net.onnx", "tiled.onnx", "--data", "x.npz")
    with pytest.raises(Exception, match="surplus"):
        validated(json.dumps(found | {"surplus": 1}), "evaluate")
