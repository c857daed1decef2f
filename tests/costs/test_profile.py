"""What a profile counts, against numbers that are found in other ways."""

import json
import math

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as run
from tests.graphs import se_model, text_model
from tse_onnx.costs.array import Array
from tse_onnx.costs.arrays import array_of
from tse_onnx.costs.cycles import layer_on
from tse_onnx.costs.profile import profile
from tse_onnx.errors import UsageError

OWN = ', "com.microsoft" : 1'


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    size = {"Ci": groups * draw(st.integers(1, 4)), "Co": groups * draw(st.integers(1, 4))}
    size |= {key: draw(st.integers(1, 3)) for key in ("kh", "kw", "sh", "sw")}
    size |= {"H": draw(st.integers(size["kh"], 9)), "W": draw(st.integers(size["kw"], 9)), "g": groups}
    return size


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_macs_are_the_sum_of_a_convolution_of_ones(size):
    """Every product of two ones adds one to an output: what onnxruntime makes of ones sums up to their number."""
    import onnxruntime

    weights = np.ones((size["Co"], size["Ci"] // size["g"], size["kh"], size["kw"]), np.float32)
    body = f"y = Conv<group = {size['g']}, strides = [{size['sh']}, {size['sw']}]>(x, w)"
    model = text_model(
        body,
        {"w": weights},
        inputs=f"float[1, {size['Ci']}, {size['H']}, {size['W']}] x",
        outputs="float[1, c, h, w2] y",
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"x": np.ones((1, size["Ci"], size["H"], size["W"]), np.float32)})
    (layer,) = profile(model).layers
    assert layer.macs == round(made.sum())
    assert layer.parameters == weights.size
    assert (layer.kernel, layer.stride, layer.groups) == (
        (size["kh"], size["kw"]), (size["sh"], size["sw"]), size["g"],
    )  # fmt: skip
    assert math.prod(layer.output) * 4 == layer.activation_bytes
    (biased,) = profile(model, convention="squeezenext").layers
    assert biased.macs == layer.macs + made.size
    assert biased.parameters == layer.parameters + size["Co"]


@pytest.mark.parametrize("name", [name for name in models.names() if name != "efficientnet_b2_torchscript_17"][::4])
def test_parameters_are_the_numbers_in_the_initializers_that_are_no_single_ones(name):
    model = models.load(name)
    whole = sum(math.prod(tensor.dims) for tensor in model.graph.initializer if tensor.data_type == 1 and tensor.dims)
    assert profile(model).totals.parameters == pytest.approx(whole, abs=whole * 1e-3)


def test_what_the_network_holds_is_what_the_dataflow_model_says():
    model = models.load("mobilenetv3_large_torchscript_18")
    found, flow = profile(model), tse_onnx.stream(model)
    assert found.totals.held_bytes == flow.totals["min"].bytes
    held = {buffer.tensor: buffer.min.rows for buffer in flow.buffers}
    outputs = {node.name: node.output[0] for node in model.graph.node}
    for layer in found.layers:
        assert layer.rows_held == max(held.get(outputs[name], 0) for name in layer.nodes), layer.name


def test_weights_that_two_layers_share_count_once():
    body = "h = Conv(x, w)\n y = Conv(h, w)"
    found = profile(text_model(body, {"w": np.ones((8, 8, 1, 1), np.float32)}))
    assert [layer.parameters for layer in found.layers] == [128]  # two that are alike, told once
    assert found.totals.parameters == 64


def test_nodes_of_one_name_are_layers_of_their_own():
    body = "h = Conv(x, w)\n y = Conv<strides = [2, 2]>(h, w)"
    model = text_model(body, {"w": np.ones((8, 8, 1, 1), np.float32)}, outputs="float[N, 8, 8, 6] y")
    for node in model.graph.node:
        node.name = "conv"
    found = profile(model)
    assert [layer.name for layer in found.layers] == ["h", "y"]
    apart = [layer_on(layer, array_of("squeezelerator8")).cycles for layer in found.layers]
    assert tse_onnx.cost(model, "squeezelerator8").cycles == sum(apart)


def test_an_operator_without_a_rule_is_named_and_not_counted_as_zero(tmp_path):
    body = 'y = Einsum<equation = "nchw,cd->ndhw">(x, w)'
    onnx.save(text_model(body, {"w": np.ones((8, 8), np.float32)}), tmp_path / "m.onnx")
    done = run("profile", "m.onnx", cwd=tmp_path)
    assert done.returncode == 0
    assert "Not counted: Einsum, 1 of them" in done.stdout.decode()
    found = validated(run("profile", "m.onnx", "--format", "json", cwd=tmp_path).stdout, "profile")
    assert [layer["macs"] for layer in found["layers"]] == [None]
    assert found["without_rule"] == [{"operator": "Einsum", "nodes": 1}]


@pytest.mark.parametrize(("fused", "plain", "made"), [
    ('com.microsoft.FusedConv<activation = "Relu">(x, w)', "Conv(x, w)", "14, 10"),
    ("com.microsoft.FusedMatMul<transB = 1>(x, m)", "MatMul(x, n)", "16, 5"),
])  # fmt: skip
def test_what_onnxruntime_fuses_counts_as_it_did(fused, plain, made):
    weights = {
        "w": np.ones((8, 8, 3, 3), np.float32), "m": np.ones((5, 12), np.float32), "n": np.ones((12, 5), np.float32)
    }  # fmt: skip
    outputs = f"float[1, 8, {made}] y"
    (one,), (other,) = (
        profile(text_model(f"y = {body}", weights, outputs=outputs, imports=OWN)).layers for body in (fused, plain)
    )
    assert one.macs == other.macs > 0
    assert one.kernel == other.kernel
    assert one.parameters == other.parameters


def test_local_functions_are_looked_into():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>\n'
        "g (float[1, 8, 4, 4] x) => (float[1, 8, 4, 4] y) { y = own.twice(x, w) }\n"
        '<domain: "own", opset_import: ["" : 17]>\ntwice (x, w) => (y) { h = Conv(x, w)\n y = Conv(h, w) }'
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((8, 8, 1, 1), np.float32), "w"))
    assert profile(model).totals.macs == 2 * 8 * 8 * 16


