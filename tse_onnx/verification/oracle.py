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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce, singledispatch
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from tse_onnx.data.feed import Feed
from tse_onnx.errors import ModelError
from tse_onnx.passes.blocks.block import Anatomy, Convertible
from tse_onnx.passes.blocks.choice import Form
from tse_onnx.passes.blocks.fold_gate import fold_of
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.blocks.previous import Carried
from tse_onnx.passes.blocks.recompute import Recomputed
from tse_onnx.passes.blocks.tiling import Cover, Cut, Region, Running, Tile, Window
from tse_onnx.passes.edit.excerpt import excerpt
from tse_onnx.passes.forms.quantised import QUANTISED
from tse_onnx.passes.forms.squeeze import MEAN, MEAN_SQUARE, NORM, SUM_SQUARE, Squeeze
from tse_onnx.passes.forms.views import SHAPE_SLOTS
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.layout import OWN
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.deadline import Deadline
from tse_onnx.runtime.session import Session
from tse_onnx.runtime.shaken import DRAWS, Shaken, rounding_of, shake, signs
from tse_onnx.verification.comparison import Again, Comparison
from tse_onnx.verification.result import BlockCheck
from tse_onnx.verification.spread import Gates, Spread


@dataclass(frozen=True)
class Piece:
    """What the original block makes of one descriptor.

    `region` is where, `made` what it scales the map there to, and `gate` the gate by sample and channel; `again` makes
    the same from inputs that are changed by as much as rounding does.
    """

    region: Region
    made: np.ndarray
    gate: np.ndarray
    again: Again


@dataclass(frozen=True)
class Original:
    """The model that a block came from, its index, and the folder of its external weights."""

    model: ModelProto
    index: GraphIndex
    folder: Path | None
    arguments: Feed = field(default_factory=dict)
    """Values that the block reads from outside: the arguments of the function that it stands in."""
    deadline: Deadline = field(default_factory=Deadline)


@singledispatch
def probes(form: object, block: Convertible, index: GraphIndex) -> tuple[str, ...]:
    """The values of the converted model that the oracle compares or starts from."""
    return (start(form, block, index), block.made)


@probes.register
def _(form: Cut, block: Convertible, index: GraphIndex) -> tuple[str, ...]:
    anatomy = block.anatomy
    return (*anatomy.roots, anatomy.squeeze.input, *_in_rows(anatomy), block.made)


@probes.register
def _(form: Frozen, block: Convertible, index: GraphIndex) -> tuple[str, ...]:
    return (*block.anatomy.maps[1:], *_ends(block, index))


@singledispatch
def start(form: object, block: Convertible, index: GraphIndex) -> str:
    """The value that a block in this form begins with."""
    return block.anatomy.root


@start.register
def _(form: Recomputed, block: Convertible, index: GraphIndex) -> str:
    return form.held


@start.register
def _(form: Frozen, block: Convertible, index: GraphIndex) -> str:
    fold = fold_of(block, index)
    return block.anatomy.root if fold is None or fold.behind else fold.source


@singledispatch
def size_probes(form: object, block: Convertible, index: GraphIndex) -> tuple[str, ...]:
    """The computed sizes that the original block reads: taken from a run of the original model."""
    return ()


@size_probes.register
def _(form: Cut, block: Convertible, index: GraphIndex) -> tuple[str, ...]:
    steering = [
        name
        for step in block.anatomy.steps
        for slot, name in enumerate(index.nodes[step.position].input)
        if slot in SHAPE_SLOTS.get(index.nodes[step.position].op_type, ())
    ]
    divisors = [
        name
        for position in block.anatomy.squeeze_nodes
        for name in index.nodes[position].input
        if name and index.is_size(name)
    ]
    return tuple(dict.fromkeys(name for name in (*divisors, *steering) if name and not index.is_constant(name)))


def _ends(block: Convertible, index: GraphIndex) -> tuple[str, str]:
    """What a block with a frozen gate starts from, and what it makes: with the convolution that the gate went into."""
    fold = fold_of(block, index)
    return (block.anatomy.map, block.made) if fold is None else (fold.source, fold.target)


