"""The layers of a network on an array of processing elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tse_onnx.costs.array import OS, WS, Array
from tse_onnx.costs.layer import Layer, Profile
from tse_onnx.shown import Shown


@dataclass(frozen=True)
class LayerCost:
    """A layer on an array: cycles of one of its repetitions by each dataflow that the array has, those of the memory,
    and what it takes with all repetitions, by which `dataflow`, and with which `utilisation`: multiply-accumulates
    over cycles times elements."""

    layer: Layer
    by_dataflow: Mapping[str, int]
    memory: int
    cycles: int
    dataflow: str
    utilisation: float

    @property
    def memory_bound(self) -> bool:
        """Whether it waits for the memory."""
        return self.memory > self.by_dataflow[self.dataflow]


@dataclass(frozen=True, repr=False)
class Cost(Shown):
    """The layers that multiply, on an array, by the names of layers. Layers that multiply nothing run beside the array:
    no cycle of it is theirs."""

    array: Array
    layers: Mapping[str, LayerCost]

    @property
    def cycles(self) -> int:
        """Cycles of all layers together."""
        return sum(each.cycles for each in self.layers.values())

    @property
    def utilisation(self) -> float:
        """Multiply-accumulates over cycles times elements, of all layers together."""
        macs = sum(each.layer.macs or 0 for each in self.layers.values())
        return macs / (self.cycles * self.array.elements) if self.layers else 0.0


@dataclass(frozen=True)
class Costed:
    """A profile, and what its layers take on an array, where one was named."""

    profile: Profile
    cost: Cost | None = None


def cost_on(profile: Profile, array: Array) -> Cost:
    """What the layers of a profile take on an array."""
    return Cost(array, {layer.name: layer_on(layer, array) for layer in profile.layers if layer.macs})


def layer_on(layer: Layer, array: Array) -> LayerCost:
    """What a layer that multiplies takes on an array.

    With c(a) for a over the array's size N, rounded up, weight stationary keeps a square of channels against channels
    and streams the map past it: g · c(Ci / g) · c(Co / g) · k · k · (H · W + 2 N); a product of one vector, c(Ci) ·
    c(Co). Output stationary keeps a square of the output and streams the weights: c(H) · c(W) · (Co · Ci / g · k · k ·
    (1 − sparsity) + load · Ci · N + drain · Co). Memory moves the weights, and the input or the output where it is
    larger than the buffer. The larger of both counts, and the setup."""
    shape = _Shape.of(layer)
    found = {name: math.ceil(_CYCLES[name](shape, array)) for name in array.dataflows}
    dataflow = min(found, key=lambda name: found[name])
    memory = math.ceil(_moved(shape, array) / array.bytes_per_cycle)
    cycles = layer.repeat * (max(memory, found[dataflow]) + array.setup)
    return LayerCost(layer, found, memory, cycles, dataflow, (layer.macs or 0) / (cycles * array.elements))


@dataclass(frozen=True)
class _Shape:
    """A layer as a convolution of `inputs` to `outputs` channels in `groups` over a map of the output's `height` and
    `width`, of which it reads `read` elements; a `vector` is what is no convolution and has a map of one pixel."""

    groups: int
    inputs: int
    outputs: int
    window: int
    height: int
    width: int
    read: int
    vector: bool

    @classmethod
    def of(cls, layer: Layer) -> _Shape:
        read, window = math.prod(layer.input), math.prod(layer.kernel)
        if layer.kernel:
            height, width = (*layer.output[1:], 1, 1)[:2]
            # Of a transposed convolution every element of the input meets the kernel.
            inputs = layer.groups * max(1, layer.summed // window)
            return cls(layer.groups, inputs, layer.output[0], window, height, width, read, False)
        # A product [.., M, K] · [K, N]: M pixels, and K and N channels.
        pixels = math.prod(layer.output[:-1])
        return cls(1, layer.summed, layer.output[-1], 1, pixels, 1, read, pixels == 1)

    @property
    def weights(self) -> int:
        """How many numbers it multiplies by."""
        return self.outputs * (self.inputs // self.groups) * self.window


def _weight_stationary(shape: _Shape, array: Array) -> float:
    squares = _tiles(shape.inputs // shape.groups, array) * _tiles(shape.outputs // shape.groups, array)
    if shape.vector:
        return squares
    return shape.groups * squares * shape.window * (shape.height * shape.width + 2 * array.size)


def _output_stationary(shape: _Shape, array: Array) -> float:
    streamed = shape.weights * (1 - array.sparsity)
    moved = array.load * shape.inputs * array.size + array.drain * shape.outputs
    return _tiles(shape.height, array) * _tiles(shape.width, array) * (streamed + moved)


_CYCLES: Mapping[str, Callable[[_Shape, Array], float]] = {WS: _weight_stationary, OS: _output_stationary}


def _moved(shape: _Shape, array: Array) -> float:
    """The bytes that a layer moves to or from external memory."""
    made = shape.outputs * shape.height * shape.width
    maps = [size for size in (shape.read, made) if size * array.bits > 8 * array.buffer]
    return (shape.weights + sum(maps)) * array.bits / 8


def _tiles(size: int, array: Array) -> int:
    return -(-size // array.size)