def test_open_sizes_ask_for_input_shape(tmp_path):
    onnx.save(se_model("H", "W"), tmp_path / "open.onnx")
    assert "--input-shape" in refused(run("profile", "open.onnx", cwd=tmp_path))
    done = run("profile", "open.onnx", "--input-shape", "x:1,8,16,12", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("size = 16\nbuffer = 1024\nspeed = 3", "there is no key 'speed'"),
        ("size = 16\nbuffer = 0", "buffer is a whole number from 1"),
        ("size = 16\nbuffer = 1024\nsparsity = 1.5", "sparsity is a share"),
        ("size = 16", "buffer is missing"),
        ("size = 16\nbuffer = 1024\ndataflows = ['rs']", "dataflows is a list of ws and os"),
        ("size = 16\nbuffer = 1024\nbytes_per_cycle = 0", "bytes_per_cycle is a number above 0"),
        ("size = 16\nbuffer = 1024\nsparsity = 1" + "0" * 400, "sparsity is a share"),
        ("size = 16\nbuffer = 1024\nload = 1e300", "load is a number of cycles"),
        ("size = 16\nbuffer = 1024\nname = 3", "name is a text"),
        ("size = 16\nbuffer = 1024\ndataflows = [['ws']]", "dataflows is a list of ws and os"),
        ("size = 16\nbuffer = 1024\ndataflows = ['ws', 'ws']", "each once"),
        ("size = 16\nbuffer = 1024\ndataflows = 'ws'", "dataflows is a list of ws and os"),
        ("size = 16\nbuffer = 1024\nbytes_per_cycle = 1e-300", "bytes_per_cycle is a number above 0"),
        ("size = [", "is not TOML"),
    ],
)
def test_a_bad_array_is_one_line(tmp_path, text, said):
    (tmp_path / "a.toml").write_text(text)
    onnx.save(se_model(), tmp_path / "m.onnx")
    assert said in refused(run("profile", "m.onnx", "--array", "a.toml", cwd=tmp_path))
    with pytest.raises(UsageError):
        array_of(tmp_path / "a.toml")


def test_an_array_that_is_not_known_is_one_line(tmp_path):
    onnx.save(se_model(), tmp_path / "m.onnx")
    assert "did you mean squeezelerator" in refused(
        run("profile", "m.onnx", "--array", "squeezelerator32", cwd=tmp_path)
    )
    assert "--array" in refused(run("profile", "m.onnx", "--plot", "p.png", cwd=tmp_path))