@size_probes.register
def _(form: Recomputed | Carried, block: Convertible, index: GraphIndex) -> tuple[str, ...]:
    anatomy = block.anatomy
    before = form.nodes if isinstance(form, Recomputed) else anatomy.root_nodes
    positions = (*before, *anatomy.squeeze_nodes, *(step.position for step in anatomy.steps))
    read = dict.fromkeys(name for position in positions for name in index.nodes[position].input if name)
    return tuple(name for name in read if index.is_size(name) and not index.is_constant(name))


@singledispatch
def check_block(form: object, original: Original, converted: Original, block: Convertible, values: Feed) -> BlockCheck:
    """Compare what the converted block makes with what the original's own nodes make in this form.

    `values` holds the `probes` of the converted model and the `size_probes` of the original. A form without a judge of
    its own has to change nothing: both blocks run alone, as they are written, and what they make is the same bit for
    bit. Not what the whole model made: there onnxruntime merges what is computed twice.
    """
    expected, made = (_made(model, form, block, values, original) for model in (original, converted))
    return BlockCheck(block.name, difference(expected, made), 0.0, made.size, _strange(made))


@check_block.register
def _check_recomputed(
    form: Recomputed, original: Original, converted: Original, block: Convertible, values: Feed
) -> BlockCheck:
    """The same bit for bit, unless the means of rows come first: then as near as sums in another order."""
    if not form.cascade:
        return check_block.dispatch(object)(form, original, converted, block, values)
    anatomy, output = block.anatomy, block.made
    expected, made = (_made(model, form, block, values, original) for model in (original, converted))
    feed = _fed(form, block, values, original)
    roots = dict(zip(anatomy.roots, _values_alone(original, feed, *anatomy.roots), strict=True))
    rest = {**roots, **{name: value for name, value in feed.items() if name != form.held}}
    shaken = Shaken(block_alone(original, rest, output), original.folder)
    within = dict.fromkeys(roots, tuple(axis for axis, letter in enumerate(anatomy.root_axes) if letter not in OWN))
    compared = _comparison(original, block, anatomy.map_axes, made)
    compared.add(made, expected, lambda: (run[output] for run in shaken.runs(rest, [output], within)))
    return _checked(block, compared, None)


@check_block.register
def _check_carried(
    form: Carried, original: Original, converted: Original, block: Convertible, values: Feed
) -> BlockCheck:
    """Bit for bit what the original's own nodes make: fed with the gates that the original computes on this input, and
    these are handed on; fed with others; and fed with none, which is what a first frame gets."""
    feed, output = _fed(form, block, values, original), block.made
    expected, own = _values_alone(original, feed, output, form.value)
    made, handed_on = _values_alone(converted, {**feed, form.gate_in: own}, output, form.gate_out)
    other = np.roll(own, 1, form.channel)
    if np.array_equal(other, own):
        other = np.zeros_like(own)
    along = [-1 if axis == form.channel else 1 for axis in range(own.ndim)]
    first = np.broadcast_to(np.reshape(form.first, along).astype(own.dtype), own.shape)
    if own.dtype not in (np.float32, np.float64):  # computed wider, a gate is rounded where it leaves the model
        expected = _run_alone(original, {**feed, form.value: own}, output)
    pairs = [
        (expected, made),
        (own, handed_on),
        (_run_alone(original, {**feed, form.value: other}, output),
         _run_alone(converted, {**feed, form.gate_in: other}, output)),
    ]  # fmt: skip
    if not is_quantised(block, original.index):  # else a quantiser behind it rounds it
        pairs.append((_run_alone(original, {**feed, form.value: first}, output), _run_alone(converted, feed, output)))
    error = max(difference(one, two) for one, two in pairs)
    return BlockCheck(block.name, error, 0.0, expected.size, _strange(expected))


def _made(model: Original, form: object, block: Convertible, values: Feed, original: Original) -> np.ndarray:
    """What a block makes that runs alone in `model`, from what it begins with."""
    return _run_alone(model, _fed(form, block, values, original), block.made)


def _fed(form: object, block: Convertible, values: Feed, original: Original) -> Feed:
    """What a block begins with that runs alone."""
    names = (start(form, block, original.index), *size_probes(form, block, original.index))
    return {name: values[name] for name in names} | dict(original.arguments)


