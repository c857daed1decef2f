"""Machines by name and by file, and depths as other tools take them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest

import models
import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as run
from tests.streams import CONV3, SE, SE_WEIGHTS, stream_model
from tse_onnx import Machine, UsageError
from tse_onnx.streaming.handover import finn_folding, hls4ml_depths
from tse_onnx.streaming.network.machines import MACHINES, machine_of, parse_machine
from tse_onnx.streaming.network.read import network_of


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("machines") / "digits.onnx"
    models.save("digits_se", path)
    return path


def figures(digits, *words):
    return json.loads(run("stream", digits, "--no-run", "--format", "json", *words).stdout)["dataflow"]


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_by_its_name(digits, name):
    found = figures(digits, "--machine", name)
    assert found["machine"] == dataclasses.asdict(MACHINES[name])
    assert found["totals"]["bound"]["elements"] <= found["totals"]["min"]["elements"]
    assert found["totals"]["min"]["elements"] == tse_onnx.stream(digits, machine=name).totals["min"].elements


def test_nothing_said_is_the_ideal_machine(digits):
    assert figures(digits) == figures(digits, "--machine", "ideal")


def test_a_file_over_a_preset_and_options_over_the_file(digits, tmp_path):
    path = tmp_path / "board.toml"
    path.write_text('preset = "finn"\nbits = 4\ngrain = "row"\n[latencies]\n"/0/Conv" = 3\n"/2/Mul" = 2.5\n')
    wanted = Machine(
        "row", "per-reader", True, 4, latencies={"/0/Conv": 3, "/2/Mul": 2.5}, fusion=True, joins="separate"
    )
    assert machine_of(path) == wanted
    assert figures(digits, "--machine", path)["machine"] == dataclasses.asdict(wanted)
    changed = figures(
        digits, "--machine", path, "--storage", "shared", "--no-power-of-two", "--back-to-back", "--replay", "shared",
        "--no-fusion", "--latency", "2", "--latency", "/2/Mul=1",
    )["machine"]  # fmt: skip
    assert changed == dataclasses.asdict(
        Machine("row", "shared", False, 4, True, 2.0, {"/0/Conv": 3, "/2/Mul": 1.0}, "shared", joins="separate")
    )


@pytest.mark.parametrize(("text", "said"), [
    ('grains = "row"', "there is no key 'grains'; did you mean grain?"),
    ('grain = "line"', "grain is row or pixel, not 'line'"),
    ("storage = 1", "storage is shared or per-reader, not 1"),
    ("storage = []", "storage is shared or per-reader, not []"),
    ('replay = "twice"', "replay is shared or separate, not 'twice'"),
    ("power_of_two = 1", "power_of_two is true or false, not 1"),
    ("bits = 8.0", "bits is a whole number from 1 to 1024, not 8.0"),
    ("bits = true", "bits is a whole number from 1 to 1024, not True"),
    ("bits = 0", "bits is a whole number from 1 to 1024, not 0"),
    ("latency = -1", "latency is a number of row times, not -1"),
    ("latency = nan", "latency is a number of row times, not nan"),
    ("latencies = 3", "latencies is a table of row times by node name, not 3"),
    ('[latencies]\nconv = "slow"', "latencies: that of 'conv' is a number of row times, not 'slow'"),
    ('joins = "apart"', "joins is fused or separate, not 'apart'"),
    ('preset = "gpu"', "preset is ideal, hls4ml, finn, cascade, not 'gpu'"),
    ("grain = ", "is not TOML"),
])  # fmt: skip
def test_a_bad_file_is_one_line_with_the_key(digits, tmp_path, text, said):
    path = tmp_path / "board.toml"
    path.write_text(text)
    line = refused(run("stream", digits, "--no-run", "--machine", path))
    assert str(path) in line
    assert said in line


@pytest.mark.parametrize(("option", "table"), [("--latency", "latencies"), ("--macs-per-cycle", "rates")])
@pytest.mark.parametrize("command", ["stream", "report"])
def test_a_node_that_there_is_not_is_named_with_the_nearest(digits, tmp_path, command, option, table):
    said = f"{table}: no stage of the network is called '/0/Cnv'; did you mean /0/Conv?"
    base = ("--macs-per-cycle", "2") if table == "rates" else ()
    words = (command, digits, *(["--no-run"] if command == "stream" else []))
    assert said in refused(run(*words, *base, option, "/0/Cnv=3"))
    path = tmp_path / "board.toml"
    path.write_text(("macs_per_cycle = 2\n" if base else "") + f'[{table}]\n"/0/Cnv" = 3\n')
    assert said in refused(run(*words, "--machine", path))
    assert said in refused(run("stream", digits, "--export", "json", "--machine", path))


def test_a_latency_of_a_node_that_a_conversion_makes_or_takes_away(digits):
    """Both networks are named together: what one of them has is no mistake."""
    result = tse_onnx.convert(digits, rows=3, verify=False)
    before = {node.name for node in onnx.load(digits).graph.node}
    after = {node.name for node in result.model.graph.node if node.op_type != "Constant"}
    made = sorted(after - before)[0]
    for name in (made, sorted(before - after)[0]):
        done = run("report", digits, "--rows", "3", "--latency", f"{name}=3", "--format", "json")
        assert done.returncode == 0, done.stderr
    with pytest.raises(UsageError, match="no stage of the network is called"):
        tse_onnx.stream(digits, machine=Machine(latencies={made: 3.0}))


@pytest.mark.parametrize(("name", "said"), [
    ("hls4m", "did you mean hls4ml?"),
    ("nothing.toml", "cannot read the machine"),
])  # fmt: skip
def test_what_is_no_machine(digits, name, said):
    assert said in refused(run("report", digits, "--machine", name))


def test_values_are_checked_where_a_machine_is_made():
    with pytest.raises(UsageError, match="grain is row or pixel"):
        Machine(grain="line")
    assert parse_machine("") == Machine()


def test_a_resize_that_reads_rows_makes_its_join_wait_a_row_more():
    """By hand, in pixels of a map of 8 × 8: the first row of u needs the first of m, whose last pixel needs that of
    the row above it in e, and a pixel of each is on its way."""
    body = f"""
        d = {CONV3.replace("pads", "strides = [2, 2], pads")}(e, w)
        u = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(d, , scales)
        y = Concat<axis = 1>(e, u)
    """
    weights = {"w": (4, 4, 3, 3), "scales": np.array([1, 1, 2, 2], np.float32)}
    model = stream_model(body, (1, 4, 8, 8), weights, inputs="float[1, 4, 8, 8] e")

    def waits(resize):
        machine = Machine("pixel", "per-reader", resize=resize)
        (held,) = [each for each in tse_onnx.stream(model, machine=machine).buffers if "Concat" in str(each.reader)
                   and each.tensor == "e"]  # fmt: skip
        return held.min.depth

    # The first pixel of d needs row 1, column 1 of e; the last of its first row needs row 1, column 7.
    assert waits("pixel") == 8 + 2
    assert waits("row") == 8 + 8


ONE = "Conv<kernel_shape = [1, 1]>"
FIVE = "Conv<kernel_shape = [5, 5], pads = [2, 2, 2, 2]>"
STRIDED = CONV3.replace("pads", "strides = [2, 2], pads")
HEAD = f"s = {ONE}(x, w1)"
WEIGHTS = {"w1": (4, 4, 1, 1), "w3": (4, 4, 3, 3), "w5": (4, 4, 5, 5)}
# The least depths with which C++ that hls4ml 1.3.0 generates (Vitis, io_stream) ends, if its streams are queues that
# block when they are full and each layer is a thread; on a map of 8 × 8. All other streams end with one pixel.
COMPILED = {
    "a skip that is read first": (f"c = {CONV3}(s, w3)\ny = Add(s, c)", {"clone_s_cpy2": 8}),
    "a skip that is read second": (f"c = {CONV3}(s, w3)\ny = Add(c, s)", {"clone_s_cpy2": 9}),
    "a layer on the skip": (f"c = {CONV3}(s, w3)\nr = Relu(s)\ny = Add(c, r)", {"r": 7}),
    "two skips": (f"a = {CONV3}(s, w3)\nc = {FIVE}(a, w5)\nd = Add(c, s)\ne = {CONV3}(d, w3)\ny = Add(e, d)",
                  {"clone_s_cpy2": 27, "clone_d_cpy2": 9}),
    "an inverted bottleneck": (f"e = {ONE}(s, w1)\nf = Relu(e)\ng = {FIVE}(f, w5)\nh = Relu(g)\nk = {ONE}(h, w1)\n"
                               "y = Add(k, s)", {"clone_s_cpy2": 18}),
    "strides": (f"a = {STRIDED}(s, w3)\nb = {CONV3}(a, w3)\nf = {STRIDED}(s, w3)\ny = Add(b, f)", {"f": 4}),
}  # fmt: skip


def named(body):
    model = stream_model(f"{HEAD}\n{body}", (1, 4, 8, 8), WEIGHTS)
    for node in model.graph.node:
        node.name = node.output[0]
    return model


@pytest.mark.parametrize("case", COMPILED)
def test_depths_are_those_of_another_tool_s_own_hardware(case):
    body, wanted = COMPILED[case]
    depths = hls4ml_depths(network_of(named(body)))
    assert {name: depth for name, depth in depths.items() if depth > 1} == wanted


def test_export_prints_depths_by_layer(tmp_path):
    path = tmp_path / "skip.onnx"
    onnx.save(named(COMPILED["two skips"][0]), path)
    found = json.loads(run("stream", path, "--export", "hls4ml").stdout)
    assert found["clone_s_cpy2"] == 27
    assert set(found) == {"s", "a", "c", "d", "e", "clone_s_cpy1", "clone_s_cpy2", "clone_d_cpy1", "clone_d_cpy2"}
    edges = json.loads(run("stream", path, "--export", "json", "--grain", "pixel", "--storage", "per-reader").stdout)
    (skip,) = [edge for edge in edges if edge["tensor"] == "s" and edge["to"] == ["Add 'd'"]]
    assert skip == {"tensor": "s", "from": "Conv 's'", "to": ["Add 'd'"], "depth": 28, "unit": "pixel", "elements": 112}


@pytest.mark.parametrize(("body", "said"), [
    (f"c = {CONV3}(s, w3)\ny = Softmax<axis = 2>(c)", "is no layer that streams in hls4ml"),
    ("a = Relu(s)\nb = Sigmoid(s)\nc = Tanh(s)\nd = Elu(s)\ne = Add(a, b)\nf = Add(c, d)\ny = Add(e, f)",
     "is read by 4 layers"),
])  # fmt: skip
def test_what_hls4ml_does_not_stream_is_refused(tmp_path, body, said):
    path = tmp_path / "model.onnx"
    onnx.save(named(body), path)
    assert said in refused(run("stream", path, "--export", "hls4ml"))


def test_layers_without_names_are_refused(tmp_path):
    path = tmp_path / "model.onnx"
    model = named("y = Relu(s)")
    model.graph.node[0].name = ""
    onnx.save(model, path)
    assert "has no name" in refused(run("stream", path, "--export", "hls4ml"))


# By hand, in pixels of a map of 8 × 8: a join holds what has come of the skip when the first pixel of the branch is
# there, which needs the pixel (n rows, n columns) further on, n being half of the kernels on its way. Behind a layer it
# holds the two that the model has in that layer.
SKIPS = {
    "a skip that is read first": [("AddStreams_hls_0", [10, 3])],
    "a skip that is read second": [("AddStreams_hls_0", [3, 10])],
    "two skips": [("AddStreams_hls_0", [5, 28]), ("AddStreams_hls_1", [3, 10])],
    "an inverted bottleneck": [("AddStreams_hls_0", [11, 19])],
}


@pytest.mark.parametrize(("words", "lanes"), [((), 1), (("--macs-per-cycle", "9", "--elements-per-cycle", "3"), 2)])
@pytest.mark.parametrize("case", SKIPS)
def test_finn_s_joins_are_as_deep_as_their_skips(case, words, lanes, tmp_path):
    """In words, of one of the four channels, or of two: three do not divide them."""
    path = tmp_path / "skip.onnx"
    onnx.save(named(COMPILED[case][0]), path)
    found = json.loads(run("stream", path, "--export", "finn", *words).stdout)
    assert found.pop("Defaults") == {}
    assert list(found.items()) == [
        (name, {"inFIFODepths": [pixels * 4 // lanes for pixels in depths]}) for name, depths in SKIPS[case]
    ]


def test_finn_s_gates_and_concatenations():
    """A map waits whole for its gate; a stream is never less than two words deep."""
    body = f"{SE.format('s')}t = Relu(x)\ny = Concat<axis = 1>(t, t2)".replace("s = Mul", "t2 = Mul")
    model = stream_model(f"{HEAD}\n{body}", (1, 4, 8, 8), WEIGHTS | SE_WEIGHTS)
    wide = Machine(macs_per_cycle=64)
    found = finn_folding(network_of(model), dataclasses.replace(wide, elements_per_cycle=64))
    # Of the gate's numbers there is one word; t holds what t2 waits for, but for what lies in front of it.
    assert found["ElementwiseMul_hls_0"] == {"inFIFODepths": [64, 2]}
    assert found["StreamingConcat_hls_0"]["inFIFODepths"][0] == 64
    assert finn_folding(network_of(model), wide)["ElementwiseMul_hls_0"] == {"inFIFODepths": [256, 4]}
    assert set(found) == {"Defaults", "ElementwiseMul_hls_0", "StreamingConcat_hls_0"}


@pytest.mark.parametrize(("body", "said"), [
    (f"c = {CONV3}(s, w3)\ny = Softmax<axis = 2>(c)", "is no layer that streams in FINN"),
    ("a = Relu(s)\ny = Max(a, s)", "joins streams, for which FINN has no layer"),
])  # fmt: skip
def test_what_finn_does_not_stream_is_refused(tmp_path, body, said):
    path = tmp_path / "model.onnx"
    onnx.save(named(body), path)
    assert said in refused(run("stream", path, "--export", "finn"))


@pytest.mark.parametrize("words", [("--csv", "t.csv"), ("--plot", "t.svg"), ("--format", "markdown")])
def test_an_export_is_json_alone(digits, words, tmp_path):
    complaint = refused(run("stream", digits, "--export", "json", *words, cwd=tmp_path))
    assert f"--export prints JSON alone, without {words[0]}" in complaint
    assert not list(tmp_path.iterdir())
