"""The oracle of a tiled block: the original block's own nodes, run by onnxruntime for each tile.

It follows from the definition of a tile and shares nothing with the rewrite: no pooling, no resizing, no cropping of a
gate. Two ways, by what the block's nodes allow:

* the block runs on the crop of its input that is the tile;
* where the mean is over other pixels than those that the gate scales, or where its nodes hold the size of the map fast
  (an Expand to it, a kernel as large as it), a map in which every pixel is the tile's mean, taken by numpy in double
  precision, gives the gate of the tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from tse_onnx.data.feed import Feed
from tse_onnx.errors import ModelError
from tse_onnx.passes.block import Anatomy, Block
from tse_onnx.passes.excerpt import excerpt
from tse_onnx.passes.folding import fold_of
from tse_onnx.passes.forms.views import SHAPE_SLOTS
from tse_onnx.passes.frozen import Frozen
from tse_onnx.passes.index import GraphIndex
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.scope import Scope
from tse_onnx.passes.shapes import TensorType
from tse_onnx.passes.tiling import Cover, Region, Running, Tile
from tse_onnx.verification.deadline import Deadline
from tse_onnx.verification.result import BlockCheck
from tse_onnx.verification.session import Session

# Relative to the largest value of the block's output: the descriptor is a sum of hundreds of values in another order.
_RELATIVE: dict[int, float] = {
    TensorProto.DOUBLE: 1e-9,
    TensorProto.FLOAT: 2e-5,
    TensorProto.FLOAT16: 1e-2,
    TensorProto.BFLOAT16: 6e-2,
}
# Where the way to the gate is quantised, the last bit of a mean decides now and then between two steps of a quantiser.
_QUANTISED = 2e-2


@dataclass(frozen=True)
class Original:
    """The model that a block came from, its index, and the folder of its external weights."""

    model: ModelProto
    index: GraphIndex
    folder: Path | None
    arguments: Feed = field(default_factory=dict)
    """Values that the block reads from outside: the arguments of the function that it stands in."""
    deadline: Deadline = field(default_factory=Deadline)


def probes(block: Block, how: Cover | Frozen, index: GraphIndex) -> tuple[str, ...]:
    """The values of the converted model that the oracle compares or starts from."""
    anatomy = _anatomy(block)
    assert block.scale is not None
    if isinstance(how, Frozen):
        return _ends(block, index)
    return (anatomy.root, anatomy.squeeze.input, anatomy.map, block.scale.output)


def size_probes(block: Block, how: Cover | Frozen, index: GraphIndex) -> tuple[str, ...]:
    """The computed sizes that the original block reads: taken from a run of the original model."""
    if isinstance(how, Frozen):
        return ()
    return tuple(
        name
        for step in _anatomy(block).steps
        for slot, name in enumerate(index.nodes[step.position].input)
        if slot == SHAPE_SLOTS.get(index.nodes[step.position].op_type) and name and not index.is_constant(name)
    )


def _ends(block: Block, index: GraphIndex) -> tuple[str, str]:
    """What a block with a frozen gate starts from, and what it makes: with the convolution that the gate went into."""
    assert block.scale is not None
    fold = fold_of(block, index)
    return (_anatomy(block).map, block.scale.output) if fold is None else (fold.source, fold.target)


def check_block(original: Original, block: Block, how: Cover | Frozen, values: Feed) -> BlockCheck:
    """Compare what the converted block made of its input with the original block for each tile.

    `values` holds the `probes` of the converted model and the `size_probes` of the original.
    """
    if isinstance(how, Frozen):
        return _check_frozen(original, block, how, values)
    assert block.scale is not None
    cover, y = how, values[block.scale.output]
    anatomy = _anatomy(block)
    if tuple(y.shape[anatomy.map_axes.index(letter)] for letter in _letters(anatomy)) != cover.extents:
        return BlockCheck(block.name, float("inf"), 0.0)
    by_crop = isinstance(cover, Tile) and _takes_any_size(anatomy, original.index)
    error = _Error(y.dtype)
    seen = np.zeros(cover.extents, bool)
    for target, reference in (_by_crops if by_crop else _by_means)(original, block, cover, values):
        original.deadline.check()
        error.add(y[_slices(anatomy.map_axes, anatomy, target)], reference)
        seen[target] = True
    largest = error.largest if seen.all() else float("inf")
    return BlockCheck(block.name, largest, _tolerance(block, original.index, error))


class _Error:
    """The largest difference from a reference and the largest value of it, added up tile by tile: no more is held."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.largest = self.magnitude = 0.0

    def add(self, values: np.ndarray, reference: np.ndarray) -> None:
        """Take a tile into account; not a number stays so."""
        one, two = _widened(values), _widened(reference)
        difference = float(np.max(np.abs(one - two), initial=0.0)) if one.shape == two.shape else float("inf")
        self.largest = float(np.maximum(self.largest, difference))
        self.magnitude = float(np.maximum(self.magnitude, np.max(np.abs(two), initial=0.0)))


