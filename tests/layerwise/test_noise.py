"""Levels of noise behind cuts are those of the whole network with one layer rounded by plain arithmetic."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

import models
import tse_onnx
from tests.graphs import text_model
from tests.layerwise.by_hand import noise as by_hand
from tests.layerwise.by_hand import rounded
from tests.random_networks import networks
from tse_onnx import Data
from tse_onnx.errors import DataError, ModelError, UsageError
from tse_onnx.files.source import open_model
from tse_onnx.layerwise.noise import noise
from tse_onnx.layerwise.quantisers import is_quantised
from tse_onnx.quantisation.qdq.quantised import quantised
from tse_onnx.quantisation.qdq.ranges import ranges_on
from tse_onnx.quantisation.qdq.scheme import Scheme
from tse_onnx.quantisation.qdq.subject import Subject

RNG = np.random.default_rng(3)
DATA = (RNG.normal(size=(11, 8, 16, 12)) + np.linspace(-1, 1, 16)[:, None]).astype(np.float32)
BODY = """
    a = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
    r = Relu(a)
    c = Conv<pads = [1, 1, 1, 1], group = 8>(r, w1, b1)
    t = Add(c, r)
    p = GlobalAveragePool(t)
    f = Conv(p, w2, b2)
    q = Relu(f)
    e = Conv(q, w3)
    g = Sigmoid(e)
    s = Mul(t, g)
    y = Conv(s, w4)
    z = Conv<strides = [2, 2]>(t, w5)
