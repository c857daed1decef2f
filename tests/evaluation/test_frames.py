"""`tse-onnx evaluate --frames`: state from frame to frame against a loop written out, and what is no stream."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image

import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import video_network
from tse_onnx import Data, DataError, Plan, Previous, Tiling, UsageError

SIZES = {"a": 5, "b": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(3)
    for name, count in SIZES.items():
        (folder / "clips" / name).mkdir(parents=True)
        for number in range(count):  # 8, 9, 10, …: the order of numbers is not that of letters
            pixels = random.integers(0, 256, (18, 14, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "clips" / name / f"frame_{number + 8}.png")
    onnx.save(video_network(), folder / "net.onnx")
    tse_onnx.convert(folder / "net.onnx", folder / "video.onnx", tiling=Previous((0.5,)))
    tse_onnx.convert(folder / "net.onnx", folder / "tile.onnx", tiling=Tiling(3))
    onnx.save(onnx.load(folder / "net.onnx"), folder / "same.onnx")
    return folder


def _loop(folder, settled):
    """What a deployment does, with onnxruntime and names alone: for each stream the outputs of both models."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    original, video = (ort.InferenceSession(folder / f"{name}.onnx", options) for name in ("net", "video"))
    names = [one.name for one in video.get_outputs()]
    found = {}
    for stream, count in SIZES.items():
        gates, pairs = {}, []
        for number in range(count):
            path = folder / "clips" / stream / f"frame_{number + 8}.png"
            x = (np.asarray(Image.open(path), np.float32) / 255).transpose(2, 0, 1)[None]
            for _ in range(3 if settled and number == 0 else 1):
                values = dict(zip(names, video.run(None, {"x": x, **gates}), strict=True))
                gates = {f"{name[:-3]}in": value for name, value in values.items() if name.endswith("gate_out")}
            pairs.append((original.run(["y"], {"x": x})[0][0], values["y"][0]))
        found[stream] = pairs
    return found


def _kl(pairs):
    total = []
    for reference, other in pairs:
        p, q = (np.exp(row.astype(float)) / np.exp(row.astype(float)).sum() for row in (reference, other))
        total.append((p * np.log(p / q)).sum())
    return total