@settings(max_examples=30, deadline=None)
@given(convolutions(), st.integers(1, 5))
def test_cycles_are_those_of_a_loop_over_the_array(size, side):
    """Each square of channels against channels is kept while all pixels stream past; each square of the output while all
    weights do."""
    weights = np.ones((size["Co"], size["Ci"] // size["g"], size["kh"], size["kw"]), np.float32)
    body = f"y = Conv<group = {size['g']}, strides = [{size['sh']}, {size['sw']}]>(x, w)"
    inputs = f"float[1, {size['Ci']}, {size['H']}, {size['W']}] x"
    (layer,) = profile(text_model(body, {"w": weights}, inputs=inputs, outputs="float[1, c, h, w2] y")).layers
    plain = Array("plain", side, 1 << 40, sparsity=0, load=0, drain=0, setup=0, bytes_per_cycle=1e12)
    found = layer_on(layer, plain)
    channels, height, width = layer.output
    ws = os = 0
    for _ in range(size["g"]):
        for _ in range(0, size["Ci"] // size["g"], side):
            for _ in range(0, channels // size["g"], side):
                for _ in range(size["kh"] * size["kw"]):
                    ws += height * width + 2 * side
    for _ in range(0, height, side):
        for _ in range(0, width, side):
            for _ in range(channels):
                os += size["Ci"] // size["g"] * size["kh"] * size["kw"]
    assert found.by_dataflow == {"ws": ws, "os": os}
    assert found.cycles == min(ws, os)
    assert found.utilisation == pytest.approx(layer.macs / (min(ws, os) * side * side))


def test_before_and_after_a_conversion(tmp_path):
    models.save("digits_se", tmp_path / "digits.onnx")
    assert run("convert", "digits.onnx", "tiled.onnx", "--no-verify", "--means", "pads", cwd=tmp_path).returncode == 0
    words = ("profile", "digits.onnx", "tiled.onnx", "--array", "squeezelerator16")
    found = validated(run(*words, "--format", "json", cwd=tmp_path).stdout, "profile")
    before, after = found["totals"], found["converted"]["totals"]
    assert after["macs"] > before["macs"]
    assert after["held_bytes"] < before["held_bytes"]
    assert after["cycles"] > before["cycles"]
    assert before["parameters"] == after["parameters"]
    report = json.loads(run("report", "digits.onnx", "--format", "json", cwd=tmp_path).stdout)
    assert after["macs"] - before["macs"] == report["totals"]["macs_added"]
    text = run(*words, cwd=tmp_path).stdout.decode()
    assert f"{before['macs']:,}" in text
    assert f"{after['cycles']:,}" in text


def test_times_are_those_of_the_layers_as_they_are_written():
    found = profile(models.load("digits_se"), runs=3)
    timed = [layer for layer in found.layers if layer.macs]
    assert all(layer.seconds > 0 for layer in timed)
    assert found.totals.seconds > 0


def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    models.save("digits_se", tmp_path / "digits.onnx")
    done = run(
        "profile", "digits.onnx", "--array", "squeezelerator8", "--plot", "p.svg", "--csv", "l.csv", cwd=tmp_path
    )
    assert done.returncode == 0
    assert (tmp_path / "p.svg").read_text().count("<path") > 20
    lines = (tmp_path / "l.csv").read_text().splitlines()
    assert lines[0].startswith("name,operator,input,output,kernel")
    assert len(lines) == 1 + len(profile(tmp_path / "digits.onnx").layers)


def test_the_legend_of_the_picture_leaves_its_titles_alone(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    from tse_onnx.costs.cycles import Costed, cost_on
    from tse_onnx.report.profile import ProfileView

    models.save("digits_se", tmp_path / "digits.onnx")
    found = profile(tmp_path / "digits.onnx")
    costed = Costed(found, cost_on(found, array_of("squeezelerator16")))
    figure = ProfileView(costed, costed).figure()
    FigureCanvasAgg(figure).draw()
    panels = [axis for axis in figure.axes if axis.get_legend() is not None]
    assert len(panels) == 2
    for axis in panels:
        title = next(text for text in axis.findobj(Text) if "85,877 cycles" in text.get_text())
        assert not title.get_window_extent().overlaps(axis.get_legend().get_window_extent())
