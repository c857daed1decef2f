"""The kernels that run operators on rows: the table mirrors that of the needs, and each of its rules is run."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.streaming.test_streaming_operands import certified, ints
from tests.streams import CONV3, stream_model
from tse_onnx import ModelError
from tse_onnx.passes.graph.operators import operator
from tse_onnx.streaming.execute.certificate import certify
from tse_onnx.streaming.execute.kernels import moves, products, reductions, rowwise, windows
from tse_onnx.streaming.execute.kernels.table import ABSORBERS, KERNELS
from tse_onnx.streaming.network.needs import moves as moves_needs
from tse_onnx.streaming.network.needs import products as products_needs
from tse_onnx.streaming.network.needs import reductions as reductions_needs
from tse_onnx.streaming.network.needs import rowwise as rowwise_needs
from tse_onnx.streaming.network.needs import windows as windows_needs
from tse_onnx.streaming.network.needs.rowwise import ONE_OPERAND, SPREAD_OPERANDS
from tse_onnx.streaming.network.needs.table import NEEDS
from tse_onnx.streaming.network.read import network_of

MICROSOFT = ', "com.microsoft" : 1'
DOMAINS = MICROSOFT + ', "ai.onnx.ml" : 4'
WHOLE = "m = ReduceMean<axes = [2], keepdims = 0>(x)\n"
"""Of [1, 2, 3, 6, 4]: a map [1, 2, 6, 4] that is stored whole, because its rows are gone."""


def made_as(model, dtype, dims=None):
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", dtype, dims))
    return model


def test_every_operator_with_needs_has_a_kernel():
    assert set(NEEDS) == set(KERNELS)
    assert set(rowwise_needs.ROWWISE) == set(rowwise.ROWWISE)
    assert set(windows_needs.WINDOWS) == set(windows.WINDOWS)
    assert set(reductions_needs.REDUCTIONS) == set(reductions.REDUCTIONS)
    assert set(products_needs.PRODUCTS) == set(products.PRODUCTS)
    assert set(moves_needs.MOVES) == set(moves.MOVES)
    assert set(ABSORBERS) == set(_ABSORBING) < set(NEEDS)


# What an elementwise operator of one operand takes beside the default: of another type, or with a parameter.
_TYPES = {"Not": ("bool", TensorProto.BOOL), "BitwiseNot": ("int32", TensorProto.INT32)}
_MAKES = {"IsInf": TensorProto.BOOL, "IsNaN": TensorProto.BOOL}
_ATTRIBUTES = {"Cast": "<to = 1>", "LRN": "<size = 3>"}
_QUANTISED = ("com.microsoft::QLinearLeakyRelu", "com.microsoft::QLinearSigmoid")
_OPSETS = {"Swish": 24}


@pytest.mark.parametrize("name", ONE_OPERAND)
def test_an_elementwise_operator_runs_row_by_row(name):
    kind, dtype = _TYPES.get(name, ("float", TensorProto.FLOAT))
    operands, weights = "(x)", {}
    if name in _QUANTISED:
        kind, dtype, operands = "uint8", TensorProto.UINT8, "(x, s, z, s, z)"
        weights = {"s": np.float32(0.1), "z": np.uint8(100)}
    if name.startswith("Acosh"):
        operands = "(a)"
    body = f"y = {name.replace('::', '.')}{_ATTRIBUTES.get(name, '')}{operands}"
    if operands == "(a)":
        body = "b = Abs(x)\n a = Add(b, one)\n" + body
        weights = {"one": np.float32(1)}
    model = stream_model(
        body, "", weights, inputs=f"{kind}[1, 2, 6, 4] x", opset=_OPSETS.get(name, 20), imports=DOMAINS
    )
    network = certified(made_as(model, _MAKES.get(name, dtype), [1, 2, 6, 4]))
    assert all(list(rows) == [row] for need in network.stages[-1].needs for row, rows in enumerate(need.rows))


_LOGIC, _NUMBERS, _BITS, _COMPARED = (
    (f"{one}[1, 2, 6, 4] x, {one}[2, 1, 4] t", made)
    for one, made in (
        ("bool", TensorProto.BOOL), ("float", TensorProto.FLOAT), ("uint8", TensorProto.UINT8),
        ("float", TensorProto.BOOL),
    )
)  # fmt: skip
_SPREAD = {
    **dict.fromkeys(("And", "Or", "Xor"), _LOGIC),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"), _BITS),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), _COMPARED),
}
_SPREAD_CALLS = {
    "BitShift": '<direction = "LEFT">(x, t)',
    "Mod": "<fmod = 1>(x, t)",
    "Where": "(k, x, t)",
    "com.microsoft::BiasGelu": "(x, b)",
    "com.microsoft::FastGelu": "(x, b)",
    "com.microsoft::QLinearAdd": "(q, s, z, q, s, z, s, z)",
    "com.microsoft::QLinearMul": "(q, s, z, q, s, z, s, z)",
}


@pytest.mark.parametrize("name", SPREAD_OPERANDS)
def test_an_elementwise_operator_of_operands_that_spread_runs_row_by_row(name):
    """A map, and what is the same for all of its rows."""
    inputs, dtype = _SPREAD.get(name, _NUMBERS)
    call = _SPREAD_CALLS.get(name, "(x, t)")
    weights = {"b": (4,), "k": np.arange(24).reshape(1, 1, 6, 4) % 3 == 0, **_SCALES}
    if "q," in call:
        inputs, dtype = "uint8[1, 2, 6, 4] q", TensorProto.UINT8
    model = stream_model(f"y = {name.replace('::', '.')}{call}", "", weights, inputs=inputs, opset=20, imports=DOMAINS)
    network = certified(made_as(model, dtype, [1, 2, 6, 4]))
    assert list(network.stages[-1].needs[0].rows[3]) == [3]


_SCALES = {"s": np.float32(0.5), "r": np.float32(0.13), "z": np.uint8(3)}
_ABSORBING = {
    **{name: f"y = {name}<keepdims = 1>(x)" for name in reductions_needs.REDUCES},
    **{name: f"y = {name}(x)" for name in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")},
    **{name: f"y = {name}<axis = 2>(x)" for name in ("ArgMax", "ArgMin")},
    **{name: f"y = {name}<kernel_shape = [3, 2], strides = [3, 2]>(x)" for name in windows_needs.POOLINGS},
    "Gemm": "f = Flatten(x)\n y = Gemm(f, w)",
    "MatMul": "f = Flatten(x)\n y = MatMul(f, w)",
    "com.microsoft::QLinearGlobalAveragePool": "y = com.microsoft.QLinearGlobalAveragePool(x, s, z, r, z)",
}


@pytest.mark.parametrize("name", _ABSORBING)
def test_an_operator_that_absorbs_its_rows(name):
    quantised = name.startswith("com.microsoft::")
    model = stream_model(
        _ABSORBING[name], "", _SCALES if quantised else {"w": (48, 3)} if name in ("Gemm", "MatMul") else {},
        inputs=f"{'uint8' if quantised else 'float'}[1, 2, 6, 4] x", imports=MICROSOFT,
    )  # fmt: skip
    if quantised:
        made_as(model, TensorProto.UINT8, [1, 2, 1, 1])
    elif name.startswith("Arg"):
        made_as(model, TensorProto.INT64)
    stage = certified(model).stages[-1]
    assert (operator(stage.node), stage.absorbs) == (name, True)


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_a_quantised_mean_is_rounded_as_onnxruntime_does(last, seed):
    """To the last step, with channels in axis 1 and behind the columns."""
    body = f"t = Transpose<perm = {[0, 2, 3, 1] if last else [0, 1, 2, 3]}>(x)\n"
    body += f"y = com.microsoft.QLinearGlobalAveragePool<channels_last = {last}>(t, s, z, r, z)"
    model = stream_model(body, "", _SCALES | {"z": np.int8(-3)}, inputs="int8[1, 8, 6, 4] x", imports=MICROSOFT)
    network = network_of(made_as(model, TensorProto.INT8, [1, 1, 1, 8] if last else [1, 8, 1, 1]))
    x = np.random.default_rng(seed).integers(-20, 20, (1, 8, 6, 4), np.int8)
    found = certify(model, network, {"x": x}, tolerance=0)
    assert found.passed, [proof.text for proof in found.proofs if not proof.passed]
    assert network.stages[-1].absorbs


@pytest.mark.parametrize(
    ("domain", "body", "dims"),
    [
        ("com.microsoft.nchwc", "Upsample<scales = [1, 1, 2, 2]>(x)", [1, 16, 2, 8]),
        ("com.microsoft", "ExpandDims(x, a)", [1, 1, 16, 1, 4]),
    ],
)
def test_operators_of_other_domains_are_not_taken_for_onnx_own(domain, body, dims):
    """On a map of one row even an unknown operator is no barrier."""
    weights = {"a": np.int32(0)} if "a)" in body else {}
    model = stream_model(f"y = {domain}.{body}", (1, 16, 1, 4), weights, imports=f', "{domain}" : 1')
    certified(made_as(model, TensorProto.FLOAT, dims))


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("y = Relu(m)", {}),
        ("y = Softmax<axis = 1>(m)", {}),
        ("y = ReduceMean<axes = [1]>(m)", {}),
        ("y = GlobalAveragePool(m)", {}),
        ("y = InstanceNormalization(m, w, w)", {"w": (2,)}),
        ("y = CumSum(m, a)", {"a": ints(2)}),
        ("y = CastLike(m, x)", {}),
        ("y = Expand(m, s)", {"s": ints(3, 2, 6, 4)}),
        ('y = Resize<mode = "linear">(m, , s)', {"s": np.array([1, 1, 2, 1], np.float32)}),
        ('y = Resize<coordinate_transformation_mode = "tf_crop_and_resize">(m, r, , s)',
         {"r": np.array([0, 0, -0.5, 0, 1, 1, 1.5, 1], np.float32), "s": ints(1, 2, 6, 4)}),
        (f"y = {CONV3}(m, w)", {"w": (2, 2, 3, 3)}),
        ("y = Add(m, m)", {}),
    ],
)  # fmt: skip
def test_a_map_that_is_stored_whole_becomes_rows(body, weights):
    network = certified(stream_model(WHOLE + body, (1, 2, 3, 6, 4), weights))
    assert network.tensors["m"].rows is None
    assert network.tensors["y"].rows is not None


def test_operands_that_spread_as_they_did_in_older_opsets_are_refused():
    """A slope for each channel, without axes behind them; onnx's checker takes it, and so does its inference."""
    model = stream_model("y = PRelu(x, w)", (2, 3, 4), {"w": (3,)}, opset=6)
    with pytest.raises(ModelError, match=r"PRelu 'y' spreads 'w', \[3\], over \[2, 3, 4\] in a way of older operators"):
        certified(model)


