"""Who makes and who reads each value of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple, Protocol

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, numpy_helper

from tse_onnx.passes.graph.nested import bodies
from tse_onnx.passes.graph.operators import is_default

# A constant that steers a shape (axes, pads, a Reshape target) is short. Longer ones are weights: never read.
_SHORT = 64
_NESTING_OPS = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_SHAPE_READERS = frozenset({"Shape", "Size"})
# Where a tensor's numbers lie that are not raw.
NUMBERS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_NEVER_CONSTANT = _NESTING_OPS | {"RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}


class Use(NamedTuple):
    """One reading of a value: the node's position in the graph and the input slot (-1: captured by a nested graph)."""

    node: int
    slot: int


class Folding(Protocol):
    """What a graph computes from constants and from the sizes of tensors; see `folding.py`."""

    def numbers(self, value: str) -> np.ndarray | None:
        """The numbers of a short value; None where they are not known."""

    def sizes(self, value: str) -> np.ndarray | None:
        """The same as objects, with a `Size` for each number that is not known."""


class GraphIndex:
    """Producers, consumers and constants of one graph, built in one pass over its nodes."""

    def __init__(
        self,
        nodes: Iterable[NodeProto],
        inputs: Iterable[str],
        outputs: Iterable[str],
        initializers: Iterable[TensorProto] = (),
        sparse_initializers: Iterable[SparseTensorProto] = (),
        outer: GraphIndex | None = None,
        constants: Mapping[str, np.ndarray | None] | None = None,
    ) -> None:
        """`outer` is the index of the enclosing graph; `constants` are inputs that are known to be constant, and their
        numbers where these are short and known."""
        self.nodes: Sequence[NodeProto] = list(nodes)
        self.inputs, self.outputs = frozenset(inputs), frozenset(outputs)
        self.initializers: dict[str, TensorProto] = {tensor.name: tensor for tensor in initializers}
        self.sparse_initializers = {tensor.values.name: tensor for tensor in sparse_initializers}
        self.outer = outer
        self.folding: Folding | None = None
        """What works out the numbers that the graph computes from known sizes, once these are known."""
        self.nesting: list[int] = []
        """Positions of the nodes that may hold graphs of their own, or call a function."""
        self._names: Set[str] | None = None
        self._producers: dict[str, int] = {}
        self._uses: dict[str, list[Use]] = {}
        self._given = constants or {}
        self._constant: dict[str, bool] = dict.fromkeys(self._given, True)
        self._sized: dict[str, bool] = dict.fromkeys(self._given, True)
        producers, uses, early = self._producers, self._uses, list[str]()
        for position, node in enumerate(self.nodes):
            slot = 0
            for name in node.input:
                if name:
                    found = uses.get(name)
                    if found is None:
                        uses[name] = [Use(position, slot)]
                        if name not in producers:
                            early.append(name)
                    else:
                        found.append(Use(position, slot))
                slot += 1  # noqa: SIM113 - enumerate would cost a tuple for each input of the graph
            if node.op_type in _NESTING_OPS or not is_default(node.domain):
                self.nesting.append(position)
                for name in captured(node):
                    uses.setdefault(name, []).append(Use(position, -1))
                    if name not in producers:
                        early.append(name)
            for name in node.output:
                producers[name] = position
        self.is_ordered = producers.keys().isdisjoint(early)
        """Whether every value is made before it is read."""

    @classmethod
    def of_graph(cls, graph: GraphProto, outer: GraphIndex | None = None) -> GraphIndex:
        """The index of a main or nested graph."""
        inputs, outputs = (value.name for value in graph.input), (value.name for value in graph.output)
        return cls(graph.node, inputs, outputs, graph.initializer, graph.sparse_initializer, outer)

    def producer(self, value: str) -> int | None:
        """Position of the node that makes `value`; None for inputs and initializers."""
        return self._producers.get(value)

    def weight(self, value: str) -> TensorProto | None:
        """The initializer called `value`, here or in an enclosing graph."""
        found = self.initializers.get(value)
        if found is None and self.outer is not None and value not in self._producers and value not in self.inputs:
            return self.outer.weight(value)
        return found

    def names(self) -> Set[str]:
        """The values that its nodes read and make."""
        if self._names is None:
            self._names = names_of(self.nodes)
        return self._names

    def uses(self, value: str) -> Sequence[Use]:
        """Every reading of `value`, in node order."""
        return self._uses.get(value, ())

    def is_constant(self, value: str) -> bool:
        """Whether `value` depends on initializers and Constant nodes alone, however many nodes lie between."""
        return self._settled(value, self._constant, frozenset())

    def is_size(self, value: str) -> bool:
        """Whether `value` depends on constants and on the shapes of tensors alone, not on what these hold."""
        return self._settled(value, self._sized, _SHAPE_READERS)

    def _settled(self, value: str, known: dict[str, bool], leaves: frozenset[str]) -> bool:
        opened, stack = set[str](), [value]
        while stack:
            name = stack.pop()
            if name in opened:
                known[name] = all(known.get(source, False) for source in self._sources(name, leaves) or ())
            elif name not in known:
                sources = self._sources(name, leaves)
                known[name] = sources == ()  # for a name with sources a provisional False, which ends cycles
                if sources:
                    opened.add(name)
                    stack.append(name)
                    stack.extend(sources)
        return known[value]

    def _settles(self, value: str, leaves: frozenset[str]) -> bool:
        return self.is_size(value) if leaves else self.is_constant(value)

    def _sources(self, value: str, leaves: frozenset[str]) -> tuple[str, ...] | None:
        """What `value` is computed from: nothing if it is settled by itself, None if it can never be."""
        if value in self.initializers or value in self.sparse_initializers:
            return ()
        position = self._producers.get(value)
        if position is None:
            settled = self.outer is not None and value not in self.inputs and self.outer._settles(value, leaves)
            return () if settled else None
        node = self.nodes[position]
        if node.op_type == "Constant" or node.op_type in leaves:
            return ()
        # CastLike takes of its second input the type alone.
        read = node.input[:1] if node.op_type == "CastLike" and is_default(node.domain) else node.input
        sources = tuple(source for source in read if source)
        return sources if sources and node.op_type not in _NEVER_CONSTANT else None

    def short_constant(self, value: str) -> np.ndarray | None:
        """The numbers of a short constant: an initializer, a Constant node, or what the graph computes from these and
        from sizes that are known; None where they are not."""
        found = self.stored(value, _SHORT)
        if found is None and self.folding is not None and value in self._producers:
            found = self.folding.numbers(value)
        return found

    def stored(self, value: str, most: int) -> np.ndarray | None:
        """The numbers of an initializer or a Constant node with `most` elements at most, or None."""
        position = self._producers.get(value)
        seen = set[str]()
        while position is not None and self.nodes[position].op_type == "Identity" and value not in seen:
            seen.add(value)
            value = self.nodes[position].input[0]
            position = self._producers.get(value)
        given = self._given.get(value)
        if given is not None:
            return given if given.size <= most else None
        tensor = self.initializers.get(value)
        if tensor is None and position is None and self.outer is not None and value not in self.inputs:
            return self.outer.stored(value, most)
        if tensor is None:
            if position is None or self.nodes[position].op_type != "Constant":
                return None
            for attribute in self.nodes[position].attribute:
                if attribute.name == "value":
                    tensor = attribute.t
                elif attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
                    return np.asarray(onnx.helper.get_attribute_value(attribute))
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL or element_count(tensor.dims) > most:
            return None
        try:
            return numpy_helper.to_array(tensor)
        except (ValueError, TypeError):
            return None

    def uniform(self, value: str, most: int) -> tuple[float, tuple[int, ...]] | None:
        """The number that every element of a constant is, with its dimensions; None where they differ, or are more than
        `most` or in another file."""
        numbers = self.stored(value, most)
        if numbers is None or not numbers.size or numbers.dtype.kind != "f" or (numbers != numbers.flat[0]).any():
            return None
        return float(numbers.flat[0]), numbers.shape


