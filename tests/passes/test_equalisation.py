"""Exchanged scales against the network itself in double precision, and to the bit in onnxruntime where they are powers of
two; what stays, and why."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser, shape_inference
from onnx.reference import ReferenceEvaluator

import models
import tse_onnx
from tests.random_networks import networks
from tse_onnx.passes.edit.splice import splice
from tse_onnx.passes.equalisation.numbers import edit_of
from tse_onnx.passes.equalisation.scales import equalisation
from tse_onnx.passes.graph.scope import scopes
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.verification.equalising import check_equalised

SIZES = {"Resize": (1, 2, 3), "Upsample": (1,)}


def doubled(model):
    """The same network in double precision."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    kept = {name for node in made.graph.node for slot in SIZES.get(node.op_type, ()) for name in node.input[slot:]}
    tensors = [tensor for tensor in made.graph.initializer if tensor.name not in kept]
    for node in made.graph.node:
        if node.op_type in ("Constant", "ConstantOfShape"):
            tensors += [one.t for one in node.attribute if one.name == "value" and node.output[0] not in kept]
        for one in node.attribute:
            if one.name == "to" and one.i == TensorProto.FLOAT:
                one.i = TensorProto.DOUBLE
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for value in (*made.graph.input, *made.graph.output, *made.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return made


def fed(model, dtype, seed=0):
    random = np.random.default_rng(seed)
    return {
        value.name: random.standard_normal([dim.dim_value for dim in value.type.tensor_type.shape.dim]).astype(dtype)
        for value in model.graph.input
    }


def in_double(model, feed):
    return ReferenceEvaluator(model).run(None, feed)


def in_onnxruntime(model, feed):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)


class Chain:
    """A network of layers one after the other, with branches that come together again."""

    def __init__(self, draw, channels):
        self.draw, self.nodes, self.weights, self.count = draw, [], {}, 0
        self.random = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.value, self.channels, self.size = "x", channels, 8

    def add(self, op, *inputs, **attributes):
        self.count += 1
        name = f"v{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n{self.count}", **attributes))
        return name

    def weight(self, *dims):
        """Numbers whose channels differ in their ranges."""
        self.count += 1
        ranges = np.exp(self.random.uniform(-3, 3, (dims[0], *(1,) * (len(dims) - 1))))
        self.weights[f"w{self.count}"] = (self.random.standard_normal(dims) * ranges / len(dims)).astype(np.float32)
        return f"w{self.count}"

    def conv(self, value, channels, out, kernel=1, groups=1):
        weights = self.weight(out, channels // groups, kernel, kernel)
        bias = [self.weight(out)] if self.draw(st.booleans()) else []
        return self.add("Conv", value, weights, *bias, group=groups, pads=[kernel // 2] * 4)

    def step(self, kind):
        value, channels = self.value, self.channels
        match kind:
            case "conv":
                self.channels = self.draw(st.integers(1, 6))
                self.value = self.conv(value, channels, self.channels, self.draw(st.sampled_from([1, 3])))
            case "grouped" if channels % 2 == 0:
                self.channels = 2 * self.draw(st.integers(1, 3))
                self.value = self.conv(value, channels, self.channels, 3, 2)
            case "depthwise":
                self.channels = channels * self.draw(st.integers(1, 2))
                self.value = self.conv(value, channels, self.channels, 3, channels)
            case "transposed":
                self.channels = self.draw(st.integers(1, 4))
                self.value = self.add("ConvTranspose", value, self.weight(channels, self.channels, 1, 1))
            case "prelu":
                self.value = self.add("PRelu", value, self.weight(channels, 1, 1))
            case "leaky":
                self.value = self.add("LeakyRelu", value, alpha=0.3)
            case "relu" | "sigmoid" | "abs":
                self.value = self.add(kind.capitalize(), value)
            case "maxpool" | "averagepool":
                op = {"maxpool": "MaxPool", "averagepool": "AveragePool"}[kind]
                self.value = self.add(op, value, kernel_shape=[3, 3], pads=[1] * 4)
            case "residual":
                inner = self.add("Relu", self.conv(value, channels, 4))
                self.value = self.add("Add", value, self.conv(inner, 4, channels))
            case "constant":
                self.value = self.add("Add", value, self.weight(channels, 1, 1))
            case "scaled":
                self.value = self.add("Mul", value, self.weight(channels, 1, 1))
            case "se":
                mean = self.add("GlobalAveragePool", value)
                hidden = self.add("Relu", self.conv(mean, channels, 2))
                self.value = self.add("Mul", value, self.add("Sigmoid", self.conv(hidden, 2, channels)))
            case "beside":
                self.value = self.add("Concat", value, self.add("Relu", value), axis=2)
                self.size *= 2
            case "nhwc":
                turned = self.add("Transpose", value, perm=[0, 2, 3, 1])
                product = self.add("MatMul", turned, self.weight(channels, channels))
                self.value = self.add("Transpose", self.add("Add", product, self.weight(channels)), perm=[0, 3, 1, 2])

    def model(self):
        pooled = self.add("Flatten", self.add("GlobalAveragePool", self.value))
        logits = self.add("Gemm", pooled, self.weight(3, self.channels), self.weight(3), transB=1)
        graph = helper.make_graph(
            self.nodes,
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, self.first, 8, 8])],
            [helper.make_tensor_value_info(logits, TensorProto.FLOAT, [2, 3])],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return shape_inference.infer_shapes(model)


STEPS = [
    *("conv", "grouped", "depthwise", "transposed", "relu", "prelu", "leaky", "sigmoid", "abs", "maxpool"),
    *("averagepool", "residual", "constant", "scaled", "se", "beside", "nhwc"),
]


@st.composite
def chains(draw):
    channels = draw(st.integers(1, 4))
    made = Chain(draw, channels)
    made.first = channels
    made.step("conv")
    for kind in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=7)):
        made.step(kind)
    return made.model()