def test_one_row_becomes_several():
    certified(stream_model("y = MatMul(a, x)", (1, 2, 1, 4), {"a": (5, 1)}))
    certified(made_as(stream_model("y = MatMulInteger(a, x)", "", {"a": np.ones((5, 1), np.uint8)},
                                   inputs="uint8[1, 2, 1, 4] x"), TensorProto.INT32))  # fmt: skip
    certified(stream_model("y = Expand(x, s)", (6, 4), {"s": ints(1, 2, 6, 4)}))


@pytest.mark.parametrize("told", ["sizes", "scales"])
def test_a_resize_that_is_told_its_sizes_while_the_model_runs(told):
    slots, kind, given = (", , s", "int64", ints(1, 2, 12, 4)) if told == "sizes" else (
        ", s", "float", np.array([1, 1, 2, 1], np.float32)
    )  # fmt: skip
    model = stream_model(f"y = Resize(x, {slots})", "", inputs=f"float[1, 2, 6, 4] x, {kind}[4] s")
    network = network_of(made_as(model, TensorProto.FLOAT, [1, 2, 12, 4]))
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 4)).astype(np.float32)
    assert certify(model, network, {"x": x, "s": given}).passed


def test_an_output_beside_the_first_is_made_on_a_map_of_one_row_as_well():
    certified(made_as(stream_model("z, y = MaxPool<kernel_shape = [1, 2]>(x)", (1, 2, 1, 4)), TensorProto.INT64))


