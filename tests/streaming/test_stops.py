"""What stops a stream, and is no block that can be converted."""

from __future__ import annotations

import json

import numpy as np
import pytest

import models
import tse_onnx
from tests.command import tse_onnx as command
from tests.graphs import se_body, se_model, se_weights, text_model
from tse_onnx.passes.blocks.choices import choice_of

KERNEL = {"w0": np.ones((8, 8, 3, 3), np.float32), "one": np.ones(8, np.float32)}
BEFORE = "h = Conv<pads = [1, 1, 1, 1]>(x, w0)\n"
# What stops, as operator and output, and the tensor that waits.
CASES = {
    "instance normalisation": (
        "y = InstanceNormalization(h, one, one)", [("InstanceNormalization", "y", "h")]),
    "a normalisation written out": (
        "m = ReduceMean<axes = [2, 3]>(h)\nc = Sub(h, m)\nq = Mul(c, c)\nv = ReduceMean<axes = [2, 3]>(q)\n"
        "s = Sqrt(v)\ny = Div(c, s)", [("ReduceMean", "m", "h"), ("ReduceMean", "v", "c")]),
    "a gate of maxima": ("d = GlobalMaxPool(h)\ng = Sigmoid(d)\ny = Mul(h, g)", [("GlobalMaxPool", "d", "h")]),
    "global context added": ("d = GlobalAveragePool(h)\ny = Add(h, d)", [("GlobalAveragePool", "d", "h")]),
    "a gate on another branch": (
        "k = Relu(h)\nd = GlobalAveragePool(k)\nn = Neg(h)\ny = Mul(n, d)", [("GlobalAveragePool", "d", "n")]),
    "a norm of each channel": (
        "n = ReduceL2<axes = [2, 3]>(h)\ny = Mul(h, n)", [("ReduceL2", "n", "h")]),
    "nothing": ("y = Relu(h)", []),
    "a classifier": ("d = GlobalAveragePool(h)\nf = Flatten(d)\ny = Softmax(f)", []),
    "a normalisation of each pixel": (
        "m = ReduceMean<axes = [1]>(h)\ny = Sub(h, m)", []),
}  # fmt: skip


def case(name: str):
    return text_model(BEFORE + CASES[name][0], KERNEL, outputs="float[N, A, B, C] y")


@pytest.mark.parametrize("name", CASES)
def test_what_stops_a_stream_is_listed_with_what_waits(name):
    found = tse_onnx.inspect(case(name))
    assert [(stop.operator, stop.node, stop.tensor) for stop in found.stops] == CASES[name][1]
    held = {buffer.tensor: buffer for buffer in tse_onnx.stream(case(name)).buffers}
    for stop in found.stops:
        assert (stop.rows, stop.elements) == (16, 8 * 16 * 12)
        # The simulation, which knows nothing of stops, has to hold as much.
        assert held[stop.tensor].asap.rows == stop.rows
    if not found.stops:
        assert all(buffer.asap.rows <= buffer.window for buffer in held.values())


def test_a_block_that_can_be_converted_is_none_and_one_that_is_refused_is():
    assert tse_onnx.inspect(se_model()).stops == ()
    model = text_model("h = LeakyRelu(x)\nd = GlobalAveragePool(h)\ng = Sigmoid(d)\ny = Mul(h, g)")
    assert [stop.node for stop in tse_onnx.inspect(model).stops] == ["d"]
    assert tse_onnx.inspect(model, kinds="all").stops == ()


@pytest.mark.parametrize("asked", [{"rows": 4}, {"squeeze": "running", "rows": 1}, {"squeeze": "recompute"}])
def test_a_converted_model_has_no_stop_of_its_blocks(asked):
    body = f"h = Conv<pads = [1, 1, 1, 1]>(x, w0)\n{se_body()}\ny = Neg(s)"
    model = text_model(body, se_weights() | {"w0": np.ones((8, 2, 3, 3), np.float32)}, inputs="float[1, 2, 16, 12] x")
    converted = tse_onnx.convert(model, tiling=choice_of(asked)).model
    assert tse_onnx.inspect(converted).stops == ()


def test_where_sizes_are_open_it_is_said_that_nothing_is_known():
    found = tse_onnx.inspect(text_model("y = Relu(x)", inputs="float[N, 8, H, 12] x"))
    assert found.stops is None
    assert "input_shapes=" in found.unknown
    bound = tse_onnx.inspect(
        text_model("y = Relu(x)", inputs="float[N, 8, H, 12] x"), input_shapes={"x": (1, 8, 9, 12)}
    )
    assert (bound.stops, bound.unknown) == ((), "")


def test_the_bundled_models_stop_at_their_blocks_alone():
    for name in ("mobilenetv3_large_torchscript_18", "mobilenetv2_dynamo_18", "regnety_800mf_dynamo_18"):
        assert tse_onnx.inspect(models.load(name)).stops == (), name


def test_the_command_says_it_in_text_and_as_an_object(tmp_path):
    import onnx

    onnx.save(case("instance normalisation"), tmp_path / "in.onnx")
    text = command("inspect", tmp_path / "in.onnx").stdout.decode()
    assert "Stops the stream: InstanceNormalization 'y' normalises each channel" in " ".join(text.split())
    assert "'h' waits, 16 rows" in " ".join(text.split())
    (stop,) = json.loads(command("inspect", tmp_path / "in.onnx", "--format", "json").stdout)["stops"]
    assert (stop["node"], stop["operator"], stop["rows"]) == ("y", "InstanceNormalization", 16)
