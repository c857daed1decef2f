"""Which convolutions can be folded or unfolded, and the edit that does it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from tse_onnx.passes.data_folding.taps import (
    BLOCKS_FIRST,
    CHANNELS_FIRST,
    Taps,
    folded,
    folded_weights,
    trimmed,
    unfolded,
    unfolded_weights,
)
from tse_onnx.passes.edit.prune import prune
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.graph.index import GraphIndex, attribute, holds_numbers, int_attribute, ints_attribute
from tse_onnx.passes.graph.operators import is_default
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.names import name_of
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting

_RESTATED = ("kernel_shape", "strides", "pads", "auto_pad")


@dataclass(frozen=True)
class Folded:
    """A convolution whose map is folded by `factor`, or not any more: by name, with the map that it reads, its output,
    its `weights` by name and their `products` for an output, and its window `before` and `after`."""

    name: str
    factor: int
    before: Taps
    after: Taps
    input: str
    map: str
    output: str
    weights: str
    products: int


@dataclass(frozen=True)
class Left:
    """A convolution that stays as it is, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Folding:
    """What becomes of the convolutions of a graph, and the edit that makes it so."""

    changed: tuple[Folded, ...]
    left: tuple[Left, ...]
    edit: Edit


class _Stays(Exception):
    """Why a convolution stays."""


@dataclass(frozen=True)
class _Conv:
    position: int
    node: NodeProto
    taps: Taps
    weights: np.ndarray
    groups: int


@dataclass(frozen=True)
class _Made:
    """The nodes of each convolution, and what else the edit has."""

    scope: Scope
    taken: set[str]
    read: Read
    maps: dict[tuple[str, int, bool], str]
    initializers: list[TensorProto]

    def name(self, wanted: str) -> str:
        found, number = wanted, 1
        while found in self.taken:
            number += 1
            found = f"{wanted}_{number}"
        self.taken.add(found)
        return found

    def constant(self, wanted: str, numbers: np.ndarray) -> str:
        name = self.name(wanted)
        self.initializers.append(numpy_helper.from_array(numbers, name))
        return name


Read = Callable[[TensorProto], "np.ndarray | None"]
"""The numbers of a weight; None where there are none to be had."""
_Change = Callable[[_Conv, "int | None", _Made], "tuple[Folded, tuple[NodeProto, ...]]"]


def in_model(tensor: TensorProto) -> np.ndarray | None:
    """The numbers of a weight that lie in the model itself."""
    return numpy_helper.to_array(tensor) if holds_numbers(tensor) else None


def fold(
    scope: Scope, taken: set[str], factor: int | None = None, names: Collection[str] = (), read: Read = in_model
) -> Folding:
    """Every convolution with a stride as one on a folded map, by `factor`, or by all that its strides have in common;
    with `names` these alone. `taken` are the names that there are already; weights are what `read` gives."""
    made = _Made(scope, taken, read, {}, [])
    return _folding(made, factor, names, _fold, lambda node: max(_strides(node), default=1) > 1)


def unfold(
    scope: Scope, taken: set[str], factor: int | None = None, names: Collection[str] = (), read: Read = in_model
) -> Folding:
    """Every convolution on a folded map, of those folded by `factor`, as one with a stride on the map itself."""
    index, made = scope.index, _Made(scope, taken, read, {}, [])
    return _folding(made, factor, names, _unfold, lambda node: _maker(index, node.input[0]) is not None)


def _folding(
    made: _Made,
    factor: int | None,
    names: Collection[str],
    change: _Change,
    asked: Callable[[NodeProto], bool],
) -> Folding:
    scope, nodes = made.scope, dict[int, tuple[NodeProto, ...]]()
    changed, left = [], []
    for position, node in enumerate(scope.index.nodes):
        if node.op_type != "Conv" or not is_default(node.domain):
            continue
        if name_of(node) not in names if names else not asked(node):
            continue
        try:
            one, nodes[position] = change(_read(made, position, node), factor, made)
        except _Stays as error:
            left.append(Left(name_of(node), str(error)))
        else:
            changed.append(one)
    edit = prune(Edit(nodes, initializers=tuple(made.initializers)), scope.index)
    return Folding(tuple(changed), tuple(left), edit)


def _strides(node: NodeProto) -> tuple[int, ...]:
    return ints_attribute(node, "strides") or ()


