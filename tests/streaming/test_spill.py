"""What goes into external memory: every choice tried, and the room that is left proved by a run."""

from __future__ import annotations

import itertools
import json
import random

import numpy as np
import onnx
import pytest

import models
import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as run
from tests.streams import CONV3, SE, SE_WEIGHTS, stream_model, streamed
from tse_onnx import Machine, Recompute
from tse_onnx.streaming.depths.cover import cheapest_cover
from tse_onnx.streaming.depths.simulate import simulate

CONVS = {"w": (4, 4, 3, 3), "v": (4, 4, 3, 3)}
UP = 'Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'


def gate(source, prefix):
    text = SE.format(source)
    for name in "drqegs":
        text = text.replace(f"{name} =", f"{prefix}{name} =").replace(f"({name},", f"({prefix}{name},")
        text = text.replace(f"({name})", f"({prefix}{name})").replace(f", {name})", f", {prefix}{name})")
    return text


# A network, and of each tensor that might be spilled the rows that its readers need at once, one after the other.
NETWORKS = {
    "a block": (f"h = Relu(x){SE.format('h')}y = {CONV3}(s, w)", CONVS | SE_WEIGHTS, {"h": [1, 1], "s": [3]}),
    "a residual block": (f"h = {CONV3}(x, w){SE.format('h')}p = {CONV3}(s, v)\ny = Add(x, p)", CONVS | SE_WEIGHTS,
                         {"x": [3, 1], "h": [1, 1], "s": [3]}),
    "two blocks": (f"h = {CONV3}(x, w){gate('h', 'a')}k = {CONV3}(as, v){gate('k', 'b')}y = Add(bs, h)", CONVS | SE_WEIGHTS,
                   {"x": [3], "h": [1, 1, 1], "as": [3], "k": [1, 1]}),
    "levels": (f"e = {CONV3}(x, w)\nt = {CONV3.replace('pads', 'strides = [2, 2], pads')}(e, v)\nm = {CONV3}(t, w)\n"
               f"n = {CONV3}(m, v)\nu = {UP}(n, , scales)\ny = Add(e, u)",
               CONVS | {"scales": np.float32([1, 1, 2, 2])}, {"x": [3], "e": [3, 1], "t": [3], "m": [3]}),
}  # fmt: skip


def model_of(name):
    body, weights, _ = NETWORKS[name]
    return stream_model(body, (1, 4, 16, 6), weights)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_other_choice_of_tensors_takes_less_bandwidth(name):
    model, windows = model_of(name), NETWORKS[name][2]
    found = tse_onnx.stream(model)
    rows = {buffer.tensor: buffer.height for buffer in found.buffers}
    width = {buffer.tensor: buffer.row_elements * 4 for buffer in found.buffers}
    held = {buffer.tensor: buffer.min.bytes for buffer in found.buffers}
    left = {each: (1 + sum(needed)) * width[each] for each, needed in windows.items()}
    cost = {each: rows[each] * width[each] * (1 + len(needed)) for each, needed in windows.items()}
    needed = sum(held.values())
    for memory in sorted({0, needed, needed + 1, *(needed - step for step in range(0, needed, 160))}):
        choices = [
            (sum(cost[each] for each in some), some)
            for count in range(len(windows) + 1)
            for some in itertools.combinations(windows, count)
            if sum(left[each] if each in some else size for each, size in held.items()) <= memory
        ]
        spill = tse_onnx.stream(model, machine=Machine(memory=memory)).spill
        some = {each.tensor for each in spill.tensors}
        assert spill.needed == needed
        assert spill.held == sum(left[each] if each in some else size for each, size in held.items())
        assert spill.fits == bool(choices)
        if choices:
            assert spill.written + spill.read == min(choices)[0]
        else:  # all that there is
            assert some == {each for each in windows if left[each] < held[each]}