def near(found, wanted, most):
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max(initial=0) <= most * np.abs(other).max(initial=1e-300)


@settings(max_examples=80, deadline=None)
@given(chains())
def test_in_double_precision_nothing_changes(model):
    model = doubled(model)
    result = tse_onnx.equalise(model, verify=False)
    event(f"{len(result.changed)} pairs")
    feed = fed(model, np.float64)
    near(in_double(result.model, feed), in_double(model, feed), 1e-11)


@settings(max_examples=40, deadline=None)
@given(networks(steps=6))
def test_nor_in_networks_of_all_operators(model):
    model = doubled(model)
    feed = fed(model, np.float64)
    try:
        wanted = in_double(model, feed)
    except Exception:  # the reference has not every operator in double precision
        assume(False)
    result = tse_onnx.equalise(model, verify=False)
    event(f"{len(result.changed)} pairs")
    near(in_double(result.model, feed), wanted, 1e-10)


@settings(max_examples=60, deadline=None)
@given(chains())
def test_powers_of_two_change_no_bit(model):
    result = tse_onnx.equalise(model, powers_of_two=True)
    feed = fed(model, np.float32)
    for one, other in zip(in_onnxruntime(result.model, feed), in_onnxruntime(model, feed), strict=True):
        assert one.tobytes() == other.tobytes()
    for one in result.changed:
        assert (np.frexp(one.scales)[0] == 0.5).all()
    assert all(check.equal for check in result.checks)


@settings(max_examples=60, deadline=None)
@given(chains(), st.booleans(), st.booleans())
def test_restore_gives_every_bit_back_and_a_second_run_changes_nothing(model, powers_of_two, typed):
    if typed:
        for tensor in model.graph.initializer:
            numbers = numpy_helper.to_array(tensor).reshape(-1).tolist()
            tensor.ClearField("raw_data")
            tensor.float_data.extend(numbers)
    result = tse_onnx.equalise(model, powers_of_two=powers_of_two)
    back = tse_onnx.restore(result.model)
    assert back.equalised == bool(result.changed)
    assert back.model.SerializeToString() == model.SerializeToString()
    again = tse_onnx.equalise(result.model, powers_of_two=powers_of_two)
    assert again.model.SerializeToString() == result.model.SerializeToString()


def parsed(body, ends="(float[1, 3, 8, 8] x) => (float[1, 2, 8, 8] y)", opset=17, **weights):
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g {ends} {{ {body} }}')
    noise = np.random.default_rng(3)
    dims = {"w": (4, 3, 1, 1), "b": (4,), "v": (2, 4, 1, 1)} | weights
    for name, shape in dims.items():
        if isinstance(shape, tuple):
            ranges = np.exp(noise.uniform(-3, 3, shape[:1])).reshape(-1, *(1,) * (len(shape) - 1))
            shape = (noise.standard_normal(shape) * ranges).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(shape), name))
    return shape_inference.infer_shapes(model)