def test_parameters_that_are_computed_and_differ_from_row_to_row():
    body = f"c = {CONV3}(x, v)\n t = Transpose<perm = [0, 2, 1, 3]>(c)\n y = BatchNormalization(t, w, w, w, w)"
    certified(stream_model(body, "", {"v": (2, 2, 3, 3)}, inputs="float[1, 2, 6, 4] x, float[6] w"))
    model = stream_model("y = QuantizeLinear<axis = 2>(x, s)", "", inputs="float[1, 2, 6, 4] x, float[6] s")
    certified(made_as(model, TensorProto.UINT8))


@pytest.mark.parametrize(("op", "kind"), [("QuantizeLinear", "float"), ("DequantizeLinear", "uint8")])
def test_scales_of_blocks_that_are_computed_make_a_barrier(op, kind):
    model = stream_model(
        f"y = {op}<axis = 2, block_size = 2>(x, s)", "", inputs=f"{kind}[1, 2, 6, 4] x, float[1, 2, 3, 4] s", opset=21
    )
    made_as(model, TensorProto.UINT8 if op == "QuantizeLinear" else TensorProto.FLOAT)
    assert "scales" in certified(model).stages[0].barrier


@pytest.mark.parametrize("fault", [AssertionError, KeyError, TypeError, ZeroDivisionError])
@pytest.mark.parametrize("method", ["__init__", "make"])
def test_a_fault_of_a_kernel_is_no_refusal(monkeypatch, fault, method):
    def broken(*given):
        raise fault("of the program")

    monkeypatch.setattr(windows.Convolution, method, broken)
    model = stream_model(f"y = {CONV3}(x, w)", (1, 2, 6, 4), {"w": (2, 2, 3, 3)})
    network = network_of(model)
    with pytest.raises(fault):
        certify(model, network, {"x": np.ones((1, 2, 6, 4), np.float32)})