def through_memory(model, tensor, windows):
    """The model with a copy of a tensor for external memory, and one of that for each of its readers."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    readers = [node for node in made.graph.node if tensor in node.input]
    nodes = [onnx.helper.make_node("Identity", [tensor], ["outside"])]
    for number, node in enumerate(readers):
        nodes.append(onnx.helper.make_node("Identity", ["outside"], [f"back{number}"]))
        node.input[list(node.input).index(tensor)] = f"back{number}"
    nodes += made.graph.node
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    assert len(readers) == len(windows)
    return made


@pytest.mark.parametrize("name", NETWORKS)
def test_the_room_that_is_left_is_enough_and_not_too_much(name):
    model = model_of(name)
    least = streamed(model).minimum()
    for tensor, windows in NETWORKS[name][2].items():
        detour = streamed(through_memory(model, tensor, windows))
        room = least | {tensor: 1, "outside": 10**6} | {f"back{n}": rows for n, rows in enumerate(windows)}
        names = [store.tensor for store in detour.pipeline.stores]
        assert simulate(detour.pipeline, [room[each] for each in names]).completed
        for number, rows in enumerate(windows):
            fewer = room | {f"back{number}": rows - 1}
            assert not simulate(detour.pipeline, [fewer[each] for each in names]).completed


def test_a_value_that_is_gone_over_twice_comes_back_twice():
    body = f"z = Conv(x, narrow)\nk = Conv(z, wide)\nm = {CONV3}(k, kernel){SE.format('m')}y = Relu(s)"
    weights = SE_WEIGHTS | {"narrow": (1, 4, 1, 1), "wide": (4, 1, 1, 1), "kernel": (4, 4, 3, 3)}
    model = tse_onnx.convert(stream_model(body, (1, 4, 16, 6), weights), tiling=Recompute(), verify=False).model
    (each,) = tse_onnx.stream(model, machine=Machine(replay="shared", memory=0)).spill.tensors
    assert (each.tensor, each.written, each.read) == ("z", 16 * 6 * 4, 2 * 16 * 6 * 4)
    assert each.kept.rows == 2


def test_parts_of_a_tensor_that_one_node_takes_are_read_once():
    body = f"h = Relu(x)\na, b = Split<axis = 1>(h)\nc = Concat<axis = 1>(b, a){SE.format('h')}y = Add(c, s)"
    spill = tse_onnx.stream(stream_model(body, (1, 4, 16, 6), SE_WEIGHTS), machine=Machine(memory=0)).spill
    (each,) = [each for each in spill.tensors if each.tensor == "h"]
    assert each.kept.rows == 1 + 3
    assert each.read == 3 * each.written == 3 * 16 * 6 * 4 * 4


@pytest.mark.parametrize("seed", range(4))
def test_a_cover_is_the_cheapest_of_all(seed):
    draw = random.Random(seed)
    for _ in range(300):
        count = draw.randint(1, 9)
        worth, cost = ([draw.randint(1, 30) * draw.choice([1, 1, 4]) for _ in range(count)] for _ in range(2))
        wanted = draw.randint(0, sum(worth) + 3)
        enough = (
            some for size in range(count + 1) for some in itertools.combinations(range(count), size)
            if sum(worth[each] for each in some) >= wanted
        )  # fmt: skip
        best = min((sum(cost[each] for each in some) for some in enough), default=None)
        found = cheapest_cover(worth, cost, wanted)
        assert (found is None) == (best is None)
        if found is not None:
            assert sum(worth[each] for each in found) >= wanted
            assert sum(cost[each] for each in found) == best
    assert cheapest_cover([], [], 0) == ()
    assert cheapest_cover([], [], 1) is None


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("spill") / "digits.onnx"
    models.save("digits_se", path)
    return path


def test_commands_say_what_to_spill_before_and_after(digits, tmp_path):
    words = ("--memory", "300KiB", "--format", "json")
    found = json.loads(run("stream", digits, "--no-run", *words).stdout)["dataflow"]
    assert found["machine"]["memory"] == found["spill"]["memory"] == 300 * 1024
    assert found["spill"]["held"] <= 300 * 1024 < found["spill"]["needed"] == found["totals"]["min"]["bytes"]
    flows = json.loads(run("report", digits, "--rows", "7", *words).stdout)["dataflow"]
    assert flows["before"]["spill"] == found["spill"]
    after = flows["after"]["spill"]
    assert after["written"] + after["read"] < found["spill"]["written"] + found["spill"]["read"]
    assert json.loads(run("stream", digits, "--no-run", "--format", "json").stdout)["dataflow"]["spill"] is None
    path = tmp_path / "board.toml"
    path.write_text(f"memory = {300 * 1024}")
    told = run("stream", digits, "--no-run", "--machine", path).stdout.decode()
    assert "In 300 KiB the network does not fit" in told
    assert "in external memory" in told
    assert "the network fits" in run("stream", digits, "--no-run", "--memory", "1GiB").stdout.decode()
    assert "and does not fit" in run("report", digits, "--rows", "7", "--memory", "1KiB").stdout.decode()
    # Half the bits need half the room, and half the bandwidth.
    half = json.loads(
        run("stream", digits, "--no-run", "--bits", "16", "--memory", "150KiB", "--format", "json").stdout
    )
    assert 2 * half["dataflow"]["spill"]["written"] == found["spill"]["written"]


@pytest.mark.parametrize(("words", "said"), [
    (("--memory", "much"), "'much' is no size"),
    (("--machine", "{file}"), "memory is a whole number of bytes, not '1MiB'"),
])  # fmt: skip
def test_what_is_no_size(digits, tmp_path, words, said):
    path = tmp_path / "board.toml"
    path.write_text('memory = "1MiB"')
    assert said in refused(run("stream", digits, "--no-run", *(word.format(file=path) for word in words)))