def test_both_ranges_of_a_channel_are_the_square_root_of_their_product():
    model = parsed("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v)", b=np.zeros(4, np.float32))
    made = tse_onnx.equalise(model).model
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in each.graph.initializer} for each in (model, made)
    )
    r, q = np.abs(before["w"]).max(axis=(1, 2, 3)), np.abs(before["v"]).max(axis=(0, 2, 3))
    new = np.abs(after["w"]).max(axis=(1, 2, 3)), np.abs(after["v"]).max(axis=(0, 2, 3))
    for ranges in new:
        ratio = ranges / np.sqrt(r * q)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    np.testing.assert_allclose(new[0] * new[1], r * q, rtol=1e-5)


BLOCK = (
    "h = Conv(x, w, b) r = Relu(h) m = GlobalAveragePool(r) f = Conv(m, f1) a = Relu(f) e = Conv(a, f2) g = Sigmoid(e) "
)


def test_the_gate_of_a_block_is_as_it_was_and_its_first_layer_takes_the_scale_away():
    model = parsed(BLOCK + "s = Mul(r, g) y = Conv(s, v)", f1=(2, 4, 1, 1), f2=(4, 2, 1, 1))
    names = ("conv", "relu", "mean", "squeeze", "act", "excite", "gate", "scale", "last")
    for tensor, name in zip(model.graph.node, names, strict=True):
        tensor.name = name
    result = tse_onnx.equalise(model)
    pairs = {one.pair.firsts: one.pair.seconds for one in result.changed}
    assert pairs == {("conv",): ("squeeze", "last"), ("squeeze",): ("excite",)}
    watched = [onnx.ModelProto.FromString(each.SerializeToString()) for each in (model, result.model)]
    for each in watched:
        each.graph.output.append(onnx.ValueInfoProto(name="g"))
        each.graph.output.append(onnx.ValueInfoProto(name="r"))
    feed = fed(model, np.float32)
    (_, gate, inner), (_, same, scaled) = (in_onnxruntime(each, feed) for each in watched)
    np.testing.assert_allclose(same, gate, rtol=1e-5)
    np.testing.assert_allclose(scaled, inner * result.changed[0].scales.reshape(1, 4, 1, 1), rtol=1e-4, atol=1e-5)


REFUSED = {
    "HardSwish is not positively homogeneous": "h = Conv(x, w, b) r = HardSwish(h) y = Conv(r, v)",
    "a bound other than zero": "l = Constant<value_float = 0.0>() t = Constant<value_float = 6.0>() h = Conv(x, w, b) r = Clip(h, l, t) y = Conv(r, v)",
    "its factors all have scales": "h = Conv(x, w, b) r = Mul(h, h) y = Conv(r, v)",
    "what it divides by": "h = Conv(x, w, b) i = Relu(x) k = Conv(i, w2) r = Div(k, h) y = Conv(r, v)",
    "it puts channels beside others": "h = Conv(x, w, b) r = Concat<axis = 1>(h, h) y = Conv(r, u)",
    "is an output of the model": "y = Conv(x, w3)",
    "is an input of the model": "h = Conv(x, w4) r = Add(h, x) y = Conv(r, w3)",
    "others read its weights": "h = Conv(x, w, b) r = Relu(h) k = Conv(r, v) i = Conv(x, w, b) j = Sigmoid(i) l = Conv(j, v5) y = Add(k, l)",
    "there is no rule for how Einsum": 'h = Conv(x, w, b) r = Einsum<equation = "nchw->nchw">(h) y = Conv(r, v)',
    "joins a number for all channels": "o = Constant<value_float = 1.0>() h = Conv(x, w, b) r = Sub(h, one) y = Conv(r, v)",
    "pads with a number": 'h = Conv(x, w, b) r = Pad<mode = "constant">(h, pads, one) y = Conv(r, v)',
    "weights are no initializer": "n = Neg(w) h = Conv(x, n, b) r = Relu(h) y = Conv(r, v)",
    "is quantised already": "h = Conv(x, w, b) q = QuantizeLinear(h, one, zero) r = DequantizeLinear(q, one, zero) y = Conv(r, v)",
    "moves numbers between channels": "h = Conv(x, w, b) r = Transpose<perm = [0, 2, 1, 3]>(h) k = Reshape(r, back) y = Conv(k, v)",
    "a BatchNormalization is in between": "h = Conv(x, w, b) r = BatchNormalization(h, b, b, b, c) y = Conv(r, v)",
}