def _run_alone(model: Original, feed: Feed, output: str) -> np.ndarray:
    """One value of the nodes behind `feed`, as they are written."""
    return _values_alone(model, feed, output)[0]


def _values_alone(model: Original, feed: Feed, *outputs: str) -> tuple[np.ndarray, ...]:
    alone = Session(block_alone(model, feed, *outputs), model.folder, threads=1, alone=True)
    return tuple(alone.run(feed, outputs).values())


def difference(expected: np.ndarray, made: np.ndarray) -> float:
    """The largest difference of what has to be equal bit for bit; without bound where there is no number for it."""
    if expected.shape != made.shape or expected.dtype != made.dtype:
        return math.inf
    if expected.tobytes() == made.tobytes():
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        found = float(np.max(np.abs(expected.astype(np.float64) - made.astype(np.float64)), initial=0.0))
    return found if found > 0 else math.inf


def _strange(values: np.ndarray) -> int:
    return 0 if values.dtype.kind != "f" else int(values.size - np.isfinite(values).sum())


@check_block.register(Cut)
def _check_tiles(cover: Cover, original: Original, converted: Original, block: Convertible, values: Feed) -> BlockCheck:
    """The original block for each tile."""
    anatomy = block.anatomy
    y, axes = _with_rows(values[block.made], anatomy, cover.extents), _axes_of_rows(anatomy)
    if tuple(y.shape[axes.index(letter)] for letter in _letters(anatomy)) != cover.extents:
        return BlockCheck(block.name, float("inf"), 0.0)
    by_crop = isinstance(cover, Tile) and _takes_any_size(anatomy, original.index)
    compared, gates = _comparison(original, block, axes, y), Gates()
    seen = np.zeros(cover.extents, bool)
    for piece in (_by_crops if by_crop else _by_means)(original, block, cover, values):
        original.deadline.check()
        allowed = compared.add(y[_slices(axes, anatomy, piece.region)], piece.made, piece.again)
        gates.add(piece.gate, *allowed)
        seen[piece.region] = True
    if isinstance(cover, Window):  # one gate: what it must not be mistaken for is that of the whole map
        gates.add(_gate_of_all(original, block, cover, values), *allowed)
    if not seen.all():
        compared.fail()
    return _checked(block, compared, gates.spread())


def _axes_of_rows(anatomy: Anatomy) -> str:
    """The axes of the scaled map, with each spatial axis for itself."""
    return anatomy.input_axes if anatomy.before_flat else anatomy.map_axes


def _with_rows(values: np.ndarray, anatomy: Anatomy, extents: tuple[int, ...]) -> np.ndarray:
    """A scaled map whose pixels lie along one axis, with its rows and columns again."""
    if not anatomy.before_flat or values.ndim != len(anatomy.map_axes):
        return values
    place = anatomy.map_axes.index("P")
    dims = (*values.shape[:place], *extents, *values.shape[place + 1 :])
    return values.reshape(dims) if math.prod(extents) == values.shape[place] else values


def _comparison(original: Original, block: Convertible, axes: str, made: np.ndarray) -> Comparison:
    return Comparison(axes, made.dtype, is_quantised(block, original.index))


def is_quantised(block: Convertible, index: GraphIndex) -> bool:
    """Whether a quantiser stands on the way to the gate, or an operator in whole numbers."""
    nodes = (index.nodes[step.position] for step in block.anatomy.steps)
    return any(node.op_type == "QuantizeLinear" or operator(node) in QUANTISED for node in nodes)


def _checked(block: Convertible, compared: Comparison, spread: Spread | None) -> BlockCheck:
    return BlockCheck(
        block.name, compared.error, compared.tolerance, compared.elements, compared.not_finite,
        None if spread is None else spread.largest, None if spread is None else spread.told_apart,
    )  # fmt: skip


