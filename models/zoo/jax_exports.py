"""Small flax networks with SE blocks by jax2onnx.

pip install jax2onnx flax
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jax2onnx import to_onnx

from models.zoo.facts import Facts, Module, save

SIZE = 64
# (channels into the block, stride of the convolution before it)
STAGES = ((16, 2), (32, 2), (64, 1), (64, 2))
OPSETS = (18, 21, 23)


class SqueezeExcite(nnx.Module):  # type: ignore[misc]
    """As in flax ports of EfficientNet: 1×1 convolutions on a map of one pixel."""

    def __init__(self, channels: int, act: Callable[[jax.Array], jax.Array], gate: Callable[[jax.Array], jax.Array]):
        rngs = nnx.Rngs(channels)
        self.reduce = nnx.Conv(channels, channels // 4, (1, 1), rngs=rngs)
        self.expand = nnx.Conv(channels // 4, channels, (1, 1), rngs=rngs)
        self.act, self.gate = act, gate

    def __call__(self, x: jax.Array) -> jax.Array:
        squeezed = jnp.mean(x, axis=(1, 2), keepdims=True)
        return x * self.gate(self.expand(self.act(self.reduce(squeezed))))


class DenseSqueezeExcite(nnx.Module):  # type: ignore[misc]
    """With linear layers, and without the axes of the map."""

    def __init__(self, channels: int, act: Callable[[jax.Array], jax.Array], gate: Callable[[jax.Array], jax.Array]):
        rngs = nnx.Rngs(channels)
        self.reduce = nnx.Linear(channels, channels // 4, rngs=rngs)
        self.expand = nnx.Linear(channels // 4, channels, rngs=rngs)
        self.act, self.gate = act, gate

    def __call__(self, x: jax.Array) -> jax.Array:
        squeezed = jnp.mean(x, axis=(1, 2))
        gate = self.gate(self.expand(self.act(self.reduce(squeezed))))
        return x * gate[:, None, None, :]


class Network(nnx.Module):  # type: ignore[misc]
    """Stages of a convolution and a block each, and a head."""

    def __init__(self, block: Callable[[int], nnx.Module | None]):
        rngs = nnx.Rngs(0)
        widths = (3, *(channels for channels, _ in STAGES))
        self.convolutions = nnx.List(
            [
                nnx.Conv(into, out, (3, 3), strides=(stride, stride), rngs=rngs)
                for into, (out, stride) in zip(widths, STAGES, strict=False)
            ]
        )
        self.blocks = nnx.List([block(channels) for channels, _ in STAGES])
        self.head = nnx.Linear(widths[-1], 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for convolution, block in zip(self.convolutions, self.blocks, strict=True):
            x = nnx.silu(convolution(x))
            if block is not None:
                x = block(x)
        return self.head(jnp.mean(x, axis=(1, 2)))


BLOCKS: dict[str, Callable[[int], nnx.Module | None]] = {
    "conv_relu_sigmoid": lambda channels: SqueezeExcite(channels, nnx.relu, nnx.sigmoid),
    "conv_silu_sigmoid": lambda channels: SqueezeExcite(channels, nnx.silu, nnx.sigmoid),
    "conv_relu_hard": lambda channels: SqueezeExcite(channels, nnx.relu, nnx.hard_sigmoid),
    "dense_relu_sigmoid": lambda channels: DenseSqueezeExcite(channels, nnx.relu, nnx.sigmoid),
    "dense_gelu_sigmoid": lambda channels: DenseSqueezeExcite(channels, nnx.gelu, nnx.sigmoid),
    "none": lambda channels: None,
}


def make(folder: Path, names: Sequence[str]) -> None:
    """Export every network, or the named ones, at every opset; static and dynamic batches take turns."""
    for name, block in BLOCKS.items():
        if names and f"flax_{name}" not in names:
            continue
        size, modules = SIZE, []
        for channels, stride in STAGES:
            size //= stride
            if name != "none":
                modules.append(Module("se", channels, size, size))
        for place, opset in enumerate(OPSETS):
            dynamic = place % 2 == 0
            batch: str | int = "B" if dynamic else 1
            first = {"inputs_as_nchw": [0]} if place == 1 else {}
            shape = (batch, SIZE, SIZE, 3)
            try:
                model = to_onnx(Network(block), [shape], opset=opset, **first)
            except Exception as error:
                print(f"{name}: opset {opset} fails: {type(error).__name__}: {error}"[:300], flush=True)
                continue
            exporter = f"jax2onnx {version('jax2onnx')}" + (", NCHW input" if first else "")
            source = f"flax {version('flax')}, jax {version('jax')}"
            save(model, Facts(f"flax_{name}", source, exporter, opset, dynamic, tuple(modules)), folder)
