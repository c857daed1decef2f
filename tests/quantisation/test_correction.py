"""Corrected biases: the means of all layers are those of the float network, by numpy, and the way back is exact."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import models
from tests.graphs import text_model
from tests.quantisation.test_qdq import DATA, TWO, WEIGHTS, by_numpy, faked, feeds
from tests.running import session
from tse_onnx.errors import CheckFailed, ModelError
from tse_onnx.files.source import open_model
from tse_onnx.passes.edit import biases
from tse_onnx.quantisation import correction
from tse_onnx.quantisation.correction import corrected
from tse_onnx.quantisation.qdq.quantised import quantised
from tse_onnx.quantisation.qdq.ranges import ranges_on
from tse_onnx.quantisation.qdq.scheme import Scheme
from tse_onnx.quantisation.qdq.subject import Subject


def both(model, scheme=None, data=None):
    """The subject, its quantised model, that with corrected biases, the layers and what was left."""
    scheme, data = scheme or Scheme("minmax"), data or feeds()
    subject = Subject.of(open_model(model), scheme.operators)
    plain = quantised(subject, ranges_on(subject, data, scheme), scheme)
    return subject, plain, *corrected(subject, plain, data)


def means(model, names, data):
    """The mean of each channel of some values, by numpy."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    there = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    opened = session(model)
    order = [value.name for value in opened.get_outputs()]
    batches = [dict(zip(order, opened.run(None, feed), strict=True)) for feed in data]
    return {
        name: np.concatenate([batch[name] for batch in batches]).astype(np.float64).mean(axis=(0, 2, 3))
        for name in names
    }


def steps(model, layer):
    """What one of the whole numbers of a layer's bias stands for."""
    node = next(node for node in model.graph.node if layer in node.output)
    makers = {node.output[0]: node for node in model.graph.node}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return weights[makers[node.input[2]].input[1]]


def test_each_mean_is_that_of_the_float_network():
    subject, plain, made, found, left = both(text_model(TWO, WEIGHTS))
    names = ["h", "y"]  # h has a bias, y has none
    wanted, before, after = (means(model, names, feeds()) for model in (subject.model, plain, made))
    for name in names:
        assert np.all(np.abs(after[name] - wanted[name]) <= 0.51 * steps(made, name) + 1e-5)
        assert np.abs(before[name] - wanted[name]).max() > 3 * np.abs(after[name] - wanted[name]).max()
    assert ([one.layer for one in found], left) == (names, {})
    assert all(one.before > one.after and one.limited == 0 for one in found)


def test_the_first_bias_is_what_numpy_says():
    _, plain, made, _, _ = both(text_model("y = Conv<pads = [1, 1, 1, 1]>(x, w, b)", WEIGHTS))
    padded = np.pad(DATA.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    exact = np.einsum("ncyxij,kcij->nkyx", windows, WEIGHTS["w"].astype(np.float64)) + WEIGHTS["b"].reshape(1, -1, 1, 1)
    lacks = (exact - by_numpy(DATA, WEIGHTS["w"], WEIGHTS["b"])).mean(axis=(0, 2, 3))
    old, new = (
        next(numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "b_quantized")
        for model in (plain, made)
    )
    assert np.abs((new.astype(np.int64) - old) * steps(made, "y") - lacks).max() < 1.01 * steps(made, "y").max()
    assert faked(np.zeros(1), 1.0, 0, 0, 255) == 0  # the oracle's own zero is exact


def test_what_was_is_put_back_byte_for_byte():
    _, plain, made, _, _ = both(text_model(TWO, WEIGHTS))
    assert made.SerializeToString() != plain.SerializeToString()
    back, layers = biases.put_back(made)
    assert back.SerializeToString() == plain.SerializeToString()
    assert layers == ("h", "y")
    assert biases.put_back(plain) == (plain, ())


def test_layers_in_float_are_corrected_too():
    model = text_model(TWO, WEIGHTS)
    subject, plain, made, found, _ = both(model, Scheme("minmax", keep={"y"}))
    assert [one.layer for one in found] == ["h", "y"]
    assert np.allclose(*(means(one, ["y"], feeds())["y"] for one in (subject.model, made)), atol=1e-5)
    assert biases.put_back(made)[0].SerializeToString() == plain.SerializeToString()


def test_biases_that_are_computed_or_shared_are_left():
    body = "c = Abs(b)\n h = Conv<pads = [1, 1, 1, 1]>(x, w, c)\n g = Conv(x, v, b)\n f = Conv(x, v, b)\n " \
           "k = Add(h, g)\n y = Add(k, f)"  # fmt: skip
    _, plain, made, found, left = both(text_model(body, WEIGHTS), Scheme("minmax", keep={"g", "f"}))
    assert left["h"] == "its bias is computed"
    assert sorted(left) + [one.layer for one in found] == ["f", "g", "h"]
    assert left["g"] == left["f"] == "it shares its bias"
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in plain.graph.node]


