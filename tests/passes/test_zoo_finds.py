"""What real exports taught about types that a model states; its other finds are graphs in tests/cases."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, TensorProto, helper, numpy_helper

import tse_onnx
from tests.cases import FOLDER, read

CHANNELS = 8


def block(lines: str, *, weights: dict[str, tuple[int, ...]]) -> ModelProto:
    """A model of parsed nodes from x [1, 8, 12, 8] to y, with weights of noise."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, {CHANNELS}, 12, 8] x) => (float y) {{ {lines} }}"""
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


def test_linear_layers_fused_with_their_activations_become_operators_of_onnx() -> None:
    model = read(FOLDER / "linear_layers_fused_with_their_activations.onnxtxt").model
    result = tse_onnx.convert(model, rows=5, expect=1)
    assert not any(node.domain for node in result.model.graph.node)