"""
SHAPES = {"w0": (8, 8, 3, 3), "w1": (8, 1, 3, 3), "w2": (4, 8, 1, 1), "w3": (8, 4, 1, 1), "w4": (8, 8, 1, 1)}
FEEDS = [{"x": DATA[:8]}, {"x": DATA[8:]}]
WEIGHTS = {
    name: (RNG.normal(size=shape) * np.geomspace(0.3, 1, shape[0]).reshape(-1, 1, 1, 1) / shape[1]).astype(np.float32)
    for name, shape in (SHAPES | {"w5": (5, 8, 1, 1)}).items()
} | {name: RNG.normal(size=size).astype(np.float32) for name, size in (("b0", 8), ("b1", 8), ("b2", 4))}
ORDER = ("a", "c", "f", "e", "y", "z")


@pytest.fixture(scope="module")
def model():
    """A depthwise and a residual path, a block, two outputs of which one is not behind all."""
    made = text_model(BODY, WEIGHTS, outputs="float[N, 8, 16, 12] y, float[N, 5, 8, 6] z")
    for node in made.graph.node:
        node.name = f"n_{node.output[0]}"
    return made


@pytest.fixture(scope="module")
def found(model):
    return noise(model, data=Data(DATA), rows=4)


def qdq(model, scheme=None, feeds=FEEDS):
    scheme = scheme or Scheme()
    subject = Subject.of(open_model(model), scheme.operators)
    return quantised(subject, ranges_on(subject, feeds, scheme), scheme)


class Reader(CalibrationDataReader):
    def __init__(self, data):
        self._feeds = iter([{"x": data}])

    def get_next(self):
        return next(self._feeds, None)


def by_onnxruntime(model, folder, **options):
    """Quantised by onnxruntime alone, as it comes."""
    onnx.save(model, folder / "float.onnx")
    quantize_static(
        folder / "float.onnx", folder / "quantised.onnx", Reader(DATA), per_channel=True, weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8, op_types_to_quantize=["Conv", "Relu"], extra_options=options,
    )  # fmt: skip
    return onnx.load(folder / "quantised.onnx")


def close(ratios, level):
    """Whether ratios of energies, output by output, are those of a level."""
    return list(level.outputs) == pytest.approx([ratios[name] for name in ("y", "z")], rel=2e-3, abs=1e-12)


def layer(found, name):
    (one,) = [each for each in found.layers if each.node == name]
    return one


@pytest.mark.parametrize("name", ORDER)
def test_a_layer_loses_what_the_whole_network_loses_with_it_rounded_by_arithmetic(model, found, name):
    one, by = layer(found, f"n_{name}"), qdq(model)
    for level, kinds in (
        (one.quantised, {}), (one.weights, {"activations": False}), (one.activations, {"weights": False}),
    ):  # fmt: skip
        ratios = by_hand(model, rounded(model, by, f"n_{name}", **kinds), FEEDS, [name])
        assert close(ratios, level)
        assert level.local == pytest.approx(ratios[name], rel=2e-3)
        assert level.noise == pytest.approx((ratios["y"] + ratios["z"]) / 2, rel=2e-3)


def test_the_worst_come_first_and_shares_are_of_the_joint_noise(model, found):
    losses = [each.quantised.noise for each in found.layers]
    assert sorted(losses, reverse=True) == losses
    assert sorted(found.ranking) == sorted(f"n_{name}" for name in ORDER)
    every = model
    for name in ORDER:
        every = rounded(every, qdq(model), f"n_{name}")
    ratios = by_hand(model, every, FEEDS)
    assert close(ratios, found.joint.level)
    joint = (ratios["y"] + ratios["z"]) / 2
    assert [found.share(each.quantised) for each in found.layers] == pytest.approx(
        [loss / joint for loss in losses], rel=2e-3
    )
    assert found.sum_to_joint == pytest.approx(sum(losses) / joint, rel=2e-3)
    assert sum(found.of_sum(each.quantised) for each in found.layers) == pytest.approx(1)


def test_the_joint_noise_is_that_of_the_quantised_model(model, found):
    assert close(by_hand(model, qdq(model), FEEDS), found.joint.level)


def test_tiles_are_those_of_a_conversion(model, found):
    tiled = tse_onnx.convert(model, rows=4, verify=False).model
    ratios = by_hand(model, tiled, FEEDS)
    assert close(ratios, found.tiles.level)
    (block,) = found.blocks
    assert close(ratios, block.tiles)  # there is one block
    assert block.tiles.local == pytest.approx(by_hand(model, tiled, FEEDS, ["s"])["s"], rel=1e-3)
    inside = rounded(rounded(model, qdq(model), "n_f"), qdq(model), "n_e")
    assert close(by_hand(model, inside, FEEDS), block.quantised)
    both = rounded(rounded(tiled, qdq(model), "n_f"), qdq(model), "n_e")
    assert close(by_hand(model, both, FEEDS), block.both)


@pytest.mark.parametrize("named", [True, False])
def test_a_model_that_was_quantised_by_others_gives_its_quantisers(model, tmp_path, named):
    """onnxruntime takes away a Relu where the quantiser behind it begins at zero; the float network keeps it."""
    model = model if named else unnamed(model)
    plain = by_onnxruntime(model, tmp_path)
    assert not any(node.op_type == "Relu" for node in plain.graph.node)
    found = noise(model, plain, data=Data(DATA))
    ratios = by_hand(model, plain, FEEDS)
    assert close(ratios, found.joint.level)
    kept = noise(model, by_onnxruntime(model, tmp_path, QDQKeepRemovableActivations=True), data=Data(DATA))
    assert sorted(found.ranking) == sorted(kept.ranking) == sorted(f"n_{name}" if named else name for name in ORDER)
    for name in ("c", "e", "y", "z"):  # what the others make is rounded before the Relu as well where that is kept
        one, other = (layer(each, f"n_{name}" if named else name) for each in (found, kept))
        assert one.quantised.outputs == pytest.approx(other.quantised.outputs, rel=1e-3)
    # Taken out of the quantised model, one quantiser is missed by more than all of them lose.
    (first,) = [node for node in plain.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "r"]
    (last,) = [node for node in plain.graph.node if node.input[0] == first.output[0]]
    for node in plain.graph.node:
        for slot, name in enumerate(node.input):
            if name == last.output[0]:
                node.input[slot] = "r"
    assert by_hand(model, plain, FEEDS)["z"] > 10 * ratios["z"]


def test_what_a_layer_makes_is_rounded_as_its_own(model, tmp_path):
    """With outputs rounded as well: what a model gives away counts to the layer that makes it."""
    outputs = noise(model, by_onnxruntime(model, tmp_path), data=Data(DATA))
    inputs = noise(model, by_onnxruntime(model, tmp_path, OpTypesToExcludeOutputQuantization=["Conv"]), data=Data(DATA))
    one, other = layer(outputs, "n_y"), layer(inputs, "n_y")
    assert one.activations.noise > other.activations.noise
    assert one.weights == other.weights


def unnamed(model):
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for node in made.graph.node:
        node.ClearField("name")
    return made


def test_a_layer_without_a_name_is_called_by_what_it_makes(model):
    assert sorted(noise(unnamed(model), data=Data(DATA)).ranking) == sorted(ORDER)


def test_parts_of_the_samples_add_up(model, found):
    little = noise(model, data=Data(DATA), rows=4, memory=1)
    assert little.layers == found.layers
    assert little.blocks == found.blocks


@settings(max_examples=15, deadline=None)
@given(made=networks(steps=6), operators=...)
def test_behind_cuts_is_as_on_the_whole(made, operators: bool):
    """Any network: each layer's level is that of the whole model with the same edit spliced in."""
    from tests.layerwise.whole import levels_on_the_whole

    random = np.random.default_rng(0)
    arrays = {value.name: random.normal(size=(3, *_dims(value))).astype(np.float32) for value in made.graph.input}
    feeds = [{name: array[one : one + 1] for name, array in arrays.items()} for one in range(3)]
    scheme = Scheme("minmax", "all" if operators else "convolutions")
    try:
        by = qdq(made, scheme, feeds)
    except ModelError:
        return
    if not is_quantised(by):
        return
    found = noise(made, by, data=Data(arrays))
    whole = levels_on_the_whole(made, by, feeds)
    for one in found.layers:
        assert list(one.quantised.outputs) == pytest.approx(whole[one.node], rel=0.1, abs=1e-6)


def _dims(value):
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)[1:]


def test_bad_input(model, tmp_path):
    by = qdq(model)
    with pytest.raises(ModelError, match="is quantised already"):
        noise(by, data=Data(DATA))
    with pytest.raises(ModelError, match="has no convolution to quantise"):
        noise(text_model("y = Relu(x)"), data=Data(DATA))
    with pytest.raises(ModelError, match="was not made of"):
        noise(models.load("digits_se"), by, data=Data(models.digits()[0][:4]))
    other = onnx.ModelProto()
    other.CopyFrom(model)
    weight = next(tensor for tensor in other.graph.initializer if tensor.name == "w4")
    weight.raw_data = (-WEIGHTS["w4"]).tobytes()
    with pytest.raises(ModelError, match="holds other numbers"):
        noise(other, by, data=Data(DATA))
    with pytest.raises(UsageError, match="a scheme is for a model that has none"):
        noise(model, by, data=Data(DATA), scheme=Scheme())
    with pytest.raises(DataError):
        noise(model, data=Data(DATA[:, :3]))
    with pytest.raises(ModelError, match="neither quantisers nor converted blocks"):
        noise(model, model, data=Data(DATA))
