"""Which layers can exchange scales: what a scale given to the channels of one has to be given to, and taken away by.

A walk goes from a layer along everything that its scale reaches, forwards and backwards. Where an operator has to see
two values on one scale, as an Add does, both are reached; so a chain of residual Adds is one pair of many layers. In a
squeeze-and-excite block the map is reached and its mean, the first layer of the excite takes the scale away again, and
the gate that comes of it is as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from tse_onnx.passes.equalisation.carriers import (
    BLIND,
    CARRIERS,
    JOINS,
    PRODUCTS,
    SINKS,
    SOURCES,
    Stays,
    dims,
    sizes_of,
    stops,
)
from tse_onnx.passes.equalisation.places import Left, Pair, Place
from tse_onnx.passes.graph.index import holds_numbers, int_attribute
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.names import name_of
from tse_onnx.passes.reasons import quoted

_EXACT = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE})


def pairs(scope: Scope) -> tuple[tuple[Pair, ...], tuple[Left, ...]]:
    """The layers of a graph that can exchange scales, and those that cannot, in node order."""
    found, left, reached = list[Pair](), list[Left](), dict[str, int]()
    for node in scope.index.nodes:
        if SOURCES.of(node) is None or node.output[0] in reached:
            continue
        walk = _Walk(scope, reached, len(found) + len(left))
        walk.go(node)
        stays = walk.stays
        if stays is None:
            found.append(walk.pair())
        else:
            left.append(Left(walk.names(walk.firsts) or (name_of(node),), str(stays), stays.node))
    return tuple(found), tuple(left)


@dataclass
class _Walk:
    """What a scale reaches; `reached` are the values of all walks, with the number of each."""

    scope: Scope
    reached: dict[str, int]
    number: int
    stays: Stays | None = None
    channels: int = 0
    values: dict[str, int] = field(default_factory=dict)
    firsts: dict[int, None] = field(default_factory=dict)
    seconds: dict[int, None] = field(default_factory=dict)
    read: dict[str, None] = field(default_factory=dict)
    places: dict[Place, None] = field(default_factory=dict)
    products: dict[int, None] = field(default_factory=dict)
    waiting: list[tuple[str, int]] = field(default_factory=list)

    def go(self, first: NodeProto) -> None:
        """Reach everything from the output of a layer."""
        value = first.output[0]
        sizes = self.scope.types[value].sizes
        axis = len(sizes or ()) - 1 if first.op_type == "MatMul" else 1
        self.waiting.append((value, axis))
        if sizes is None or not 0 <= axis < len(sizes) or sizes[axis] is None:
            self.reached[value] = self.number
            self._end(Stays("the number of its channels is not known: run onnx's shape inference first"))
            return
        self.channels = sizes[axis] or 0
        while self.waiting:
            self._visit(*self.waiting.pop())
        for position in self.products:
            node = self.scope.index.nodes[position]
            scaled = [slot for slot, name in enumerate(node.input) if name in self.values]
            if len(scaled) != 1 or scaled[0] not in PRODUCTS[node.op_type]:
                self._end(Stays("its factors all have scales, or what it divides by has", node))
        if not self.seconds:
            self._end(Stays("no layer reads it"))
        for place in self.places:
            self._check(place.tensor)

    def names(self, positions: dict[int, None]) -> tuple[str, ...]:
        """How people call these nodes, in node order."""
        return tuple(name_of(self.scope.index.nodes[position]) for position in sorted(positions))

    def pair(self) -> Pair:
        """What was reached, where nothing ended it."""
        return Pair(
            self.names(self.firsts),
            self.names(self.seconds),
            next(iter(self.values)),
            self.channels,
            tuple(self.read),
            tuple(self.places),
        )

    def _end(self, stays: Stays) -> None:
        """The first reason is kept; the walk goes on, so that all that is bound to it is known."""
        self.stays = self.stays or stays

    def _visit(self, value: str, axis: int) -> None:
        index = self.scope.index
        if value in self.values:
            if self.values[value] != axis:
                self._end(Stays(f"{quoted(value)} has the channels along two axes"))
            return
        if value in self.reached:
            self._end(Stays(f"{quoted(value)} has another scale already"))
            return
        self.values[value], self.reached[value] = axis, self.number
        sizes = self.scope.types[value].sizes
        if sizes is None or axis >= len(sizes) or sizes[axis] != self.channels:
            self._end(Stays(f"the channels of {quoted(value)} are not known to be those of its map"))
        if value in index.outputs:
            self._end(Stays(f"{quoted(value)} is an output of the model"))
        position = index.producer(value)
        if position is None:
            self._end(Stays(f"{quoted(value)} is an input of the model or a constant"))
        else:
            self._try(self._made, position, value, axis)
        for use in index.uses(value):
            self._try(self._used, use.node, value, axis, use.slot)

    def _try(self, step: Callable[..., None], *arguments: object) -> None:
        try:
            step(*arguments)
        except Stays as error:
            self._end(error)

    def _made(self, position: int, value: str, axis: int) -> None:
        node = self.scope.index.nodes[position]
        layer, carrier = SOURCES.of(node), CARRIERS.of(node)
        if layer is not None:
            self.firsts[position] = None
            self.places |= dict.fromkeys(layer(node, self.scope, axis))
        elif carrier is not None:
            axes = carrier(node, self.scope)
            if axis not in axes or (value != node.output[0] and node.op_type != "Split"):
                raise Stays("it moves numbers between channels", node)
            self.waiting.append((node.input[0], axes.index(axis)))
        elif JOINS.of(node) is not None:
            self._join(node)
        elif PRODUCTS.of(node) is not None:
            self.products[position] = None
            self.waiting.append(self._factor(node, axis))
        else:
            raise stops(node)

    def _used(self, position: int, value: str, axis: int, slot: int) -> None:
        node = self.scope.index.nodes[position]
        layer, carrier = SINKS.of(node), CARRIERS.of(node)
        if slot < 0:
            raise Stays("the body of it reads it", node)
        if BLIND.of(node) is not None:
            return
        if layer is not None and slot == 0:
            self.seconds[position] = None
            self.read[value] = None
            self.places |= dict.fromkeys(layer(node, self.scope, axis))
        elif carrier is not None and slot == 0:
            new = carrier(node, self.scope)[axis]
            if new is None:
                raise Stays("it moves numbers between channels", node)
            self.waiting += [(name, new) for name in (node.output if node.op_type == "Split" else node.output[:1])]
        elif JOINS.of(node) is not None or PRODUCTS.of(node) is not None:
            if PRODUCTS.of(node) is not None:
                self.products[position] = None
            behind = len(sizes_of(self.scope, value)) - axis
            axis = len(sizes_of(self.scope, node.output[0])) - behind
            self._check_beside(node, axis)
            self.waiting.append((node.output[0], axis))
        else:
            raise stops(node)

    def _join(self, node: NodeProto) -> None:
        axis, rank = self.values[node.output[0]], len(sizes_of(self.scope, node.output[0]))
        self._check_beside(node, axis)
        for name in node.input:
            own = len(sizes_of(self.scope, name)) - (rank - axis)
            if self.scope.index.weight(name) is None:
                if own < 0 or sizes_of(self.scope, name)[own] != self.channels:
                    raise Stays("one of its operands has one number for all channels", node)
                self.waiting.append((name, own))
            elif own >= 0 and dims(self.scope, name)[own] == self.channels:
                self.places[Place(name, own, 1)] = None
            elif not self._is_zero(name):
                raise Stays("it joins a number for all channels, which would have to be one for each", node)

    def _check_beside(self, node: NodeProto, axis: int) -> None:
        rank = len(sizes_of(self.scope, node.output[0]))
        if node.op_type == "Concat" and int_attribute(node, "axis", 0) % rank == axis:
            raise Stays("it puts channels beside others", node)

    def _factor(self, node: NodeProto, axis: int) -> tuple[str, int]:
        """The operand of a product that its scale comes from: the map, not the gate."""
        rank = len(sizes_of(self.scope, node.output[0]))
        found = []
        for name in (node.input[slot] for slot in PRODUCTS[node.op_type]):
            own = len(sizes_of(self.scope, name)) - (rank - axis)
            there = own >= 0 and sizes_of(self.scope, name)[own] == self.channels
            if there and not self.scope.index.is_constant(name):
                found.append((name, own))
        for name, own in found:
            if name in self.values:
                return name, own
        output = sizes_of(self.scope, node.output[0])
        whole = [(name, own) for name, own in found if sizes_of(self.scope, name)[1:] == output[1:] and own == axis]
        if len(whole) != 1:
            raise Stays("which of its factors is the map cannot be told", node)
        return whole[0]

    def _is_zero(self, name: str) -> bool:
        numbers = self.scope.index.stored(name, 1 << 16)
        return numbers is not None and not np.any(numbers)

    def _check(self, name: str) -> None:
        """Whether the numbers of an initializer are there, and nobody else's."""
        index = self.scope.index
        tensor = index.initializers.get(name)
        if tensor is None or name in index.inputs or name in index.outputs:
            self._end(Stays(f"{quoted(name)} is an input or an output of the model"))
        elif len(index.uses(name)) > 1:
            self._end(Stays(f"others read its weights {quoted(name)} as well"))
        elif tensor.data_type not in _EXACT:
            self._end(Stays(f"{quoted(name)} is in neither single nor double precision: scales are exchanged before"))
        elif not holds_numbers(tensor):
            where = "lies in a file of its own, or was left out"
            self._end(Stays(f"{quoted(name)} {where}: save the model with it in one file first"))
        elif not np.isfinite(numpy_helper.to_array(tensor)).all():
            self._end(Stays(f"{quoted(name)} has numbers that are not finite"))