@pytest.mark.parametrize(("said", "body"), REFUSED.items(), ids=REFUSED)
def test_what_is_not_exact_stays_and_says_why(said, body):
    model = parsed(
        body, w2=(4, 3, 1, 1), w3=(2, 3, 1, 1), w4=(3, 3, 1, 1), u=(2, 8, 1, 1), v5=(2, 4, 1, 1), c=(4,),
        one=np.float32(1), zero=np.uint8(0), pads=np.array([0, 0, 0, 0, 0, 0, 0, 0]), back=np.array([1, 4, 8, 8]),
    )  # fmt: skip
    result = tse_onnx.equalise(model, verify=False)
    assert result.changed == ()
    assert any(said in f"{left.reason}" for left in result.left), result.left
    assert result.serialized() == model.SerializeToString()


def test_a_chain_of_residual_additions_is_one_pair():
    result = tse_onnx.equalise(models.load("mobilenetv3_large_torchscript_18"), verify=False)
    stage = [one.pair for one in result.changed if len(one.pair.firsts) == 4]
    assert [pair.channels for pair in stage] == [80]
    assert len(stage[0].seconds) == 4
    assert not any("HardSwish" not in left.reason and "HardSigmoid" not in left.reason for left in result.left[:-1])


def test_in_half_precision_and_without_numbers_layers_stay():
    model = parsed("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v)")
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
    assert "left out" in tse_onnx.equalise(model, verify=False).left[0].reason
    half = parsed("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v)")
    for tensor in half.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*half.graph.input, *half.graph.output, *half.graph.value_info):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    assert "neither single nor double" in tse_onnx.equalise(half, verify=False).left[0].reason


@pytest.mark.parametrize("first", ["convert", "equalise"])
def test_restore_undoes_tiles_and_scales_in_either_order(first):
    model = models.load("digits_se")
    made = model
    for call in (tse_onnx.convert, tse_onnx.equalise) if first == "convert" else (tse_onnx.equalise, tse_onnx.convert):
        made = call(made).model
    back = tse_onnx.restore(made)
    assert back.equalised
    assert back.exact
    assert len(back.blocks) == 4
    assert back.model.SerializeToString() == model.SerializeToString()


def test_weights_that_were_changed_since_are_no_way_back():
    result = tse_onnx.equalise(models.load("digits_se"), verify=False)
    made, scaled = result.model, result.changed[0].pair.places[0].tensor
    tensor = next(tensor for tensor in made.graph.initializer if tensor.name == scaled)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(2), tensor.name))
    with pytest.raises(tse_onnx.ModelError, match="changed since"):
        tse_onnx.restore(made)
    again = tse_onnx.equalise(made)  # starts anew from what they are
    assert tse_onnx.restore(again.model).equalised


@pytest.mark.parametrize("text", ["", "damaged", "eJxzdgYAAOsAhg=="])
def test_a_damaged_memory_is_one_line(text):
    made = tse_onnx.equalise(models.load("digits_se"), verify=False).model
    for entry in made.metadata_props:
        if entry.key == "tse_onnx.equalised":
            entry.value = text
    with pytest.raises(tse_onnx.ModelError, match="damaged"):
        tse_onnx.restore(made)


def test_the_proof_notices_a_scale_that_is_not_taken_away():
    model = models.load("digits_se")
    scope = scopes(model, {}, evaluate)[0]
    found = equalisation(scope)
    edit = edit_of(scope.index, found.changed)
    wrong = found.changed[-1].pair.places[0].tensor
    numbers = numpy_helper.to_array(edit.numbers[wrong]).copy()
    numbers[0] *= 1.01
    edit.numbers[wrong].CopyFrom(numpy_helper.from_array(numbers, wrong))
    made = onnx.ModelProto()
    made.CopyFrom(model)
    splice(made.graph, (edit,))
    feed = {"input": models.images("digits_se", 1)}
    with pytest.raises(tse_onnx.CheckFailed, match="differs by"):
        check_equalised(model, made, edit, feed, None, False)
    with pytest.raises(tse_onnx.CheckFailed, match="bit for bit"):
        check_equalised(model, made, edit, feed, None, True)
    made.graph.node[0].name = "other"
    with pytest.raises(tse_onnx.CheckFailed, match="outside"):
        check_equalised(model, made, edit, feed, None, False)
