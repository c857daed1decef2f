"""Small networks as hls4ml takes them: residual, squeeze-and-excite, tiled, inverted bottlenecks, a U-Net.

hls4ml multiplies maps of one size alone, so that a gate is spread over its map by a Resize to the nearest.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, numpy_helper, parser

SIZE, CHANNELS = 8, 4

_ONE = "Conv<kernel_shape = [1, 1]>"
_THREE = "Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"
_FIVE = "Conv<kernel_shape = [5, 5], pads = [2, 2, 2, 2]>"
_HALVED = "Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>"
_NEAREST = 'Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
_HEAD = f"s = {_ONE}(x, w1)\n"


def _gate(source: str, rows: int, scales: str) -> str:
    """A block on `source`, whose squeeze is a mean of so many rows; `z` is scaled."""
    return f"""
        d = AveragePool<kernel_shape = [{rows}, {SIZE}], strides = [{rows}, {SIZE}]>({source})
        p = {_ONE}(d, w1)
        q = Relu(p)
        t = {_ONE}(q, w1)
        g = Sigmoid(t)
        u = {_NEAREST}(g, , {scales})
        z = Mul({source}, u)
    """


NETWORKS: Mapping[str, str] = {
    "residual, the skip read first": f"c = {_THREE}(s, w3)\ny = Add(s, c)",
    "residual, the skip read second": f"c = {_THREE}(s, w3)\ny = Add(c, s)",
    "residual, an activation on the skip": f"c = {_THREE}(s, w3)\nr = Relu(s)\ny = Add(c, r)",
    "residual, two of them": f"a = {_THREE}(s, w3)\nc = {_FIVE}(a, w5)\n"
    f"d = Add(c, s)\ne = {_THREE}(d, w3)\ny = Add(e, d)",
    "residual, strides on both branches": f"a = {_HALVED}(s, w3)\nb = {_THREE}(a, w3)\n"
    f"f = {_HALVED}(s, w3)\ny = Add(b, f)",
    "inverted bottleneck": f"e = {_ONE}(s, w1)\nf = Relu(e)\nh = {_FIVE}(f, w5)\n"
    f"k = Relu(h)\nl = {_ONE}(k, w1)\ny = Add(l, s)",
    "squeeze-and-excite": f"{_gate('s', SIZE, 'whole')}\ny = {_ONE}(z, w1)",
    "tiles of four rows": f"{_gate('s', 4, 'four')}\ny = {_ONE}(z, w1)",
    "tiles of two rows": f"{_gate('s', 2, 'two')}\ny = {_ONE}(z, w1)",
    "inverted bottleneck with squeeze-and-excite": f"e = {_ONE}(s, w1)\nf = Relu(e)\nh = {_THREE}(f, w3)\nk = Relu(h)\n"
    f"{_gate('k', SIZE, 'whole')}\nl = {_ONE}(z, w1)\ny = Add(l, s)",
    "inverted bottleneck with tiles of two rows": f"e = {_ONE}(s, w1)\nf = Relu(e)\nh = {_THREE}(f, w3)\nk = Relu(h)\n"
    f"{_gate('k', 2, 'two')}\nl = {_ONE}(z, w1)\ny = Add(l, s)",
    "U-Net": f"e = {_THREE}(s, w3)\nd = {_HALVED}(e, w3)\nm = {_THREE}(d, w3)\nu = {_NEAREST}(m, , twice)\n"
    f"c = Concat<axis = 1>(e, u)\ny = {_THREE}(c, w8)",
}  # fmt: skip
"""What stands behind a first convolution of each network, as ONNX text."""


def network(name: str) -> ModelProto:
    """A network on a map of 8 × 8, with its nodes named as their outputs are; its weights are noise."""
    shape = f"float[1, {CHANNELS}, {SIZE}, {SIZE}]"
    head = f'<ir_version: 8, opset_import: ["" : 17]>\nnet ({shape} x) => (float[1, a, b, c] y)'
    model = parser.parse_model(f"{head} {{\n{_HEAD}{NETWORKS[name]}\n}}")
    random = np.random.default_rng(0)
    weights = {f"w{size}": random.standard_normal((CHANNELS, CHANNELS, size, size)) / 8 for size in (1, 3, 5)}
    weights["w8"] = random.standard_normal((CHANNELS, 2 * CHANNELS, 3, 3)) / 8
    weights |= {"whole": np.array([1, 1, SIZE, SIZE]), "four": np.array([1, 1, 4, SIZE]),
                "two": np.array([1, 1, 2, SIZE]), "twice": np.array([1, 1, 2, 2])}  # fmt: skip
    used = {each for node in model.graph.node for each in node.input}
    for key, array in weights.items():
        if key in used:
            model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), key))
    for node in model.graph.node:
        node.name = node.output[0]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model
