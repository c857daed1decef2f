"""Small models with squeeze-and-excite blocks, as ONNX text; every part of a block can be spelled in several ways.

The block of `se_model` reads `h`, made from the graph's input by a node before it, and its result `s` is read by a node
behind it, so that an edit has neighbours that must not change.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper, parser

from tests.running import newest_opset

NEWEST_OPSET = newest_opset()

# Spelling of the squeeze: its lines, and the opsets it exists in.
SQUEEZES: Mapping[str, tuple[str, int, int]] = {
    "GlobalAveragePool": ("d = GlobalAveragePool(h)", 1, 99),
    "ReduceMean [2,3]": ("d = ReduceMean<axes = [2, 3], keepdims = 1>(h)", 1, 17),
    "ReduceMean [-1,-2]": ("d = ReduceMean<axes = [-1, -2], keepdims = 1>(h)", 11, 17),
    "ReduceMean [-2,-1]": ("d = ReduceMean<axes = [-2, -1]>(h)", 11, 17),
    "ReduceMean input [2,3]": (
        "axes = Constant<value = int64[2] {2, 3}>()\n d = ReduceMean<keepdims = 1>(h, axes)", 18, 99),
    "ReduceMean input [-1,-2]": ("axes = Constant<value_ints = [-1, -2]>()\n d = ReduceMean(h, axes)", 18, 99),
    "ReduceMean initializer": ("d = ReduceMean<noop_with_empty_axes = 0>(h, se_axes)", 18, 99),
}  # fmt: skip
INNERS: Mapping[str, tuple[str, int, int]] = {
    "Relu": ("a = Relu(r)", 1, 99),
    "SiLU": ("rs = Sigmoid(r)\n a = Mul(r, rs)", 1, 99),
    "SiLU swapped": ("rs = Sigmoid(r)\n a = Mul(rs, r)", 1, 99),
    "HardSwish": ("a = HardSwish(r)", 14, 99),
    "HardSwish decomposed": ("rs = HardSigmoid<alpha = 0.16666667, beta = 0.5>(r)\n a = Mul(r, rs)", 1, 99),
    "HardSwish by Clip": (
        "r3 = Add(r, three)\n rc = Clip(r3, zero, six)\n rm = Mul(r, rc)\n a = Div(rm, six)", 11, 99),
}  # fmt: skip
GATES: Mapping[str, str] = {
    "Sigmoid": "g = Sigmoid(e)",
    "HardSigmoid": "g = HardSigmoid<alpha = 0.16666667, beta = 0.5>(e)",
}
_ONNX_TYPES = {np.dtype(np.float32): "float", np.dtype(np.float16): "float16", np.dtype(np.float64): "double"}


def text_model(
    body: str,
    weights: Mapping[str, np.ndarray] | None = None,
    *,
    inputs: str = "float[N, 8, 16, 12] x",
    outputs: str = "float[N, 8, 16, 12] y",
    opset: int = 17,
    ir: int = 8,
    imports: str = "",
    name: str = "g",
    weights_are_inputs: bool = False,
) -> ModelProto:
    """A model of the nodes in `body`, with `weights` as initializers."""
    model = parser.parse_model(
        f'<ir_version: {ir}, opset_import: ["" : {opset}{imports}]>\n{name} ({inputs}) => ({outputs}) {{\n{body}\n}}'
    )
    for key, array in (weights or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(array, key))
        if weights_are_inputs:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            model.graph.input.append(helper.make_tensor_value_info(key, kind, array.shape))
    return model


def se_weights(channels: int = 8, reduced: int = 4, dtype: object = np.float32, seed: int = 1) -> dict[str, np.ndarray]:
    """Weights whose gates differ visibly between descriptors."""
    random = np.random.default_rng(seed)
    made = {
        "w1": random.standard_normal((reduced, channels, 1, 1)),
        "b1": random.standard_normal(reduced) / 4 + 0.5,
        "w2": random.standard_normal((channels, reduced, 1, 1)),
        "b2": random.standard_normal(channels) / 4,
    }
    return {name: array.astype(dtype) for name, array in made.items()}


def se_body(
    squeeze: str = "GlobalAveragePool", inner: str = "Relu", gate: str = "Sigmoid", gate_first: bool = False
) -> str:
    """The lines of one block, from `h` to `s`."""
    scale = "s = Mul(g, h)" if gate_first else "s = Mul(h, g)"
    return "\n".join(
        (SQUEEZES[squeeze][0], "r = Conv(d, w1, b1)", INNERS[inner][0], "e = Conv(a, w2, b2)", GATES[gate], scale)
    )


def se_model(
    height: int = 16,
    width: int = 12,
    channels: int = 8,
    *,
    squeeze: str = "GlobalAveragePool",
    inner: str = "Relu",
    gate: str = "Sigmoid",
    gate_first: bool = False,
    opset: int = 17,
    ir: int = 8,
    dtype: object = np.float32,
    reduced: int = 4,
    batch: object = "N",
    stated: bool = False,
) -> ModelProto:
    """One block between a LeakyRelu and a Neg; `stated` writes down the types of all values in between, as torch does.

    At IR version 3 every weight is an input as well, as it has to be.
    """
    kind = _ONNX_TYPES[np.dtype(dtype)]
    shape = f"{kind}[{batch}, {channels}, {height}, {width}]"
    weights = se_weights(channels, reduced, dtype)
    body = se_body(squeeze, inner, gate, gate_first)
    extra = {
        "se_axes": np.array([2, 3], np.int64),
        "zero": np.array(0, dtype), "three": np.array(3, dtype), "six": np.array(6, dtype),
    }  # fmt: skip
    weights |= {name: array for name, array in extra.items() if name in body}
    model = text_model(
        f"h = LeakyRelu<alpha = 0.5>(x)\n{body}\ny = Neg(s)",
        weights,
        inputs=f"{shape} x", outputs=f"{shape} y", opset=opset, ir=ir, weights_are_inputs=ir < 4,
    )  # fmt: skip
    if stated:
        model.graph.value_info.extend(onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info)
    return model


def network(*heights: int, channels: int = 8, width: int = 12, opset: int = 17) -> ModelProto:
    """Blocks in a row on maps of `heights` (each a whole part of the one before), then a classifier's head."""
    random = np.random.default_rng(5)
    lines, weights, now, height = [], {}, "x", heights[0]
    for number, wanted in enumerate(heights):
        if wanted != height:
            stride = height // wanted
            lines.append(f"p{number} = AveragePool<kernel_shape = [{stride}, 1], strides = [{stride}, 1]>({now})")
            now, height = f"p{number}", wanted
        weights |= {f"{name}_{number}": array for name, array in se_weights(channels, seed=number).items()}
        lines += [
            f"[block{number}_squeeze] d{number} = GlobalAveragePool({now})",
            f"[block{number}_reduce] r{number} = Conv(d{number}, w1_{number}, b1_{number})",
            f"[block{number}_relu] a{number} = Relu(r{number})",
            f"[block{number}_expand] e{number} = Conv(a{number}, w2_{number}, b2_{number})",
            f"[block{number}_gate] g{number} = Sigmoid(e{number})",
            f"[block{number}_scale] s{number} = Mul({now}, g{number})",
        ]
        now = f"s{number}"
    weights["wh"] = random.standard_normal((channels, 10)).astype(np.float32)
    lines += [f"[head_pool] hp = GlobalAveragePool({now})", "hf = Flatten(hp)", "y = MatMul(hf, wh)"]
    return text_model(
        "\n".join(lines), weights,
        inputs=f"float[N, {channels}, {heights[0]}, {width}] x", outputs="float[N, 10] y", opset=opset,
    )  # fmt: skip


