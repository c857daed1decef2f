"""The models that the fuzzer starts from: small ones of every kind, as bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

import numpy as np
from onnx import ModelProto, TensorProto, parser
from onnx.external_data_helper import set_external_data

import models
import tse_onnx
from tests import spellings
from tests.graphs import INNERS, SQUEEZES, network, se_model
from tests.passes.test_spellings import sensible
from tse_onnx.passes.blocks.tiling import Tiling

WEIGHTS = "<float[2,4,1,1] w1 = {1,-2,3,1,2,1,-1,1}, float[4,2,1,1] w2 = {1,2,-1,1,2,-1,1,3}>"
BLOCK = "d = GlobalAveragePool({x}) e = Conv(d, {w}) r = Relu(e) f = Conv(r, {v}) g = Sigmoid(f) {y} = Mul({x}, g)"
_BODIES = (
    "z = If (c) <then_branch = t () => (float[1,4,16,8] o) {" + BLOCK.format(x="x", w="w1", v="w2", y="o")
    + "}, else_branch = e () => (float[1,4,16,8] p) { p = Identity(x) }> y = Relu(z)"
)  # fmt: skip
_CALLS = "h = Relu(x) y = loc.SE(h, w1, w2)"
_FUNCTION = (
    '<domain: "loc", opset_import: ["" : 17]> SE (a, w, v) => (b) {' + BLOCK.format(x="a", w="w", v="v", y="b") + "}"
)

# What a file of weights beside the model holds, and what lies in the folder above it, which no model may reach.
SIDE_FILE = "weights.bin"
SIDE_DATA = np.linspace(-1, 1, 256, dtype=np.float32).tobytes()
SECRET = b"kept outside the folder of the model"


def some_model(rng: random.Random) -> ModelProto:
    """One of the models, drawn by `rng`."""
    kind = rng.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()])[0]
    model = ModelProto()
    model.CopyFrom(_KINDS[kind][1](rng))
    return model


def _spelled(rng: random.Random) -> ModelProto:
    parts = {
        "squeeze": spellings.SQUEEZES, "excite": spellings.LAYERS, "activation": spellings.ACTIVATIONS,
        "gate": spellings.GATES, "between": spellings.BETWEEN, "broadcast": spellings.BROADCASTS,
        "layout": spellings.LAYOUTS, "weights": spellings.WEIGHTS, "dtype": spellings.DTYPES,
    }  # fmt: skip
    drawn = {name: rng.choice(list(table)) for name, table in parts.items()}
    spelling = spellings.Spelling(
        **drawn, opset=rng.choice((9, 11, 13, 17, 18, 20)), extents=rng.choice(((15, 4), (15, 4), (9,), (4, 3, 2))),
        dynamic_batch=rng.random() < 0.7, gate_first=rng.random() < 0.5, seed=rng.randrange(100),
    )  # fmt: skip
    return spellings.model_of(sensible(spelling))[0]


def _plain(rng: random.Random) -> ModelProto:
    squeeze = rng.choice([name for name, (_, low, high) in SQUEEZES.items() if low <= 18 <= high])
    return se_model(squeeze=squeeze, inner=rng.choice(list(INNERS)), opset=18, stated=rng.random() < 0.5)


@cache
def _scoped(function: bool) -> ModelProto:
    body, functions = (_CALLS, _FUNCTION) if function else (_BODIES, "")
    return parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17, "loc" : 1]>
        agraph (float[1,4,16,8] x, bool c) => (float[1,4,16,8] y) {WEIGHTS} {{ {body} }} {functions}"""
    )


def _external(rng: random.Random) -> ModelProto:
    model = se_model(stated=rng.random() < 0.5)
    for number, tensor in enumerate(model.graph.initializer):
        if tensor.name in ("w1", "w2"):
            set_external_data(tensor, SIDE_FILE, offset=128 * number, length=len(tensor.raw_data))
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
    return model


def _converted(rng: random.Random) -> ModelProto:
    tilings = (Tiling(3), Tiling(5, balanced=True), Tiling(4, squeeze="running"), Tiling(2, squeeze="upper"))
    inner = rng.choice((_plain, _spelled, lambda _: _scoped(rng.random() < 0.5), lambda _: _network()))(rng)
    return tse_onnx.convert(inner, tiling=rng.choice(tilings), verify=False).model


@cache
def _network() -> ModelProto:
    return network(28, 14)


@cache
def _bundled(name: str) -> ModelProto:
    return models.load(name)


_KINDS: dict[str, tuple[float, Callable[[random.Random], ModelProto]]] = {
    "spelled": (8, _spelled),
    "plain": (4, _plain),
    "scoped": (3, lambda rng: _scoped(rng.random() < 0.5)),
    "external": (2, _external),
    "network": (2, lambda rng: _network()),
    "converted": (4, _converted),
    "digits": (0.5, lambda rng: _bundled("digits_se")),
    "bundled": (0.1, lambda rng: _bundled(rng.choice(["mobilenetv3_large_torchscript_18", "ghostnet_torchscript_20"]))),
}
