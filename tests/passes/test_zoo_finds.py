"""What real exports taught: small graphs of the spellings that went wrong in one of them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, TensorProto, helper, numpy_helper

import tse_onnx

CHANNELS = 8


def block(lines: str, *, weights: dict[str, tuple[int, ...]], header: str = "", rows: int = 12) -> ModelProto:
    """A model of parsed nodes from x [1, 8, rows, 8] to y, with weights of noise."""
    text = f"""<ir_version: 8, opset_import: ["" : 17{header}]>
    g (float[1, {CHANNELS}, {rows}, 8] x) => (float y) {{ {lines} }}"""
    model = onnx.parser.parse_model(text)
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [None] * 4))
    generator = np.random.default_rng(0)
    for name, shape in weights.items():
        array = generator.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


EXCITE = """
    m = GlobalAveragePool(t)
    r = Conv(m, w1)
    a = Relu(r)
    e = Conv(a, w2)
    s = Sigmoid(e)
    y = Mul(t, s)
"""
WEIGHTS = {"w1": (2, CHANNELS, 1, 1), "w2": (CHANNELS, 2, 1, 1)}


def test_padding_that_the_graph_computes() -> None:
    """TorchScript exports of networks that pad "same": the sizes behind the Pad follow from its arithmetic."""
    model = block(
        """
        shape = Shape(x)
        one = Constant<value = int64 {2}>()
        height = Gather<axis = 0>(shape, one)
        three = Constant<value = int64 {5}>()
        whole = Div(height, three)
        padded = Mul(whole, three)
        least = Constant<value = int64 {3}>()
        extra = Sub(height, padded)
        pad = Clip(extra, least)
        zero = Constant<value_ints = [0]>()
        last = Unsqueeze(pad, zero)
        rest = Constant<value_ints = [0, 0, 0, 0, 0, 0]>()
        first = Slice(rest, zero, six)
        pads = Concat<axis = 0>(first, last, zero)
        p = Pad(x, pads)
        t = Relu(p)
        """
        + EXCITE,
        weights=WEIGHTS,
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([6], np.int64), "six"))
    (found,) = tse_onnx.find_blocks(model)
    assert found.extents == (15, 8)
    result = tse_onnx.convert(model, rows=4)
    assert [decision.status for decision in result.blocks] == ["converted"]


def test_fused_operators_of_onnxruntime() -> None:
    """The optimiser's own operators have no inference in onnx; the size behind them is known all the same."""
    model = block(
        "t = com.microsoft.QuickGelu<alpha = 1.0>(x)" + EXCITE, weights=WEIGHTS, header=', "com.microsoft" : 1'
    )
    (found,) = tse_onnx.find_blocks(model)
    assert found.extents == (12, 8)
    assert [decision.status for decision in tse_onnx.convert(model, rows=5).blocks] == ["converted"]


def test_types_stated_twice() -> None:
    """OnnxSlim states the type of a value more than once: each statement follows the tiles."""
    model = onnx.shape_inference.infer_shapes(block("t = Relu(x)" + EXCITE, weights=WEIGHTS))
    model.graph.value_info.extend(list(model.graph.value_info))
    result = tse_onnx.convert(model, rows=5)
    assert [decision.status for decision in result.blocks] == ["converted"]


def test_types_stated_of_weights() -> None:
    """jax2onnx and torch's dynamo exporter state the types of weights, which linear layers lay anew."""
    model = block(
        """
        m = GlobalAveragePool(x)
        f = Flatten(m)
        r = MatMul(f, w1)
        a = Relu(r)
        e = Gemm(a, w2, b2)
        s = Sigmoid(e)
        axes = Constant<value_ints = [2, 3]>()
        u = Unsqueeze(s, axes)
        y = Mul(x, u)
        """,
        weights={"w1": (CHANNELS, 2), "w2": (2, CHANNELS), "b2": (CHANNELS,)},
    )
    for tensor in model.graph.initializer:
        model.graph.value_info.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    result = tse_onnx.convert(model, rows=5)
    assert [decision.status for decision in result.blocks] == ["converted"]


def test_a_linear_layer_fused_with_its_activation() -> None:
    """onnxruntime's extended optimisation of a network whose excite is made of linear layers."""
    model = block(
        """
        t = Relu(x)
        m = ReduceMean<axes = [2, 3], keepdims = 0>(t)
        a = com.microsoft.FusedGemm<activation = "LeakyRelu", activation_alpha = 0.3, transB = 1>(m, w1, b1)
        e = com.microsoft.FusedGemm<activation = "Sigmoid">(a, w2, b2)
        shape = Constant<value_ints = [-1, 8, 1, 1]>()
        s = Reshape(e, shape)
        y = Mul(t, s)
        """,
        weights={"w1": (2, CHANNELS), "b1": (2,), "w2": (2, CHANNELS), "b2": (CHANNELS,)},
        header=', "com.microsoft" : 1',
    )
    result = tse_onnx.convert(model, rows=5, expect=1)
    assert result.verification is not None
    assert result.verification.passed
    assert not any(node.domain for node in result.model.graph.node)


def test_a_block_in_whole_integer_operators_says_what_to_do() -> None:
    model = block(
        "q = com.microsoft.QLinearGlobalAveragePool(x, sx, zx, sy, zy) y = Identity(x)",
        weights={"sx": (), "zx": (), "sy": (), "zy": ()},
        header=', "com.microsoft" : 1',
    )
    (found,) = tse_onnx.find_blocks(model)
    assert found.refusal is not None
    assert found.refusal.code == "quantised"
    assert "Q/DQ" in found.refusal.text