@check_block.register
def _check_frozen(
    frozen: Frozen, original: Original, converted: Original, block: Convertible, values: Feed
) -> BlockCheck:
    """The original's own nodes, fed with the constants in place of the gate."""
    anatomy, (source, target) = block.anatomy, _ends(block, original.index)
    given, made = values[source], values[target]
    feed = {source: given} | dict(original.arguments)
    many = len(frozen.gate) // len(anatomy.gates) or 1
    for number, (name, scaled) in enumerate(zip(anatomy.gates, anatomy.maps, strict=True)):
        own = frozen.gate if len(frozen.gate) == 1 else frozen.gate[number * many : (number + 1) * many]
        feed[name] = np.array(own, given.dtype).reshape(anatomy.gate_dims(len(own)))
        if number:
            feed[scaled] = values[scaled]
    alone = block_alone(original, feed, target)
    reference = Session(alone, original.folder, threads=1, alone=True).run(feed, [target])[target]
    shaken = Shaken(alone, original.folder)
    compared = _comparison(original, block, anatomy.map_axes, made)
    compared.add(made, reference, lambda: (run[target] for run in shaken.runs(feed, [target], {})))
    return _checked(block, compared, None)


def _letters(anatomy: Anatomy) -> str:
    return "".join(anatomy.input_axes[axis] for axis in anatomy.squeeze.spatial)


def _takes_any_size(anatomy: Anatomy, index: GraphIndex) -> bool:
    """Whether the nodes of a block take a smaller map: a descriptor's own pixels, or its mean alone."""
    nodes = [index.nodes[position] for position in anatomy.squeeze_nodes]
    if nodes[0].input[0] != anatomy.squeeze.input or anatomy.before_flat:
        return False
    if any(node.op_type not in _OF_ANY_SIZE[anatomy.squeeze.statistic] for node in nodes):
        return False
    fixed = {"Expand", "Tile", "Resize", "Upsample"}
    return not any(
        index.nodes[step.position].op_type in fixed
        or any(not index.is_constant(name) for name in _size_operands(index, step.position))
        for step in anatomy.steps
    )


# A sum of squares is one of any size; times a number it is a mean of one size alone.
_MEANS = frozenset({"GlobalAveragePool", "ReduceMean"})
_NORMS = frozenset({"ReduceL2", "GlobalLpPool", "ReduceSumSquare", "ReduceSum", "Mul", "Pow", "Abs"})
_OF_ANY_SIZE = {
    MEAN: _MEANS | {"GlobalMaxPool", "ReduceMax", "QLinearGlobalAveragePool"},
    NORM: _NORMS,
    SUM_SQUARE: _NORMS,
    MEAN_SQUARE: _MEANS | {"Pow", "Abs"},
}


def _size_operands(index: GraphIndex, position: int) -> Iterator[str]:
    node = index.nodes[position]
    for slot in SHAPE_SLOTS.get(node.op_type, ()):
        if slot < len(node.input) and node.input[slot]:
            yield node.input[slot]


def _by_crops(original: Original, block: Convertible, cover: Cover, values: Feed) -> Iterator[Piece]:
    """The original block on every tile of its input."""
    anatomy, output = block.anatomy, block.made
    roots = {name: values[name] for name in anatomy.roots}
    wanted = (output, *anatomy.gates)
    alone = block_alone(original, {**roots, **original.arguments}, *wanted)
    session = Session(alone, original.folder, threads=1, alone=True)
    shaken = Shaken(alone, original.folder)
    within = dict.fromkeys(roots, tuple(axis for axis, letter in enumerate(anatomy.root_axes) if letter not in OWN))

    def again(feed: Feed, scaled: Sequence[np.ndarray], made: Feed) -> Iterator[np.ndarray]:
        if made[anatomy.gate].dtype.kind == "f":  # whole numbers are rounded by their quantisers, which are shaken
            pairs = zip(scaled, anatomy.gates, strict=True)
            yield made[output] + sum(each * rounding_of(made[gate]) for each, gate in pairs)
        for run in shaken.runs(feed, [output], within):
            yield run[output]

    for source, target in cover.pieces():
        crop = _slices(anatomy.root_axes, anatomy, source)
        feed = {name: np.ascontiguousarray(x[crop]) for name, x in roots.items()} | dict(original.arguments)
        made = session.run(feed, wanted)
        place = _slices(anatomy.map_axes, anatomy, target)
        yield Piece(
            target,
            made[output],
            _by_channel([made[name] for name in anatomy.gates], made[output].shape, anatomy, anatomy.map_axes),
            partial(again, feed, [values[name][place] for name in anatomy.maps], made),
        )


