"""A quantised model is what numpy makes of the float one, and everything in it that is not quantised is as it was."""

import logging
import os

import numpy as np
import onnx
import onnx.reference
import pytest

import models
from tests.graphs import text_model
from tests.running import session
from tse_onnx.errors import DataError, ModelError, UsageError
from tse_onnx.files.source import open_model
from tse_onnx.quantisation.qdq.quantised import quantised
from tse_onnx.quantisation.qdq.ranges import ranges_on
from tse_onnx.quantisation.qdq.scheme import CALIBRATIONS, Scheme
from tse_onnx.quantisation.qdq.subject import Subject

RNG = np.random.default_rng(5)
DATA = RNG.normal(size=(12, 8, 16, 12)).astype(np.float32)
WEIGHTS = {
    "w": RNG.normal(size=(8, 8, 3, 3)).astype(np.float32) * np.geomspace(0.01, 3, 8, dtype=np.float32).reshape(8, 1, 1, 1),
    "b": RNG.normal(size=8).astype(np.float32),
    "v": RNG.normal(size=(8, 8, 1, 1)).astype(np.float32),
}  # fmt: skip
ONE = "y = Conv<pads = [1, 1, 1, 1]>(x, w, b)"
TWO = "h = Conv<pads = [1, 1, 1, 1]>(x, w, b)\n r = Relu(h)\n y = Conv(r, v)"


def run(model, feed):
    """The only output."""
    return session(model).run(None, feed)[0]


def feeds(data=DATA, name="x"):
    return [{name: data[:8]}, {name: data[8:]}]


def made(model, scheme=None, data=DATA, name="x"):
    scheme = scheme or Scheme("minmax")
    subject = Subject.of(open_model(model), scheme.operators)
    return quantised(subject, ranges_on(subject, feeds(data, name), scheme), scheme)


def two(**kwargs):
    return text_model(TWO, WEIGHTS, **kwargs)


def faked(array, scale, zero, low, high):
    return (np.clip(np.round(array / scale) + zero, low, high) - zero) * scale


def by_numpy(x, w, b):
    """A padded 3x3 convolution in double precision, its input in uint8 of all its range, its weights in int8."""
    low, high = min(DATA.min(), 0.0), max(DATA.max(), 0.0)
    scale = (float(high) - float(low)) / 255
    x = faked(x.astype(np.float64), scale, np.round(-low / scale), 0, 255)
    steps = np.abs(w).reshape(len(w), -1).max(1).astype(np.float64) / 127
    steps = steps.reshape(-1, 1, 1, 1)
    w = faked(w.astype(np.float64), steps, 0, -127, 127)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    return np.einsum("ncyxij,kcij->nkyx", windows, w) + b.reshape(1, -1, 1, 1)


def test_one_convolution_is_what_numpy_makes_of_it():
    expected = by_numpy(DATA, WEIGHTS["w"], WEIGHTS["b"])
    got = run(made(text_model(ONE, WEIGHTS)), {"x": DATA})
    # A value that lies between two steps may go either way: no more than a step of an input, times its weight.
    assert np.abs(got - expected).mean() < 1e-4 * np.abs(expected).mean()


def test_ranges_are_those_of_the_data():
    subject = Subject.of(open_model(two()))
    by = {name: ranges_on(subject, feeds(), Scheme(name, percentile=99)) for name in CALIBRATIONS}
    assert set(by["minmax"].by_value) == {"x", "r"}
    assert by["minmax"].samples == 12
    assert by["minmax"].by_value["x"] == (DATA.min(), DATA.max())
    low, high = by["percentile"].by_value["x"]
    width = 2 * np.abs(DATA).max() / 2048
    assert abs(low - np.quantile(DATA, 0.005)) < 2 * width
    assert abs(high - np.quantile(DATA, 0.995)) < 2 * width
    assert DATA.min() <= by["entropy"].by_value["x"][0] < 0


def test_names_and_what_is_not_quantised_stay():
    model = two()
    model.graph.node[0].name = "first"
    model.producer_name, model.doc_string = "maker", "said"
    before = model.SerializeToString()
    got = made(model)
    kept = [node for node in got.graph.node if not node.op_type.endswith("Linear")]
    assert [(node.name, node.op_type, list(node.output)) for node in kept] == [
        ("first", "Conv", ["h"]), ("", "Relu", ["r"]), ("", "Conv", ["y"]),
    ]  # fmt: skip
    assert (got.producer_name, got.doc_string, list(got.metadata_props)) == ("maker", "said", [])
    assert list(got.graph.value_info) == list(model.graph.value_info)
    onnx.checker.check_model(got, full_check=True)  # in topological order, with types that agree
    assert model.SerializeToString() == before


