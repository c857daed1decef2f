"""Tuning on streams: the gates of the frame before, measured as a loop over frames has it, and what is no stream."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image

import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import video_network
from tse_onnx import Data, Menu, Plan, Previous, UsageError
from tse_onnx.data.samples import Samples
from tse_onnx.tuning.search import halves

SIZES = {"a": 4, "b": 3, "c": 5, "d": 2, "e": 3}
ALONE = Menu((5,), ("previous",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(3)
    for name, count in SIZES.items():
        (folder / "clips" / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, (18, 14, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "clips" / name / f"{number + 8}.png")
    onnx.save(video_network(), folder / "net.onnx")
    return folder


@pytest.fixture(scope="module")
def clips(folder) -> Data:
    return Data(folder / "clips", frames=True)


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options)


def _loop(folder, choices, streams, settled):
    """What a deployment does with these choices, with onnxruntime and names alone: the divergence of each frame."""
    model = tse_onnx.convert(folder / "net.onnx", plan=Plan(None, choices), verify=False).model
    original, video = _session(onnx.load(folder / "net.onnx")), _session(model)
    names = [one.name for one in video.get_outputs()]
    losses = []
    for stream in streams:
        gates = {}
        for number in range(SIZES[stream]):
            path = folder / "clips" / stream / f"{number + 8}.png"
            x = (np.asarray(Image.open(path), np.float32) / 255).transpose(2, 0, 1)[None]
            for _ in range(len(choices) + 1 if settled and number == 0 else 1):
                values = dict(zip(names, video.run(None, {"x": x, **gates}), strict=True))
                gates = {f"{name[:-3]}in": value for name, value in values.items() if name.endswith("gate_out")}
            rows = original.run(["y"], {"x": x})[0][0], values["y"][0]
            p, q = (np.exp(row.astype(float)) / np.exp(row.astype(float)).sum() for row in rows)
            losses.append((p * np.log(p / q)).sum())
    return losses


def _previous(entry):
    return next(one for one in entry.candidates if isinstance(one.choice, Previous))


@pytest.mark.parametrize("settle", [False, True])
@pytest.mark.parametrize("memory", [2**30, pytest.param(1, marks=pytest.mark.slow)])
def test_a_block_alone_costs_what_a_loop_over_the_frames_has(folder, clips, settle, memory):
    found = tse_onnx.sensitivity(
        folder / "net.onnx", clips, menu=ALONE, settle=settle, memory=memory, freeze="never", cache=False
    )
    assert (found.streams, found.settled, len(found.blocks)) == (len(SIZES), settle, 2)
    for entry in found.blocks:
        one = _previous(entry)
        losses = _loop(folder, {entry.block.name: one.choice}, SIZES, settle)
        assert one.loss == pytest.approx(np.mean(losses), rel=1e-4, abs=1e-9)
        assert one.loss > 1e-4
        assert one.saved > 0


def test_a_first_frame_gets_the_means_of_the_gates(folder, clips):
    found = tse_onnx.sensitivity(folder / "net.onnx", clips, menu=ALONE, freeze="never", cache=False)
    measured = tse_onnx.first_gates(folder / "net.onnx", data=clips).choices
    for entry in found.blocks:
        assert _previous(entry).choice.first == pytest.approx(measured[entry.block.name].first, rel=2e-5)


def test_a_block_that_cannot_take_them_is_named(folder, clips):
    model = onnx.load(folder / "net.onnx")
    first, second = tse_onnx.first_gates(model, data=clips).choices
    for node in model.graph.node:  # its map is called as its input would be
        for names in (node.input, node.output):
            names[:] = [f"{second}.gate_in" if name == "h2" else name for name in names]
    found = tse_onnx.tune(
        model, clips, reduce=0.3, figure="gate", menu=ALONE, freeze="never", trials=0, points=0, cache=False
    )
    one, other = found.sensitivity.blocks
    assert (one.block.name, one.outside, other.block.name, len(other.candidates)) == (first, (), second, 1)
    ((choice, why),) = other.outside
    assert isinstance(choice, Previous)
    assert why == f"the model has a value '{second}.gate_in' already: rename it"
    assert found.plan.notes[second] == f"kept: {why}"


def test_while_nothing_moves_nothing_is_lost(folder, tmp_path):
    for number, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for frame in range(3):
            shutil.copy(folder / "clips" / "c" / f"{number + 8}.png", tmp_path / name / f"{frame}.png")
    still = Data(tmp_path, frames=True)
    for settle in (True, False):
        found = tse_onnx.sensitivity(folder / "net.onnx", still, menu=ALONE, settle=settle, freeze="never", cache=False)
        assert all((_previous(entry).loss < 1e-9) == settle for entry in found.blocks)


@pytest.mark.slow
@pytest.mark.parametrize("settle", [False, True])
def test_a_plan_costs_what_a_loop_over_the_frames_has(folder, clips, settle):
    """Both blocks take the gates of the frame before, each from what the other made of the frame before that."""
    found = tse_onnx.tune(
        folder / "net.onnx", clips, reduce=0.9, figure="gate", menu=ALONE, settle=settle, memory=1, trials=2, points=2,
        freeze="never", held_out=0.4, cache=False,
    )  # fmt: skip
    choices = dict(found.chosen.combination)
    assert [type(choice) for choice in choices.values()] == [Previous, Previous]
    choose, judge = _sides(clips)
    assert (len(choose), len(judge), choose & judge) == (3, 2, set())
    losses = _loop(folder, choices, sorted(choose), settle)
    assert found.chosen.measured == pytest.approx(np.mean(losses), rel=1e-4)
    held = _loop(folder, choices, sorted(judge), settle)
    assert found.verdict.accuracy.kl == pytest.approx(np.mean(held), rel=1e-4)
    assert found.held_out == f"{len(held)} of 17 frames of 5 streams from clips"


def _samples(clips) -> Samples:
    from tse_onnx.decision.analysis import analyse, input_types
    from tse_onnx.files.source import open_model

    return clips.samples(input_types(analyse(open_model(video_network()))))


def _sides(clips, held_out=0.4, seed=0):
    return [{name.split("/")[0] for name in side.names} for side in halves(_samples(clips), held_out, seed)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("held_out", [0.01, 0.5, 0.99])
def test_no_stream_is_on_both_sides(clips, held_out, seed):
    choose, judge = _sides(clips, held_out, seed)
    assert choose | judge == set(SIZES)
    assert not choose & judge
    for side in halves(_samples(clips), held_out, seed):
        assert [side.names[start].split("/")[0] for start in side.starts] == sorted(
            {name.split("/")[0] for name in side.names}
        )
        assert [name.split("/")[1] for name in side.names if name.startswith("c/")] in (
            [], [f"{number}.png" for number in range(8, 13)],
        )  # fmt: skip


@pytest.mark.slow
def test_what_was_lost_of_a_stream_is_measured_from_its_start(folder, clips, tmp_path):
    asked = {"reduce": 0.9, "figure": "gate", "menu": ALONE, "trials": 0, "points": 0, "freeze": "never"}
    whole = tse_onnx.tune(folder / "net.onnx", clips, cache=tmp_path, **asked)
    (kept,) = tmp_path.glob("*.jsonl")
    lines = kept.read_text().splitlines()
    left = [line for number, line in enumerate(lines) if number % 3 != 2]
    kept.write_text("\n".join(left) + "\n")
    assert tse_onnx.tune(folder / "net.onnx", clips, cache=tmp_path, **asked) == whole
    # What a first frame settles to is a measurement of its own.
    tse_onnx.tune(folder / "net.onnx", clips, settle=True, cache=tmp_path, **asked)
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


@pytest.mark.slow
def test_the_commands_say_so(folder):
    words = ("net.onnx", "--data", "clips", "--frames", "--settle", "--rows", "5", "--no-cache")
    found = validated(command("sensitivity", *words, "--format", "json", cwd=folder).stdout, "sensitivity")
    assert (found["streams"], found["settled"]) == (5, True)
    kinds = {one["squeeze"] for block in found["blocks"] for one in block["candidates"]}
    assert {"previous", "tile", "running"} <= kinds
    shown = command("sensitivity", *words, cwd=folder).stdout.decode()
    assert "frame before" in shown
    done = command("tune", *words, "--squeeze", "previous", "--reduce", "90%", "--figure", "gate", "-o", "plan.toml",
                   "--report", "tuned.json", "--points", "2", cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    tuned = validated((folder / "tuned.json").read_bytes(), "tune")
    assert [one["squeeze"] for one in tuned["chosen"]["choices"]] == ["previous", "previous"]
    made = command("convert", "net.onnx", "video.onnx", "--plan", "plan.toml", "--format", "json", cwd=folder)
    blocks = [block for block in json.loads(made.stdout)["blocks"] if block["status"] == "converted"]
    assert len(blocks) == 2
    assert all(block["tiling"]["squeeze"] == "previous" and len(block["frames"]["first"]) == 8 for block in blocks)
    alone = command("sensitivity", "net.onnx", "--data", "clips/a", "--rows", "5", "--no-cache", "--format", "json",
                    cwd=folder)  # fmt: skip
    assert "previous" not in {one["squeeze"] for one in json.loads(alone.stdout)["blocks"][0]["candidates"]}


@pytest.mark.long
def test_workers_measure_the_same(folder):
    pytest.importorskip("distributed")
    words = ("tune", "net.onnx", "--data", "clips", "--frames", "--squeeze", "previous", "--reduce", "90%", "--figure",
             "gate", "--no-cache", "--points", "2", "--trials", "0", "--format", "json", "--threads", "1")  # fmt: skip
    here, there = (command(*words, *more, cwd=folder) for more in ((), ("--workers", "2")))
    assert there.returncode == 0, there.stderr.decode()
    assert json.loads(there.stdout) == json.loads(here.stdout)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--data", "clips/a", "--frames"), "4 frames of 1 stream from a are too few: streams"),
        (("--data", "clips/a", "--squeeze", "previous"), "--frames takes streams"),
        (("--data", "clips/a", "--settle"), "--settle goes with --frames"),
        (("--data", "clips", "--frames", "--limit", "3"), "without --limit"),
        (("--data", "net.onnx", "--frames"), "is no folder"),
    ],
)
def test_what_is_no_stream_is_refused(folder, words, complaint):
    done = command("tune", "net.onnx", *words, "--reduce", "10%", "--no-cache", "-o", "none.toml", cwd=folder)
    assert complaint in refused(done)
    assert not (folder / "none.toml").exists()


def test_the_library_refuses_the_same(folder):
    for options in ({"menu": ALONE}, {"settle": True}):
        with pytest.raises(UsageError, match="frame"):
            tse_onnx.sensitivity(folder / "net.onnx", folder / "clips" / "a", cache=False, **options)