def names_of(nodes: Iterable[NodeProto]) -> Set[str]:
    """The values that nodes read and make; not what is read in bodies."""
    return {name for node in nodes for name in (*node.output, *node.input)}


def holds_numbers(tensor: TensorProto) -> bool:
    """Whether a tensor's numbers lie in the model itself: neither in another file nor left out on purpose."""
    if tensor.data_location == TensorProto.EXTERNAL:
        return False
    return bool(tensor.raw_data or any(len(getattr(tensor, field)) for field in NUMBERS))


def element_count(dims: Iterable[int]) -> int:
    """Product of dimensions; 1 for a scalar."""
    count = 1
    for dim in dims:
        count *= dim
    return count


def captured(node: NodeProto) -> Iterator[str]:
    """Names that the nested graphs of `node` read from outside themselves."""
    for graph in bodies(node):
        yield from _free_names(graph)


def _free_names(graph: GraphProto) -> Iterator[str]:
    bound = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    bound.update(tensor.values.name for tensor in graph.sparse_initializer)
    for node in graph.node:
        bound.update(node.output)
    for node in graph.node:
        for name in node.input:
            if name and name not in bound:
                yield name
        for name in captured(node):
            if name not in bound:
                yield name
    for value in graph.output:
        if value.name not in bound:
            yield value.name


def takes_references(node: NodeProto) -> bool:
    """Whether the node, in a function, takes attributes from the function's call: their values are not known here."""
    return any(found.ref_attr_name for found in node.attribute)


def attribute(node: NodeProto, name: str) -> AttributeProto | None:
    """The attribute called `name`, or None where the operator's default holds."""
    return next((found for found in node.attribute if found.name == name), None)


def int_attribute(node: NodeProto, name: str, default: int) -> int:
    """An integer attribute or its default."""
    found = attribute(node, name)
    return default if found is None else found.i


def ints_attribute(node: NodeProto, name: str) -> tuple[int, ...] | None:
    """A list-of-integers attribute, or None where it is absent."""
    found = attribute(node, name)
    return None if found is None else tuple(found.ints)
