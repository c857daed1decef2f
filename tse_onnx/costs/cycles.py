"""The layers of a network on an array of processing elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tse_onnx.costs.array import OS, WS, Array
from tse_onnx.costs.energy import Accesses
from tse_onnx.costs.layer import Layer, Profile
from tse_onnx.shown import Shown


@dataclass(frozen=True)
class LayerCost:
    """A layer on an array: cycles of one of its repetitions by each dataflow that the array has, those of the memory,
    and what it takes with all repetitions, by which `dataflow`, and with which `utilisation`: multiply-accumulates
    over cycles times elements. `accesses` are those of all repetitions by that dataflow, and `energy` is what they cost
    in the unit of the array's energies, None where it has none."""

    layer: Layer
    by_dataflow: Mapping[str, int]
    memory: int
    cycles: int
    dataflow: str
    utilisation: float
    accesses: Accesses
    energy: float | None = None

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

    @property
    def energy(self) -> float | None:
        """The energy of all layers that multiply, in the unit of the array's energies; None where it has none."""
        if self.array.energy is None:
            return None
        return math.fsum(each.energy or 0.0 for each in self.layers.values())


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
    memory = math.ceil(_moved(shape, array) * array.bits / 8 / array.bytes_per_cycle)
    cycles = layer.repeat * (max(memory, found[dataflow]) + array.setup)
    done = accesses_of(layer, array, dataflow)
    energy = None if array.energy is None else array.energy.of(done, array.bits)
    utilisation = (layer.macs or 0) / (cycles * array.elements)
    return LayerCost(layer, found, memory, cycles, dataflow, utilisation, done, energy)


def accesses_of(layer: Layer, array: Array, dataflow: str) -> Accesses:
    """What all repetitions of a layer that multiplies do by a dataflow, in the order in which its cycles are counted.

    Weight stationary reads, for each square of weights, the channels of the square at each pixel of the output, and
    adds to the partial sums in the buffer: each is written, and all but the first are read back. Output stationary
    reads for each square of the output what its windows cover of each channel, once, streams all weights past it but
    those that are zero, and writes each output. Padding is read like everything else."""
    shape = _Shape.of(layer)
    moved = _moved(shape, array)
    if dataflow == WS:
        macs, buffer = layer.macs or 0, _kept_weights(shape, array)
    else:
        macs = math.ceil((layer.macs or 0) * (1 - array.sparsity))
        buffer = _kept_outputs(shape, layer, array)
    return Accesses(macs, buffer * layer.repeat, moved * layer.repeat)


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
            # Whatever axes follow the first are laid side by side.
            height, width = (*layer.output[1:], 1)[0], math.prod(layer.output[2:])
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


def _kept_weights(shape: _Shape, array: Array) -> int:
    """The accesses of weight stationary to the buffer."""
    pixels, inputs = shape.height * shape.width, shape.inputs // shape.groups
    read = shape.groups * _tiles(shape.outputs // shape.groups, array) * inputs * shape.window * pixels
    sums = _tiles(inputs, array) * shape.window
    return read + shape.outputs * pixels * (2 * sums - 1)


def _kept_outputs(shape: _Shape, layer: Layer, array: Array) -> int:
    """The accesses of output stationary to the buffers: of activations, and of weights that stream."""
    squares = _tiles(shape.height, array) * _tiles(shape.width, array)
    streamed = math.ceil(squares * shape.weights * (1 - array.sparsity))
    covered = _covered(layer, 0, shape.height, array.size) * _covered(layer, 1, shape.width, array.size)
    return shape.inputs * covered + streamed + shape.outputs * shape.height * shape.width


def _covered(layer: Layer, axis: int, length: int, size: int) -> int:
    """How many places of the input the windows of each `size` outputs of an axis cover, summed over its `length`.

    A transposed convolution covers at most so many, and the axes behind the first, where there are two of them, too."""
    if axis and len(layer.kernel) > 2:
        return length * math.prod(layer.kernel[1:])
    kernel, stride, dilation = (
        (*of, 1, 1)[axis] for of in (layer.kernel, layer.stride[: len(layer.kernel)], layer.dilations)
    )

    def window(outputs: int) -> int:
        if not outputs:
            return 0
        if layer.operator == "ConvTranspose":
            return -(-(outputs + dilation * (kernel - 1)) // stride)
        if dilation == 1:
            return (outputs - 1) * min(stride, kernel) + kernel
        return len({stride * output + dilation * tap for output in range(outputs) for tap in range(kernel)})

    return length // size * window(size) + window(length % size)


def _moved(shape: _Shape, array: Array) -> int:
    """The numbers that a layer moves to or from external memory."""
    made = shape.outputs * shape.height * shape.width
    maps = [size for size in (shape.read, made) if size * array.bits > 8 * array.buffer]
    return shape.weights + sum(maps)


def _tiles(size: int, array: Array) -> int:
    return -(-size // array.size)