@pytest.mark.parametrize("settled", [False, True])
def test_the_state_goes_from_frame_to_frame(folder, settled):
    options = ["--settle"] if settled else []
    done = command("evaluate", "net.onnx", "video.onnx", "tile.onnx", "--data", "clips", "--frames", *options,
                   "--format", "json", cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found = validated(done.stdout, "evaluate")
    assert found["data"]["text"] == "8 frames of 2 streams from clips"
    loop = _loop(folder, settled)
    assert [one["stream"] for one in found["streams"]] == list(SIZES)
    for stream in found["streams"]:
        name, pairs = stream["stream"], loop[stream["stream"]]
        assert stream["frames"] == [f"frame_{number + 8}.png" for number in range(SIZES[name])]
        kls = [frame[0]["kl"] for frame in stream["models"][0]["by_frame"]]
        assert kls == pytest.approx(_kl(pairs), rel=1e-3, abs=1e-7)
        assert stream["models"][0]["outputs"][0]["kl"] == pytest.approx(np.mean(_kl(pairs)), rel=1e-3)
        agreed = np.mean([one.argmax() == other.argmax() for one, other in pairs])
        assert stream["models"][0]["outputs"][0]["agreement"] == pytest.approx(agreed)
        assert (kls[0] < 1e-7) == settled
    everything = [pair for pairs in loop.values() for pair in pairs]
    assert found["models"][0]["outputs"][0]["kl"] == pytest.approx(np.mean(_kl(everything)), rel=1e-3)
    plain = tse_onnx.evaluate(folder / "net.onnx", folder / "tile.onnx", data=Data(folder / "clips"))
    assert found["models"][1]["outputs"][0]["kl"] == pytest.approx(plain.models[0].outputs[0].kl, rel=1e-6)


def test_a_plan_in_place_of_a_model_and_the_folder_of_one_stream(folder):
    plan = Plan(Previous((0.5,)))
    found = tse_onnx.evaluate(folder / "net.onnx", plan=plan, data=Data(folder / "clips" / "a", frames=True))
    whole = tse_onnx.evaluate(folder / "net.onnx", folder / "video.onnx", data=Data(folder / "clips", frames=True))
    assert [one.stream for one in found.streams] == ["a"]
    assert found.streams[0].models == whole.streams[0].models
    said = command("evaluate", "net.onnx", "--squeeze", "previous", "--data", "clips/a", "--frames", cwd=folder)
    assert "5 frames of 1 stream from a" in said.stdout.decode()
    table = command("evaluate", "net.onnx", "same.onnx", "--data", "clips", "--frames", cwd=folder).stdout.decode()
    assert table.count("equal") == 5


def _broken(folder, how):
    """Copies of the clips in which something is not as it should be."""
    where = folder / how
    if where.exists():
        return where
    shutil.copytree(folder / "clips", where)
    first = where / "b" / "frame_8.png"
    if how == "sizes":
        Image.new("RGB", (20, 18)).save(where / "b" / "frame_9.png")
    elif how == "unnumbered":
        first.rename(where / "b" / "first.png")
    elif how == "photographs":
        first.rename(where / "b" / "8_frame.png")
    elif how == "twice":
        shutil.copy(first, where / "b" / "frame_08.png")
    elif how == "beside":
        shutil.copy(first, where / "frame_1.png")
    elif how == "hollow":
        (where / "c").mkdir()
    elif how == "nothing":
        shutil.rmtree(where)
        where.mkdir()
    elif how == "broken":
        first.write_bytes(b"no image")
    return where


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("sizes", "have different sizes: 'frame_8.png' is 18 × 14, 'frame_9.png' is 18 × 20"),
        ("unnumbered", "are not numbered: 'first.png' is not called as the others but for a number"),
        ("photographs", "are not numbered: 'frame_10.png' is not called as the others but for a number"),
        ("twice", "the frames 'frame_08.png' and 'frame_8.png' in hollow"),
        ("beside", "holds images and folders of images; frames are a folder for each stream"),
        ("hollow", "hollow/c holds no images"),
        ("nothing", "nothing holds no images"),
        ("broken", "cannot read the image broken/b/frame_8.png"),
    ],
)
def test_what_is_no_stream_is_one_line(folder, how, said):
    _broken(folder, how)
    done = command("evaluate", "net.onnx", "video.onnx", "--data", how, "--frames", cwd=folder)
    assert said.replace("in hollow", f"in {how}/b have one number") in refused(done)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "clips", "--settle"], "--settle goes with --frames"),
        (["--data", "clips", "--frames", "--limit", "3"], "they go without --limit"),
        (["--data", "clips", "--frames", "--batch", "2"], "they go without --batch"),
        (["--data", "clips", "--frames", "--skip-unreadable"], "they go without --skip-unreadable"),
        (["--data", "net.onnx", "--frames"], "net.onnx is no folder; frames are a folder of images for each stream"),
        (["--data", "clips", "--frames", "--by-stage"], "not stage by stage"),
    ],
)
def test_options_that_do_not_go_with_frames(folder, options, said):
    assert said in refused(command("evaluate", "net.onnx", "video.onnx", *options, cwd=folder))


def test_a_model_that_mixes_the_frames_of_a_stream_in_its_batch(folder):
    model = video_network()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, folder / "four.onnx")
    done = command("evaluate", "four.onnx", "--squeeze", "previous", "--data", "clips", "--frames", cwd=folder)
    assert "takes batches of 4, which would mix the frames of a stream" in refused(done)