def _check_frozen(original: Original, block: Block, frozen: Frozen, values: Feed) -> BlockCheck:
    """The original's own nodes, fed with the constants in place of the gate."""
    anatomy, (source, target) = _anatomy(block), _ends(block, original.index)
    given, made = values[source], values[target]
    shape = [-1 if axis == "C" else 1 for axis in anatomy.map_axes]
    feed = {source: given, anatomy.gate: np.array(frozen.gate, given.dtype).reshape(shape), **original.arguments}
    alone = block_alone(original, feed, target)
    reference = Session(alone, original.folder, threads=1, alone=True).run(feed, [target])[target]
    error = _Error(made.dtype)
    error.add(made, reference)
    return BlockCheck(block.name, error.largest, _tolerance(block, original.index, error))


def _tolerance(block: Block, index: GraphIndex, error: _Error) -> float:
    """The absolute error that rounding explains, for an output of this type and magnitude."""
    relative = _RELATIVE.get(onnx.helper.np_dtype_to_tensor_dtype(error.dtype), 2e-5)
    if any(index.nodes[step.position].op_type == "QuantizeLinear" for step in _anatomy(block).steps):
        relative = max(relative, _QUANTISED)
    return relative * float(np.maximum(error.magnitude, 1e-3))


def _widened(values: np.ndarray) -> np.ndarray:
    """In a type whose rounding is far below the tolerance."""
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)


def _anatomy(block: Block) -> Anatomy:
    assert block.anatomy is not None
    return block.anatomy


def _letters(anatomy: Anatomy) -> str:
    return "".join(anatomy.input_axes[axis] for axis in anatomy.squeeze.spatial)


def _takes_any_size(anatomy: Anatomy, index: GraphIndex) -> bool:
    """Whether the nodes of a block take a smaller map: a descriptor's own pixels, or its mean alone."""
    squeeze = index.nodes[anatomy.squeeze.nodes[0]]
    if squeeze.input[0] != anatomy.squeeze.input:
        return False
    if squeeze.op_type not in ("GlobalAveragePool", "ReduceMean"):
        return False
    fixed = {"Expand", "Tile"}
    return not any(
        index.nodes[step.position].op_type in fixed
        or any(not index.is_constant(name) for name in _size_operands(index, step.position))
        for step in anatomy.steps
    )


def _size_operands(index: GraphIndex, position: int) -> Iterator[str]:
    node = index.nodes[position]
    slot = SHAPE_SLOTS.get(node.op_type, len(node.input))
    if slot < len(node.input) and node.input[slot]:
        yield node.input[slot]


def _by_crops(original: Original, block: Block, cover: Cover, values: Feed) -> Iterator[tuple[Region, np.ndarray]]:
    """The original block on every tile of its input: the tile, and what it makes there."""
    assert block.scale is not None
    anatomy = _anatomy(block)
    x = values[anatomy.root]
    alone = block_alone(original, {anatomy.root: x, **original.arguments}, block.scale.output)
    session = Session(alone, original.folder, threads=1, alone=True)
    for source, target in cover.pieces():
        crop = _slices(anatomy.root_axes, anatomy, source)
        feed = {anatomy.root: np.ascontiguousarray(x[crop]), **original.arguments}
        yield target, session.run(feed, [block.scale.output])[block.scale.output]


