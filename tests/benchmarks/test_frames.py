"""The benchmark of frames, on a small network and noise: its rows are what their definitions say."""

from __future__ import annotations

import itertools
import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image

import tse_onnx
from benchmarks import frames
from tests.graphs import se_body, se_weights, text_model

SIZE = 16


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pans")
    random = np.random.default_rng(7)
    weights = se_weights() | {
        "wf": random.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "wh": random.standard_normal((8, 10)).astype(np.float32),
    }
    body = se_body("GlobalAveragePool", "Relu", "Sigmoid", False)
    text = f"h = Conv(x, wf)\n{body}\np = GlobalMaxPool(s)\nf = Flatten(p)\ny = MatMul(f, wh)"
    model = text_model(text, weights, inputs="float[N, 3, H, W] x", outputs="float[N, 10] y")
    onnx.save(model, folder / "net.onnx")
    (folder / "images").mkdir()
    for number in range(3):
        pixels = random.integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    frames.main([str(folder / "net.onnx"), str(folder / "images"), "--size", "16", "--json", str(folder / "rows.json")])
    found = json.loads((folder / "rows.json").read_text())
    assert (found["model"], found["images"]) == ("net.onnx", 3)
    return folder, {(row["model"], row["what"]): row for row in found["rows"]}


def test_every_kind_of_stream_has_its_frames(rows):
    _, found = rows
    moving = [f"{speed} pixels a frame" for speed in frames.SPEEDS]
    assert [what for model, what in found if model == "previous"] == moving
    assert all(
        found[model, what]["frames"] == 3 * frames.FRAMES
        for model in ("previous", "tiles of 7 rows")
        for what in moving
    )
    assert found["previous", moving[0]]["kl"] != found["tiles of 7 rows", moving[0]]["kl"]


def test_a_scene_that_stands_still_is_exact_from_the_second_frame_on(rows):
    _, found = rows
    for model in ("previous, first by 1", "previous, by means"):
        still = [found[model, f"still, frame {number}"] for number in range(1, frames.STILL + 1)]
        assert still[0]["kl"] > 1e-6
        assert all(row["kl"] < 1e-9 and row["agreement"] == 1 for row in still[1:])
    assert found["previous, by means", "still, frame 1"]["kl"] < found["previous, first by 1", "still, frame 1"]["kl"]


def test_a_pan_by_hand(rows):
    """Windows cut anew, the gate of the frame before from the original, and the divergence written out."""
    folder, found = rows
    model = onnx.load(folder / "net.onnx")
    made = tse_onnx.convert(
        model, tiling=tse_onnx.Previous(), input_shapes={"x": (None, 3, 16, 16)}, verify=False
    ).model
    options = ort.SessionOptions()
    options.log_severity_level = 4
    original, video = (ort.InferenceSession(one.SerializeToString(), options) for one in (model, made))
    wide, total = SIZE + 16 * frames.FRAMES, []
    for number in range(3):
        image = Image.open(folder / "images" / f"{number}.png")
        image = image.resize((round(40 * wide / 30), wide), Image.Resampling.BICUBIC)
        whole = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
        left, top = (whole.shape[2] - wide) // 2, (wide - SIZE) // 2
        pan = [whole[None, :, top : top + SIZE, left + 8 * step : left + 8 * step + SIZE] for step in range(5)]
        for before, frame in itertools.pairwise(pan):
            gate = video.run(["d.gate_out"], {"x": before})[0]
            logits = [original.run(["y"], {"x": frame})[0], video.run(["y"], {"x": frame, "d.gate_in": gate})[0]]
            p, q = (np.exp(row.astype(float)) / np.exp(row.astype(float)).sum() for row in logits)
            total.append((p * np.log(p / q)).sum())
    assert found["previous", "8 pixels a frame"]["kl"] == pytest.approx(np.mean(total), rel=1e-3)