def test_a_model_whose_ends_another_tool_took_away(folder):
    model = onnx.load(folder / "video.onnx")
    del model.graph.input[1:]
    onnx.save(model, folder / "cut.onnx")
    done = command("evaluate", "net.onnx", "cut.onnx", "--data", "clips", "--frames", cwd=folder)
    assert "cut.onnx has no 'd.gate_in' any more" in refused(done)


def test_single_samples_are_said_to_be_first_frames(folder, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(5).random((2, 3, 18, 14)).astype(np.float32))
    models = ("net.onnx", "video.onnx", "net.onnx")
    note = "Note: every sample was a first frame to video.onnx: --frames feeds gates on to the next one."
    done = command("evaluate", *models, "--data", tmp_path / "x.npz", cwd=folder)
    assert done.stdout.decode().count("first frame") == done.stdout.decode().count(note) == 1
    done = command("evaluate", *models, "--data", "clips", "--frames", cwd=folder)
    assert "Note: every sample" not in done.stdout.decode()


def test_in_the_library():
    with pytest.raises(UsageError, match="without limit"):
        Data("clips", limit=3, frames=True)
    with pytest.raises(UsageError, match="stream of frames"):
        tse_onnx.evaluate(video_network(), plan=Plan(Tiling(3)), data="nowhere", settle=True)
    with pytest.raises(DataError, match="is no folder"):
        tse_onnx.evaluate(video_network(), plan=Plan(Tiling(3)), data=Data("nowhere", frames=True))


def test_a_bound_holds_for_all_frames(folder):
    options = ["--data", "clips", "--frames", "--max-kl", "1e-9", "--format", "json"]
    done = command("evaluate", "net.onnx", "video.onnx", *options, cwd=folder)
    assert done.returncode == 1
    assert json.loads(done.stdout)["streams"]
    assert command("evaluate", "net.onnx", "same.onnx", *options, cwd=folder).returncode == 0


# What a first frame is scaled by.


def test_the_first_gates_are_the_means_of_the_originals_own(folder, tmp_path):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    model = onnx.load(folder / "net.onnx")
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("g", "g2"))
    session = ort.InferenceSession(model.SerializeToString(), options)
    frames = np.random.default_rng(5).random((11, 3, 18, 14)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=frames)
    wanted = [gates.mean(axis=(0, 2, 3)) for gates in session.run(["g", "g2"], {"x": frames})]
    plan = tse_onnx.first_gates(folder / "net.onnx", data=tmp_path / "x.npz")
    for name, numbers in zip(("d", "d2"), wanted, strict=True):
        assert plan.choices[name].first == pytest.approx(numbers, rel=1e-4)
    done = command("plan", folder / "net.onnx", "--squeeze", "previous", "--data", tmp_path / "x.npz")
    assert Plan.loads(done.stdout.decode()) == plan
    mixed = Plan(Tiling(3), {"d2": Previous((0.5,))})
    found = tse_onnx.first_gates(folder / "net.onnx", data=tmp_path / "x.npz", plan=mixed)
    assert found == Plan(Tiling(3), {"d2": plan.choices["d2"]})
    result = tse_onnx.convert(folder / "net.onnx", plan=plan)
    assert result.verification.passed
    assert np.array_equal(onnx.numpy_helper.to_array(result.model.graph.initializer[-1]).ravel(),
                          np.array(plan.choices["d2"].first, np.float32))  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rows", "3", "--data", "clips"], "no block takes the gates of the frame before"),
        (["--exact", "--reduce", "50%", "--data", "clips"], "it takes no --data"),
        (["--squeeze", "previous", "--preprocess", "imagenet"], "--preprocess goes with --data"),
        (["--squeeze", "previous", "--data", "net.onnx"], "cannot read net.onnx"),
    ],
)
def test_nothing_to_measure_is_one_line(folder, options, said):
    done = command("plan", "net.onnx", *options, "-o", "plan.toml", cwd=folder)
    assert said in refused(done)
    assert not (folder / "plan.toml").exists()