def _by_means(original: Original, block: Convertible, cover: Cover, values: Feed) -> Iterator[Piece]:
    """The gates that the original block gives for each tile's mean, times what they scale there."""
    anatomy = block.anatomy
    scaled, gates = [values[name] for name in _in_rows(anatomy)], _GateOfMean(original, block, cover, values)
    multiply = _multiplication(original, block)
    for number, (source, target) in enumerate(cover.pieces()):
        mean, change = gates.mean(source, number)
        gate = gates.values(mean)
        scale = partial(_scaled, multiply, anatomy, scaled, _slices(_axes_of_rows(anatomy), anatomy, target))
        again = partial(gates.again, mean, change, gate)
        yield Piece(
            target,
            scale(gate),
            _by_channel(gate[: len(scaled)], scaled[0].shape, anatomy, _axes_of_rows(anatomy)),
            lambda scale=scale, again=again: map(scale, again()),  # type: ignore[misc]
        )


Multiply = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A map, or a part of it, scaled by a gate."""


def _multiplication(original: Original, block: Convertible) -> Multiply:
    """The scale of a block: the product, unless its node rounds that to whole numbers."""
    anatomy = block.anatomy
    if anatomy.products or original.index.nodes[block.scale.position].op_type == "Mul":
        return np.multiply

    def scale(part: np.ndarray, gate: np.ndarray) -> np.ndarray:
        feed = {anatomy.map: np.ascontiguousarray(part), anatomy.gate: np.ascontiguousarray(gate)}
        return _run_alone(original, feed, block.made)

    return scale


def _spread(gate: np.ndarray, shape: tuple[int, ...], anatomy: Anatomy) -> np.ndarray:
    """A gate as large as a map of this shape; itself where that has not the size that the model states."""
    flat = shape
    if anatomy.before_flat:
        batch, channels = shape[0], shape[anatomy.squeeze.channel]
        sizes = {"N": batch, "C": channels, "P": math.prod(shape) // max(batch * channels, 1)}
        flat = tuple(sizes[letter] for letter in anatomy.map_axes)
    try:
        return np.broadcast_to(gate, flat).reshape(shape)
    except ValueError:
        return gate


def _in_rows(anatomy: Anatomy) -> tuple[str, ...]:
    """The maps that are scaled, as they lie in rows."""
    return (anatomy.before_flat,) if anatomy.before_flat else anatomy.maps


def _scaled(
    multiply: Multiply,
    anatomy: Anatomy,
    values: Sequence[np.ndarray],
    place: tuple[slice, ...],
    given: Sequence[np.ndarray],
) -> np.ndarray:
    """What the gates make of the values at a place: the sum of what each makes of its branch, where there are some, and
    the offset where there is one."""
    spread = [_spread(one, values[0].shape, anatomy) for one in given]
    if any(one.shape != values[0].shape for one in (*values, *spread)):
        return given[0]
    with np.errstate(invalid="ignore", over="ignore"):
        made = [multiply(each[place], gate[place]) for each, gate in zip(values, spread, strict=False)]
        return np.asarray(reduce(np.add, (*made, *(offset[place] for offset in spread[len(values) :]))))


def _gate_of_all(original: Original, block: Convertible, cover: Cover, values: Feed) -> np.ndarray:
    """The gate of the whole map, by sample and channel."""
    anatomy, gates = block.anatomy, _GateOfMean(original, block, cover, values)
    mean, _ = gates.mean(tuple(slice(0, extent) for extent in cover.extents), 0)
    shape = values[_in_rows(anatomy)[0]].shape
    return _by_channel(gates.gates(mean), shape, anatomy, _axes_of_rows(anatomy))


def _by_channel(gates: Sequence[np.ndarray], shape: tuple[int, ...], anatomy: Anatomy, axes: str) -> np.ndarray:
    """The gates as large as a map of this shape, without the axes along which they are the same; side by side, where
    there are several."""
    own = tuple(slice(None) if letter in OWN else 0 for letter in axes)
    spread = [_spread(gate, shape, anatomy) for gate in gates]
    found = [each[own] if each.ndim == len(axes) else each for each in spread]
    return found[0] if len(found) == 1 else np.stack(found)


class _GateOfMean:
    """What the original block makes of a mean: it is fed with a map that is that mean everywhere, of one pixel where
    its nodes do not want the whole size."""

    def __init__(self, original: Original, block: Convertible, cover: Cover, values: Feed) -> None:
        self._anatomy, self._cover = block.anatomy, cover
        self._x = values[self._anatomy.squeeze.input]
        sizes = {name: values[name] for name in size_probes(cover, block, original.index)}
        self._others = sizes | dict(original.arguments)
        feeds: Feed = {self._anatomy.squeeze.input: self._x, **self._others}
        self._by_statistics = bool(self._anatomy.beside) or self._anatomy.squeeze.statistic != MEAN
        if self._by_statistics:  # no map has them all at will: the gate is made of the statistics themselves
            mean, _ = self.mean(tuple(slice(0, extent) for extent in cover.extents), 0)
            feeds = self._feed(mean)
        offset = self._anatomy.offset
        self._wanted = self._anatomy.gates if offset is None else (self._anatomy.gate, offset.value)
        self._alone, self._folder = block_alone(original, feeds, *self._wanted), original.folder
        self._session = Session(self._alone, self._folder, threads=1, alone=True)
        self._shaken = Shaken(self._alone, self._folder)
        self._one_pixel = _takes_any_size(self._anatomy, original.index)

    def mean(self, region: Region, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The mean of a region, for the descriptor with this number, and what rounding may change it by."""
        crop, axes = self._x[_slices(self._anatomy.input_axes, self._anatomy, region)], self._anatomy.squeeze.spatial
        with np.errstate(invalid="ignore", over="ignore"):
            mean = crop.mean(axis=axes, keepdims=True, dtype=np.float64)
            if crop.dtype.kind != "f":  # whole numbers have a mean that is none: the pixels themselves are fed
                return crop, np.zeros_like(crop)
            pixels = math.prod(crop.shape[axis] for axis in axes)
            if self._anatomy.squeeze.statistic != MEAN:
                found = statistic_of(self._anatomy.squeeze, crop)
                return found[None], shake(crop.dtype, pixels) * found[None]
            change = shake(crop.dtype, pixels) * np.abs(crop).mean(axis=axes, keepdims=True, dtype=np.float64)
            if isinstance(self._cover, Running) and self._cover.calibration is not None:
                shape = [-1 if axis == self._anatomy.squeeze.channel else 1 for axis in range(crop.ndim)]
                slope, offsets = self._cover.calibration.slopes[number], self._cover.calibration.offsets[number]
                mean, change = slope * mean + np.reshape(offsets, shape), abs(slope) * change
            if self._anatomy.beside:  # the maximum is one of the pixels, which nothing rounds
                top = crop.max(axis=axes, keepdims=True).astype(np.float64)
                mean, change = np.stack([mean, top]), np.stack([change, np.zeros_like(top)])
        return mean, change

    def gates(self, mean: np.ndarray) -> tuple[np.ndarray, ...]:
        """The gates of a mean: one, or one for each branch."""
        return self.values(mean)[: len(self._anatomy.gates)]

    def values(self, mean: np.ndarray) -> tuple[np.ndarray, ...]:
        """The gates of a mean, and the offset where there is one."""
        made = self._session.run(self._feed(mean), self._wanted)
        return tuple(made[name] for name in self._wanted)

    def again(
        self, mean: np.ndarray, change: np.ndarray, given: tuple[np.ndarray, ...]
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """The gates of that mean, changed by as much as rounding may; and those that it has, changed so themselves."""
        if given[0].dtype.kind == "f":
            yield tuple(one + rounding_of(one) for one in given)
        random = np.random.default_rng(2)
        for number in range(DRAWS):
            feed = self._feed(mean + (change * signs(random, change.shape)).astype(change.dtype))
            made = self._shaken.run(number, feed, self._wanted)
            yield tuple(made[name] for name in self._wanted)

    def _feed(self, mean: np.ndarray) -> Feed:
        with np.errstate(over="ignore"):
            mean = mean.astype(self._x.dtype)
        if self._by_statistics:
            pairs = zip(self._anatomy.squeezes, mean, strict=True)
            return {squeeze.output: _laid(squeeze, each) for squeeze, each in pairs} | self._others
        given = (
            mean
            if self._one_pixel or mean.dtype.kind != "f"
            else _with_mean(mean, self._x.shape, self._anatomy.squeeze.spatial)
        )
        return {self._anatomy.squeeze.input: given, **self._others}


def statistic_of(squeeze: Squeeze, crop: np.ndarray) -> np.ndarray:
    """What a squeeze takes of a crop of its map, in double precision, with the axes of the map."""
    wide, axes = crop.astype(np.float64), tuple(squeeze.spatial)
    if squeeze.statistic == MEAN:
        return np.asarray(wide.mean(axis=axes, keepdims=True))
    squares = np.asarray(np.square(wide).sum(axis=axes, keepdims=True))
    if squeeze.statistic == NORM:
        return np.asarray(np.sqrt(squares))
    pixels = math.prod(crop.shape[axis] for axis in axes)
    return np.asarray(squares / pixels) if squeeze.statistic == MEAN_SQUARE else squares


def _laid(squeeze: Squeeze, each: np.ndarray) -> np.ndarray:
    """A statistic that keeps the axes of its map, as the squeeze makes it."""
    sizes = {"N": each.shape[0], "C": each.shape[squeeze.channel], "1": 1}
    return each.reshape([sizes[letter] for letter in squeeze.descriptor.axes])


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
    kinds = {  # of a list of sizes its length, without which a Resize is refused
        name: TensorType(
            onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape if array.ndim == 1 else (None,) * array.ndim
        )
        for name, array in feeds.items()
    }
    return part.model(original.model, kinds, outputs)


def inner_values(
    form: Form, original: Original, converted: Original, scope: Scope, block: Convertible, seed: int, threads: int
) -> tuple[Original, Feed]:
    """What `check_block` needs for a block inside a body or function, which no run of the whole model lets one see:
    both blocks run alone, on seeded noise."""
    anatomy = block.anatomy
    random = np.random.default_rng(seed)
    begin = start(form, block, original.index)
    sizes = dict(zip(_letters(anatomy), (extent or 1 for extent in block.extents), strict=True))
    extents = {**sizes, "C": block.channels or 1, "R": block.branches, "N": 1}
    kind = scope.types[begin]
    known = (extents[letter] for letter in anatomy.root_axes)
    shape = tuple(known) if begin == anatomy.root else _shape(kind)
    feeds = {begin: _noise(random, shape, kind.dtype)}
    wanted = (block.made, *size_probes(form, block, original.index))
    for name in excerpt(original.index, feeds, wanted).missing:  # arguments of a function
        given = original.index.short_constant(name)
        feeds[name] = _noise(random, _shape(scope.types[name]), scope.types[name].dtype) if given is None else given
    values = dict(feeds)
    for source, names in (
        (original, size_probes(form, block, original.index)),
        (converted, [name for name in probes(form, block, original.index) if name not in feeds]),
    ):
        if names:
            session = Session(
                block_alone(source, feeds, *names), source.folder, threads=threads, deadline=source.deadline
            )
            values |= session.run(feeds, names)
    arguments = {name: array for name, array in feeds.items() if name != begin}
    return replace(original, arguments=arguments), values


def _shape(kind: TensorType) -> tuple[int, ...]:
    """One sample, for a dynamic batch."""
    return tuple(dim if isinstance(dim, int) else 1 for dim in kind.dims or ())


def _noise(random: np.random.Generator, shape: tuple[int, ...], dtype: int) -> np.ndarray:
    kind = onnx.helper.tensor_dtype_to_np_dtype(dtype)
    if kind.kind in "iu":
        return random.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, kind, endpoint=True)
    return random.standard_normal(shape).astype(kind)