def test_layers_that_are_kept_compute_what_they_did():
    model = text_model(
        "h = Conv<pads = [1, 1, 1, 1]>(x, w, b)\n r = Relu(h)\n y = Conv<pads = [1, 1, 1, 1]>(r, w, b)", WEIGHTS
    )
    got = made(model, Scheme("minmax", keep={"y"}))  # its weights and its bias are those of the layer that is not kept
    last = got.graph.node[-1]
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in got.graph.initializer}
    assert last.input[0] == "r"
    assert np.array_equal(weights[last.input[1]], WEIGHTS["w"])
    assert np.array_equal(weights[last.input[2]], WEIGHTS["b"])
    everything = made(model, Scheme("minmax", keep={"h", "y"}))
    assert not [node for node in everything.graph.node if node.op_type.endswith("Linear")]


def test_nodes_without_names_are_told_apart_by_their_outputs():
    got = made(two(), Scheme("minmax", keep={"h"}))
    first, last = (node for node in got.graph.node if node.op_type == "Conv")
    assert list(first.input) == ["x", "w", "b"]
    assert last.input[0] != "r"


def test_weights_may_be_constants_and_external(tmp_path):
    lines = ["h = Conv<pads = [1, 1, 1, 1]>(x, w, b)", "y = Conv(h, u)"]
    model = text_model("\n ".join(lines), WEIGHTS)
    node = onnx.helper.make_node("Constant", [], ["u"], value=onnx.numpy_helper.from_array(WEIGHTS["v"]))
    model.graph.node.insert(0, node)
    inside = made(model)
    assert len([node for node in inside.graph.node if node.op_type == "QuantizeLinear"]) == 2
    path = tmp_path / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    apart = made(path)
    assert apart.SerializeToString() == inside.SerializeToString()


def test_what_is_computed_is_left():
    model = text_model("c = Abs(w)\n h = Conv<pads = [1, 1, 1, 1]>(x, c)\n y = Conv(h, v)", WEIGHTS)
    subject = Subject.of(open_model(model))
    assert list(subject.layers) == ["y"]
    assert subject.left == {"h": "its weights are computed"}
    with pytest.raises(UsageError, match="'h' stays in float anyway: its weights are computed"):
        subject.named({"h"})


def test_all_operators_keep_their_relu():
    got = made(two(), Scheme("minmax", "all"))
    assert [node.op_type for node in got.graph.node if not node.op_type.endswith("Linear")] == ["Conv", "Relu", "Conv"]
    assert len([node for node in got.graph.node if node.op_type == "QuantizeLinear"]) == 4  # x, h, r, y
    assert [value.name for value in got.graph.output] == ["y"]


def test_half_precision():
    model = text_model(ONE, {name: array.astype(np.float16) for name, array in WEIGHTS.items()},
                       inputs="float16[N, 8, 16, 12] x", outputs="float16[N, 8, 16, 12] y", opset=19)  # fmt: skip
    data = DATA.astype(np.float16)
    got = run(made(model, data=data), {"x": data}).astype(np.float64)
    expected = by_numpy(DATA, WEIGHTS["w"], WEIGHTS["b"])
    assert np.square(got - expected).mean() < 1e-3 * np.square(expected).mean()


def test_refusals():
    source = open_model(made(two()))
    with pytest.raises(ModelError, match="is quantised already, as QuantizeLinear 'x_QuantizeLinear' shows"):
        Subject.of(source)
    with pytest.raises(ModelError, match="is in opset 12, which has no scale for each channel: take it to 13"):
        Subject.of(open_model(two(opset=12)))
    with pytest.raises(ModelError, match="has no convolution to quantise"):
        Subject.of(open_model(text_model("y = Relu(x)")))
    subject = Subject.of(open_model(two()))
    with pytest.raises(UsageError, match="has no convolution 'hh'; the nearest name is 'h'"):
        subject.named({"hh"})
    with pytest.raises(DataError, match="one sample says nothing of the range that others reach"):
        ranges_on(subject, [{"x": DATA[:1]}], Scheme())
    with pytest.raises(ModelError, match=r"'x' is not finite|'r' is not finite"):
        ranges_on(subject, [{"x": np.full_like(DATA, 3e38)}], Scheme())
    ranges, everything = ranges_on(subject, feeds(), Scheme()), Subject.of(open_model(two()), "all")
    with pytest.raises(ModelError, match="'h' has no range"):
        quantised(everything, ranges, Scheme(operators="all"))
    with pytest.raises(UsageError, match="calibration 'mean' is none of percentile, minmax, entropy"):
        Scheme("mean")


def test_nothing_is_printed_logged_or_left_behind(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    handlers = list(logging.getLogger().handlers)
    made(two(), Scheme("percentile", "all"))
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers


def test_a_trained_network_loses_little(tmp_path):
    images, labels = (array[:400] for array in models.digits())
    subject = Subject.of(open_model(models.load("digits_se")))
    name = subject.model.graph.input[0].name
    scheme = Scheme()
    ranges = ranges_on(subject, [{name: images[:32]}, {name: images[32:64]}], scheme)
    model = quantised(subject, ranges, scheme)
    found = [run(one, {name: images}) for one in (subject.model, model)]
    right = [(one.argmax(1) == labels).mean() for one in found]
    assert not np.array_equal(*found)
    assert abs(right[0] - right[1]) < 0.02