def test_a_whole_network(monkeypatch):
    images = models.digits()[0][:48]
    model = models.load("digits_se")
    name = model.graph.input[0].name
    data = [{name: images[:16]}, {name: images[16:32]}, {name: images[32:]}]
    subject, plain, made, found, left = both(model, Scheme(), data)
    outputs = [subject.node(layer).output[0] for layer in subject.layers]
    wanted, before, after = (means(one, outputs, data) for one in (subject.model, plain, made))
    apart = [sum(np.abs(one[name] - wanted[name]).mean() for name in outputs) for one in (before, after)]
    assert apart[1] < apart[0] / 10
    assert len(found) == len(outputs) == 22
    assert not left
    onnx.checker.check_model(made, full_check=True)


def test_transposed_and_grouped_convolutions_get_biases_of_their_size():
    body = "h = Conv<group = 4, pads = [1, 1, 1, 1]>(x, u)\n g = ConvTranspose<group = 2, kernel_shape = [1, 1]>(h, t)\n " \
           "y = ConvTranspose<kernel_shape = [1, 1]>(g, v)"  # fmt: skip
    weights = {
        "u": WEIGHTS["w"][:, :2],
        "t": np.random.default_rng(2).normal(size=(8, 4, 1, 1)).astype(np.float32),
        "v": WEIGHTS["v"],
    }
    subject, plain, made, found, left = both(text_model(body, weights))
    assert [one.layer for one in found] == list(subject.layers)
    assert not left
    assert biases.put_back(made)[0].SerializeToString() == plain.SerializeToString()
    biased = text_model("y = ConvTranspose<group = 2, kernel_shape = [1, 1]>(x, t, b)", weights | {"b": WEIGHTS["b"]})
    with pytest.raises(ModelError, match="its bias has no scale for each channel"):
        Subject.of(open_model(biased))


def test_a_mean_that_is_not_met_fails(monkeypatch):
    model = text_model(TWO, WEIGHTS)
    subject = Subject.of(open_model(model))
    plain = quantised(subject, ranges_on(subject, feeds(), Scheme()), Scheme())
    monkeypatch.setattr(correction, "move", lambda tensor, bias, by: by)  # moves nothing
    with pytest.raises(CheckFailed, match=r"the mean of channel \d of 'h' is .* from the float network's"):
        corrected(subject, plain, feeds())


def test_what_another_tool_took_away_is_said():
    _, _, made, _, _ = both(text_model(TWO, WEIGHTS))
    made.graph.initializer.remove(next(one for one in made.graph.initializer if one.name == "b_quantized"))
    with pytest.raises(ModelError, match="'b_quantized' belongs to a bias that was corrected"):
        biases.put_back(made)
    made.metadata_props[-1].value = "nothing"
    with pytest.raises(ModelError, match="what the model's metadata remember of its biases is damaged"):
        biases.put_back(made)