def plain_model(height: object = 16, width: object = 12) -> ModelProto:
    """A convolution without any pooling: nothing to find."""
    weight = np.random.default_rng(3).standard_normal((4, 3, 3, 3)).astype(np.float32)
    return text_model(
        "y = Conv(x, w)", {"w": weight}, inputs=f"float[N, 3, {height}, {width}] x", outputs="float[N, 4, U, V] y"
    )


def some_input(model: ModelProto, batch: int = 2, seed: int = 0) -> np.ndarray:
    """Noise for the input of `se_model`, with a slope over the rows that makes the tiles differ."""
    kind = model.graph.input[0].type.tensor_type
    dims = [dim.dim_value or batch for dim in kind.shape.dim]
    noise = np.random.default_rng(seed).standard_normal(dims)
    slope = np.linspace(-2, 2, dims[2]).reshape(1, 1, -1, 1)
    return (noise + slope).astype(helper.tensor_dtype_to_np_dtype(kind.elem_type))


def video_network():
    """Two blocks behind a convolution of an image, and a head of ten classes."""
    random = np.random.default_rng(7)
    body = se_body("GlobalAveragePool", "Relu", "Sigmoid", False)
    second = body
    for letter in "hdraegs":
        second = second.replace(f"{letter} =", f"{letter}2 =").replace(f"({letter}", f"({letter}2")
        second = second.replace(f", {letter})", f", {letter}2)")
    weights = se_weights() | {
        "wf": random.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "wm": random.standard_normal((8, 8, 1, 1)).astype(np.float32),
        "wh": random.standard_normal((8, 10)).astype(np.float32),
    }
    text = (
        f"h = Conv(x, wf)\n{body}\nh2 = Conv(s, wm)\n{second}\np = GlobalMaxPool(s2)\nf = Flatten(p)\ny = MatMul(f, wh)"
    )
    return text_model(text, weights, inputs="float[N, 3, 18, 14] x", outputs="float[N, 10] y")
