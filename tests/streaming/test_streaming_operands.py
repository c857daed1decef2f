"""Operands of every rank, type and place: what a row of an elementwise operator takes of each, run with real numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.streams import CONV3, stream_model
from tse_onnx import ModelError
from tse_onnx.data.noise import noise
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.streaming.execute.certificate import certify
from tse_onnx.streaming.network.read import network_of


def certified(model):
    network = network_of(model)
    types = {tensor.name: TensorType(tensor.dtype, tensor.dims) for tensor in network.sources}
    found = certify(model, network, next(noise(types, 0).feeds()))
    assert found.passed, [proof.text for proof in found.proofs if not proof.passed]
    return network


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize("shape", [(6, 4), (2, 6, 4), (4,), (2, 1, 2, 6, 4), (1, 1, 1, 2, 6, 4), (2, 6, 1), (1, 1, 4)])
@pytest.mark.parametrize("op", ["Add", "Mul", "Max", "Greater"])
def test_operands_of_different_ranks(op, shape):
    dims = ", ".join(map(str, shape))
    model = stream_model(f"y = {op}(x, t)", "", inputs=f"float[1, 2, 6, 4] x, float[{dims}] t", opset=18)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.BOOL if op == "Greater" else TensorProto.FLOAT
    certified(model)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_operands_that_spread_over_each_other(data):
    """Two maps of any ranks, each with some axes of one, some of them moved before they meet."""
    full = data.draw(st.lists(st.integers(2, 4), min_size=1, max_size=5))
    shapes = []
    for _ in range(2):
        kept = full[data.draw(st.integers(0, len(full) - 1)) :]
        shapes.append([data.draw(st.sampled_from([size, size, 1])) for size in kept])
    order = data.draw(st.permutations(range(len(shapes[0]))))
    before = [0] * len(order)
    for place, axis in enumerate(order):
        before[axis] = shapes[0][place]
    body = f"a = Transpose<perm = {list(order)}>(x)\n y = Sub(a, t)\n z = Sub(t, y)"
    inputs = ", ".join(f"float[{', '.join(map(str, dims))}] {name}" for name, dims in (("x", before), ("t", shapes[1])))
    certified(stream_model(body, "", inputs=inputs, outputs=("z",)))


def test_a_constant_mask_over_height_and_width():
    certified(stream_model(f"c = {CONV3}(x, w)\n y = Mul(c, m)", (1, 2, 8, 6), {"w": (2, 2, 3, 3), "m": (8, 6)}))
    certified(stream_model("y = Add(x, m)", (1, 8, 6), {"m": (1, 3, 8, 6)}))


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("gone", [(0,), (1,), (0, 1)])
def test_rows_that_lie_in_another_axis(gone, axis):
    """Behind the Squeeze the rows of one lie in axis 1, those of the other in axis 2."""
    body = "s = Squeeze(x, gone)\n m = Mul(s, t)\n y = ReduceSum(m, axis)"
    inputs = "float[1, 1, 6, 6] x, float[1, 6, 6] t"
    certified(stream_model(body, "", {"gone": ints(*gone), "axis": ints(axis)}, inputs=inputs))


def test_tokens_of_merged_rows_are_added_to_finer_ones():
    """A residual around attention: three tokens of two pixels, and six tokens of one."""
    body = """
        a = Reshape(x, flat)
        t = Transpose<perm = [0, 2, 1]>(a)
        b = Reshape(t, map)
        u = Reshape(b, tokens)
        y = Add(t, u)
    """
    shapes = {"flat": ints(1, 2, 6), "map": ints(1, 6, 2, 1), "tokens": ints(1, 6, 2)}
    network = certified(stream_model(body, (1, 2, 3, 2), shapes))
    needs = next(stage for stage in network.stages if stage.output == "y").needs
    assert [[list(rows) for rows in need.rows] for need in needs] == [
        [[0], [0], [1], [1], [2], [2]], [[0], [1], [2], [3], [4], [5]]
    ]  # fmt: skip


@pytest.mark.parametrize("like", ["float16[2, 6] t", "float16[1, 2, 6, 4] t", "float16 t", "float16[1, 2, 12, 4] t"])
def test_what_says_a_type_alone_is_not_waited_for(like):
    model = stream_model("y = CastLike(x, t)", "", inputs=f"float[1, 2, 6, 4] x, {like}")
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    network = certified(model)
    assert [not any(need.rows) for need in network.stages[0].needs] == [False, True]


def test_a_constant_that_is_cast_like_what_streams_is_a_constant():
    model = stream_model("c = CastLike(k, x)\n y = Mul(x, c)", (1, 2, 6, 4), {"k": ints(3).reshape(())})
    assert [stage.output for stage in certified(model).stages] == ["y"]


def test_what_says_a_shape_alone_is_not_waited_for():
    model = stream_model("y = Reshape(x, s)", "", inputs="float[1, 2, 6, 4] x, int64[3] s")
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 6, 4]))
    network = network_of(model)
    assert not any(network.stages[0].needs[1].rows)
    random = np.random.default_rng(0)
    feed = {"x": random.standard_normal((1, 2, 6, 4)).astype(np.float32), "s": ints(2, 6, 4)}
    assert certify(model, network, feed).passed


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_layer_normalisation_by_flatten(batch, axis):
    body = f"""
        f = Flatten<axis = {axis}>(x)
        m = ReduceMean<axes = [1]>(f)
        d = Sub(f, m)
        q = Mul(d, d)
        v = ReduceMean<axes = [1]>(q)
        s = Sqrt(v)
        n = Div(d, s)
        y = Reshape(n, shape)
    """
    certified(stream_model(body, (batch, 2, 3, 4), {"shape": ints(batch, 2, 3, 4)}))


def test_statistics_of_a_normalisation_that_trains():
    """onnxruntime may write an output that nobody sees over an input, which is a stored row."""
    body = "y, m, v = BatchNormalization<training_mode = 1>(x, s, b, mean, var)"
    inputs = "float[2, 3, 4, 4] x, float[3] s, float[3] b, float[3] mean, float[3] var"
    certified(stream_model(body, "", inputs=inputs, outputs=("y", "m", "v")))


@pytest.mark.parametrize(("op", "opset"), [("DequantizeLinear", 21), ("QuantizeLinear", 21)])
def test_scales_that_differ_from_row_to_row(op, opset):
    float_in = op == "QuantizeLinear"
    for scales in ((6,), (1, 3, 6, 2), (1, 3, 2, 4)):
        extra = {(6,): "axis = 2", (1, 3, 6, 2): "axis = 3, block_size = 2", (1, 3, 2, 4): "axis = 2, block_size = 3"}
        scale = np.linspace(0.1, 0.5, int(np.prod(scales)), dtype=np.float32).reshape(scales)
        zero = np.zeros(scales, np.int8)
        model = stream_model(
            f"y = {op}<{extra[scales]}>(x, s, z)", "", {"s": scale, "z": zero},
            inputs=f"{'float' if float_in else 'int8'}[1, 3, 6, 4] x", opset=opset,
        )  # fmt: skip
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT8 if float_in else TensorProto.FLOAT
        certified(model)


def test_a_batch_normalisation_over_the_axis_of_the_rows():
    body = "t = Transpose<perm = [0, 2, 1, 3]>(x)\n y = BatchNormalization(t, s, b, m, v)"
    ones = {name: np.linspace(0.5, 1.5, 6, dtype=np.float32) for name in "sbmv"}
    certified(
        stream_model(f"c = {CONV3}(x, w)\n{body.replace('(x)', '(c)')}", (1, 2, 6, 4), {"w": (2, 2, 3, 3), **ones})
    )


@pytest.mark.parametrize("op", ["MaxPool", "Conv", "AveragePool", "LpPool"])
def test_windows_that_lie_outside_the_map(op):
    window = "kernel_shape = [2, 1], dilations = [3, 1], pads = [3, 0, 3, 0]"
    if op != "Conv":
        window = window.replace("3, 0", "1, 0")
    inputs = "(x, w, b)" if op == "Conv" else "(x)"
    weights = {"w": (3, 2, 2, 1), "b": (3,)} if op == "Conv" else {}
    certified(stream_model(f"y = {op}<{window}>{inputs}", (1, 2, 2, 4), weights, opset=22))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_a_window_that_onnx_infers_and_onnxruntime_does_not_make(op):
    model = stream_model(f"y = {op}<kernel_shape = [2, 2], strides = [3, 3], ceil_mode = 1>(x)", (1, 2, 6, 6))
    with pytest.raises(ModelError, match=r"onnx infers the shape \[1, 2, 3, 3\].*onnxruntime makes \[1, 2, 2, 2\]"):
        certified(model)
    certified(stream_model(f"y = {op}<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(x)", (1, 2, 5, 5)))


def test_a_branch_that_some_rows_do_not_take_is_not_waited_for():
    """Rows of the first operand of a Concat come before the second, whose rows lie in another axis, is there."""
    body = "t = Transpose<perm = [0, 2, 1, 3]>(k)\n y = Concat<axis = 2>(x, t)"
    model = stream_model(body, "", inputs="float[1, 3, 12, 4] x, float[1, 6, 3, 4] k")
    assert not certified(model).stages[-1].needs[1].rows[0]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("y = Gather<axis = 1>(x, i)", "int64[3] i"),
        ("y = Conv(x, w)", "float[2, 2, 3, 3] w"),
        ("y = BatchNormalization(x, w, w, w, w)", "float[2] w"),
    ],
)
def test_operands_that_are_computed_while_the_model_runs(body, told):
    certified(stream_model(body, "", inputs=f"float[1, 2, 6, 4] x, {told}"))
    certified(stream_model(body, "", inputs=f"float[1, 2, 1, 4] x, {told.replace('3, 3', '1, 1')}"))