def _read(made: _Made, position: int, node: NodeProto) -> _Conv:
    """A convolution of two axes with weights that can be laid anew."""
    scope = made.scope
    tensor = scope.index.weight(node.input[1])
    if tensor is None or node.input[1] in scope.index.inputs:
        raise _Stays(
            "its weights are no initializer: fold constants first (onnxsim), and leave quantised convolutions out"
        )
    if len(tensor.dims) != 4:
        raise _Stays(f"it has {len(tensor.dims) - 2} spatial axes, and SpaceToDepth folds 2")
    if max(ints_attribute(node, "dilations") or (1,)) > 1:
        raise _Stays("it is dilated: its taps lie apart, and folded they would be in other channels each")
    if len(node.input) > 2 and node.input[2] and not scope.index.is_constant(node.input[2]):
        raise _Stays("its bias is computed from the model's inputs")
    taps, weights = _taps(scope, node, (tensor.dims[2], tensor.dims[3])), made.read(tensor)
    if weights is None:
        raise _Stays("its weights were left out, or lie in a file that is not beside the model: give the model's path")
    return _Conv(
        position,
        node,
        taps,
        weights,
        int_attribute(node, "group", 1),
    )


def _taps(scope: Scope, node: NodeProto, kernel: tuple[int, int]) -> Taps:
    strides, pads = _strides(node) or (1, 1), ints_attribute(node, "pads") or (0, 0, 0, 0)
    stated = attribute(node, "auto_pad")
    way = stated.s.decode() if stated is not None else "NOTSET"
    if way == "VALID":
        pads = (0, 0, 0, 0)
    elif way != "NOTSET":
        totals = [
            max((-(-size // stride) - 1) * stride + length - size, 0)
            for size, stride, length in zip(_sizes(scope, node.input[0])[1:], strides, kernel, strict=True)
        ]
        small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
        pads = tuple(small + large if way == "SAME_UPPER" else large + small)
    if min(pads) < 0:
        raise _Stays("it has negative pads: cut its map by a Slice instead")
    return Taps(kernel, (strides[0], strides[1]), (pads[0], pads[1]), (pads[2], pads[3]))


def _sizes(scope: Scope, value: str) -> tuple[int, int, int]:
    """Channels, height and width of a map."""
    sizes = scope.types[value].sizes
    if sizes is None or len(sizes) != 4:
        raise _Stays(
            f"the size of {quoted(value)} is not known: run onnx's shape inference first, or {setting('input_shapes')}"
        )
    channels, height, width = sizes[1:]
    if channels is None or height is None or width is None:
        raise _Stays(
            f"height and width of {quoted(value)} are not known: give the input's by {setting('input_shapes')}"
        )
    return channels, height, width


def _fold(conv: _Conv, factor: int | None, made: _Made) -> tuple[Folded, tuple[NodeProto, ...]]:
    common = math.gcd(*conv.taps.stride)
    by = common if factor is None else factor
    along = " × ".join(str(stride) for stride in conv.taps.stride)
    if common == 1 and by == 1:
        raise _Stays(f"its strides of {along} have no factor in common, and a map is folded by one")
    if common % by:
        raise _Stays(f"its strides of {along} are not multiples of {by}")
    source = conv.node.input[0]
    channels, height, width = _sizes(made.scope, source)
    if height % by or width % by:
        raise _Stays(
            f"its map of {height} × {width} is not a multiple of {by}: give the input another size, or another "
            f"{setting('factor')}"
        )
    order = BLOCKS_FIRST if conv.groups == 1 else CHANNELS_FIRST
    nodes: tuple[NodeProto, ...] = ()
    key = (source, by, conv.groups == 1)
    if key not in made.maps:
        made.maps[key] = made.name(f"{source}_folded")
        if conv.groups == 1:
            nodes = (_node("SpaceToDepth", (source,), made.maps[key], made, blocksize=by),)
        else:
            nodes = _split(source, (channels, height, width), by, made.maps[key], made)
    taps = folded(conv.taps, by)
    new = made.constant(f"{conv.node.input[1]}_folded", folded_weights(conv.weights, conv.taps, by, order))
    one = _told(conv, by, taps, source, made.maps[key])
    return one, (*nodes, _convolution(conv.node, taps, made.maps[key], new))


def _told(conv: _Conv, factor: int, taps: Taps, source: str, folded_map: str) -> Folded:
    node = conv.node
    products = math.prod(conv.weights.shape[1:])
    return Folded(
        name_of(node), factor, conv.taps, taps, source, folded_map, node.output[0], node.input[1], products
    )  # fmt: skip


def _split(source: str, sizes: tuple[int, int, int], by: int, out: str, made: _Made) -> tuple[NodeProto, ...]:
    """A map folded so that what comes of a channel stays together."""
    channels, height, width = sizes
    parts = np.array([0, channels, height // by, by, width // by, by])
    whole = np.array([0, channels * by**2, height // by, width // by])
    apart, turned = made.name(f"{out}_apart"), made.name(f"{out}_turned")
    return (
        _node("Reshape", (source, made.constant(f"{apart}_shape", parts)), apart, made),
        _node("Transpose", (apart,), turned, made, perm=CHANNELS_FIRST),
        _node("Reshape", (turned, made.constant(f"{out}_shape", whole)), out, made),
    )


def _node(operator: str, inputs: tuple[str, ...], output: str, made: _Made, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], name=made.name(f"{output}/{operator}"), **attributes)


def _convolution(node: NodeProto, taps: Taps, source: str, weights: str) -> NodeProto:
    made = NodeProto()
    made.CopyFrom(node)
    made.input[0], made.input[1] = source, weights
    kept: list[AttributeProto] = [one for one in node.attribute if one.name not in _RESTATED]
    del made.attribute[:]
    made.attribute.extend(kept)
    for name, numbers in (("kernel_shape", taps.kernel), ("pads", taps.pads), ("strides", taps.stride)):
        made.attribute.append(helper.make_attribute(name, numbers))
    return made


def _maker(index: GraphIndex, value: str) -> NodeProto | None:
    """The node that folds a map into `value`, or may."""
    position = index.producer(value)
    if position is None or not is_default(index.nodes[position].domain):
        return None
    node = index.nodes[position]
    if node.op_type == "SpaceToDepth":
        return node
    if node.op_type == "Reshape":
        turned = index.producer(node.input[0])
        if turned is not None and index.nodes[turned].op_type == "Transpose":
            return node
    return None


def _unfold(conv: _Conv, factor: int | None, made: _Made) -> tuple[Folded, tuple[NodeProto, ...]]:
    index, value = made.scope.index, conv.node.input[0]
    source, by, order = _unfolded_map(made.scope, value)
    if factor is not None and by != factor:
        raise _Stays(f"its map is folded by {by}, not by {factor}")
    if len(index.uses(value)) > 1 or value in index.outputs:
        raise _Stays(f"others read its folded map {quoted(value)} as well, which so has to stay")
    if conv.groups > 1 and order == BLOCKS_FIRST:
        raise _Stays(f"its {conv.groups} groups are of channels as SpaceToDepth mixes them: none is a group of the map")
    if conv.groups > 1 and conv.weights.shape[1] % by**2:
        raise _Stays(f"its {conv.groups} groups part the pixels of a channel")
    _, height, width = _sizes(made.scope, source)
    taps, weights = trimmed(
        unfolded(conv.taps, by), unfolded_weights(conv.weights, by, order), (height, width)
    )  # fmt: skip
    new = made.constant(f"{conv.node.input[1]}_unfolded", weights)
    return _told(conv, by, taps, source, value), (_convolution(conv.node, taps, source, new),)


def _unfolded_map(scope: Scope, value: str) -> tuple[str, int, tuple[int, ...]]:
    """What is folded into `value`, by what factor, in which order of channels."""
    index, node = scope.index, _maker(scope.index, value)
    if node is None:
        raise _Stays("no SpaceToDepth or Reshape, Transpose, Reshape folds the map that it reads")
    if node.op_type == "SpaceToDepth":
        return node.input[0], int_attribute(node, "blocksize", 1), BLOCKS_FIRST
    turn = index.nodes[index.producer(node.input[0]) or 0]
    split = index.producer(turn.input[0])
    order = ints_attribute(turn, "perm")
    if split is None or index.nodes[split].op_type != "Reshape" or order not in (BLOCKS_FIRST, CHANNELS_FIRST):
        raise _Stays("the Reshape, Transpose, Reshape in front of it is no folding of pixels into channels")
    source = index.nodes[split].input[0]
    channels, height, width = _sizes(scope, source)
    apart, whole = scope.types[turn.input[0]].sizes or (), _sizes(scope, value)
    by = apart[3] if len(apart) == 6 and apart[3] else 0
    if (
        not by
        or apart[1:] != (channels, height // by, by, width // by, by)
        or whole != (channels * by**2, height // by, width // by)
    ):
        raise _Stays("the Reshape, Transpose, Reshape in front of it is no folding of pixels into channels")
    return source, by, order