def _by_means(original: Original, block: Block, cover: Cover, values: Feed) -> Iterator[tuple[Region, np.ndarray]]:
    """The gates that the original block gives for each tile's mean, times what they scale there. The block is fed with
    a map that is that mean everywhere: of one pixel, where its nodes do not want the whole size."""
    anatomy = _anatomy(block)
    x, scaled = values[anatomy.squeeze.input], values[anatomy.map]
    sizes = {name: values[name] for name in size_probes(block, cover, original.index)} | dict(original.arguments)
    alone = block_alone(original, {anatomy.squeeze.input: x, **sizes}, anatomy.gate)
    session = Session(alone, original.folder, threads=1, alone=True)
    one_pixel = _takes_any_size(anatomy, original.index)
    for number, (source, target) in enumerate(cover.pieces()):
        crop = x[_slices(anatomy.input_axes, anatomy, source)]
        mean = crop.mean(axis=anatomy.squeeze.spatial, keepdims=True, dtype=np.float64)
        if isinstance(cover, Running) and cover.calibration is not None:
            shape = [-1 if axis == anatomy.squeeze.channel else 1 for axis in range(x.ndim)]
            offsets = np.array(cover.calibration.offsets[number]).reshape(shape)
            mean = cover.calibration.slopes[number] * mean + offsets
        mean = mean.astype(x.dtype)
        given = mean if one_pixel else _with_mean(mean, x.shape, anatomy.squeeze.spatial)
        gate = session.run({anatomy.squeeze.input: given, **sizes}, [anatomy.gate])[anatomy.gate]
        place = _slices(anatomy.map_axes, anatomy, target)
        try:
            spread = np.broadcast_to(gate, scaled.shape)
        except ValueError:  # the map has not the size that the model states
            yield target, gate
            continue
        yield target, scaled[place] * spread[place]


def _with_mean(mean: np.ndarray, shape: tuple[int, ...], spatial: tuple[int, ...]) -> np.ndarray:
    """A map of this shape and mean: all of it in one pixel, so that a sum in single precision of thousands of pixels is
    exact. In half precision that would overflow, and every pixel is the mean."""
    if mean.dtype not in (np.float32, np.float64):
        return np.ascontiguousarray(np.broadcast_to(mean, shape))
    made = np.zeros(shape, mean.dtype)
    corner = tuple(slice(0, 1) if axis in spatial else slice(None) for axis in range(len(shape)))
    made[corner] = mean * math.prod(shape[axis] for axis in spatial)
    return made


def _slices(axes: str, anatomy: Anatomy, region: tuple[slice, ...]) -> tuple[slice, ...]:
    by_letter = dict(zip(_letters(anatomy), region, strict=True))
    return tuple(by_letter.get(letter, slice(None)) for letter in axes)


def block_alone(original: Original, feeds: Feed, *outputs: str) -> ModelProto:
    """A model of the original's nodes between `feeds` and `outputs`, with the weights that they read."""
    part = excerpt(original.index, feeds, outputs)
    if part.missing:
        raise ModelError(f"the block cannot be run alone: {quoted(part.missing[0])} comes from outside")
    kinds = {
        name: TensorType(onnx.helper.np_dtype_to_tensor_dtype(array.dtype), (None,) * array.ndim)
        for name, array in feeds.items()
    }
    return part.model(original.model, kinds, outputs)


def check_inner(
    original: Original, converted: Original, scope: Scope, block: Block, how: Cover | Frozen, seed: int, threads: int
) -> BlockCheck:
    """The same check for a block inside a body or function, which no run of the whole model lets one see: both blocks
    run alone, on seeded noise."""
    assert block.scale is not None
    anatomy = _anatomy(block)
    random = np.random.default_rng(seed)
    sizes = how.extents if not isinstance(how, Frozen) else tuple(extent or 1 for extent in block.extents)
    extents = {**dict(zip(_letters(anatomy), sizes, strict=True)), "C": block.channels or 1, "N": 1}
    kind = scope.types[anatomy.root]
    shape = tuple(extents[letter] for letter in anatomy.root_axes)
    feeds = {anatomy.root: _noise(random, shape, kind.dtype)}
    wanted = (block.scale.output, *size_probes(block, how, original.index))
    for name in excerpt(original.index, feeds, wanted).missing:  # arguments of a function
        given = scope.types[name]
        dims = tuple(dim if isinstance(dim, int) else 1 for dim in given.dims or ())
        feeds[name] = _noise(random, dims, given.dtype)
    values = dict(feeds)
    for source, names in (
        (original, size_probes(block, how, original.index)),
        (converted, [name for name in probes(block, how, original.index) if name not in feeds]),
    ):
        if names:
            session = Session(
                block_alone(source, feeds, *names), source.folder, threads=threads, deadline=source.deadline
            )
            values |= session.run(feeds, names)
    arguments = {name: array for name, array in feeds.items() if name != anatomy.root}
    return check_block(replace(original, arguments=arguments), block, how, values)


def _noise(random: np.random.Generator, shape: tuple[int, ...], dtype: int) -> np.ndarray:
    return random.standard_normal(shape).astype(onnx.helper.tensor_dtype_to_np_dtype(dtype))
