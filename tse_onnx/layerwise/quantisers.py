"""The quantisers of a quantised model, read out of it and given to the layers of the float model that it was made of.

They are put into the float model, never taken out of the quantised one: onnxruntime leaves out a Relu where the
quantiser behind it has 0 for its smallest number, so a model without that quantiser would be another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from tse_onnx.costs.profile import names_of
from tse_onnx.errors import ModelError
from tse_onnx.files.source import Source
from tse_onnx.passes.edit.excerpt import excerpt
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.session import Session

QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
_PAIR = frozenset({QUANTISE, DEQUANTISE})
_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
_LEFT_OUT = frozenset({"Relu", "Clip"})  # what onnxruntime leaves out: the layer before makes its result then
OUTPUT = -1
"""The slot of what a node makes, where the model gives that away."""


@dataclass(frozen=True)
class Rounding:
    """A value is rounded by a pair of nodes, with their own scale and zero point."""

    value: str
    """What is rounded, as the quantised model calls it: readers of one value read the same numbers."""
    pair: tuple[NodeProto, NodeProto] = field(repr=False, compare=False)
    constants: Mapping[str, np.ndarray] = field(repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Numbers:
    """A constant has become other numbers."""

    array: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Edge:
    """What the node at a position of the float model reads in a slot, rounded; `OUTPUT` is what it makes."""

    position: int
    slot: int
    how: Rounding | Numbers


@dataclass(frozen=True)
class Layer:
    """A node of the float model with the quantisers that are its own. Some may stand at other nodes: what a layer reads
    rounded is read so by all, and what it makes is rounded for its readers."""

    name: str
    operator: str
    position: int
    edges: tuple[Edge, ...] = field(repr=False)

    @property
    def rounds_weights(self) -> bool:
        """Whether constants are rounded: weights, biases, tables."""
        return any(isinstance(edge.how, Numbers) for edge in self.edges)

    @property
    def rounds_activations(self) -> bool:
        """Whether values are rounded that the network computes."""
        return any(isinstance(edge.how, Rounding) for edge in self.edges)


def is_quantised(model: ModelProto) -> bool:
    """Whether a model has quantisers."""
    return any(node.op_type in _PAIR or node.op_type.startswith("QLinear") for node in model.graph.node)


def quantised_layers(source: Source, index: GraphIndex, quantised: Source, lenient: bool = False) -> tuple[Layer, ...]:
    """The layers of a float model, whose `index` is given, that `quantised`, made of it, rounds: in its order.

    A `lenient` reading leaves out what is rounded at nodes that the float model has not. Raises `ModelError` where the
    one was not made of the other, or holds its quantisers in another form than pairs of nodes.
    """
    reading = _Reading(quantised)
    matched = _matched(index, reading)
    strange = [node for node in reading.owners if node not in matched]
    if strange and not lenient:
        node = reading.index.nodes[strange[0]]
        raise ModelError(
            f"{quantised.title} was not made of {source.title}, which has no node {quoted(node.name or node.output[0])}"
        )
    names = names_of(index.nodes)
    numbers = _numbers(quantised, reading)
    found = []
    for owner, ends in sorted(reading.owners.items(), key=lambda item: matched.get(item[0], -1)):
        if owner not in matched:
            continue
        position = matched[owner]
        node = index.nodes[position]
        edges = tuple(
            Edge(matched[end.node], end.slot, _how(reading, end, numbers)) for end in ends if end.node in matched
        )
        for edge in edges:
            _check(edge, index, quantised, source)
        found.append(Layer(names[node.output[0]], operator(node), position, edges))
    return tuple(found)


@dataclass(frozen=True)
class _End:
    """Where a quantised model reads what a pair makes: a node's slot, or `OUTPUT` of the node that makes it."""

    node: int
    slot: int
    value: str
    """What DequantizeLinear makes."""


class _Reading:
    """Where a quantised model is rounded, and to which node each quantiser counts."""

    def __init__(self, quantised: Source) -> None:
        self.title = quantised.title
        self.index = index = GraphIndex.of_graph(quantised.model.graph)
        nodes = index.nodes
        if any(node.op_type.startswith("QLinear") for node in nodes):
            raise ModelError(
                f"{quantised.title} computes with integers (QLinearConv and its kin); what is read are pairs of "
                f"{QUANTISE} and {DEQUANTISE} (QDQ)"
            )
        self.rounded = {
            node.output[0]: position
            for position, node in enumerate(nodes)
            if node.op_type == DEQUANTISE and node.domain in _DOMAINS
        }
        """What each DequantizeLinear makes, with the position of that node."""
        ends = [
            _End(position, slot, name)
            for position, node in enumerate(nodes)
            if node.op_type not in _PAIR
            for slot, name in enumerate(node.input)
            if name in self.rounded
        ]
        for name in self.rounded:
            if name in index.outputs and (maker := index.producer(self.before(name))) is not None:
                ends.append(_End(maker, OUTPUT, name))
        layers = {end.node for end in ends if index.is_constant(end.value)}
        known = {end.value for end in ends if end.node in layers}
        known |= {name for name in self.rounded if index.producer(self.before(name)) in layers}
        layers |= {end.node for end in ends if end.slot != OUTPUT and self._goes_through(nodes[end.node], known)}
        readers: dict[str, list[int]] = {}
        for end in ends:
            if end.node in layers and end.slot != OUTPUT:
                readers.setdefault(end.value, []).append(end.node)
        self.owners: dict[int, list[_End]] = {}
        for end in ends:
            self.owners.setdefault(self._owner(end, layers, readers), []).append(end)

    def before(self, rounded: str) -> str:
        """What is rounded to a value: the value itself, before its QuantizeLinear; for a constant what is stored."""
        inner = self.index.nodes[self.rounded[rounded]].input[0]
        maker = self.index.producer(inner)
        node = None if maker is None else self.index.nodes[maker]
        return inner if node is None or node.op_type != QUANTISE else node.input[0]

    def _owner(self, end: _End, layers: set[int], readers: Mapping[str, Sequence[int]]) -> int:
        """The layer that a quantiser counts to: the one that reads what it makes, else one that reads the same, else
        the one whose result it rounds."""
        if end.node in layers:
            return end.node
        if end.value in readers:
            return readers[end.value][0]
        maker = self.index.producer(self.before(end.value))
        return maker if maker is not None and maker in layers else end.node

    def _goes_through(self, node: NodeProto, known: Container[str]) -> bool:
        """Whether all that a node reads and makes is rounded, some of it for the node's own sake: what is `known` is
        read or made by layers with weights, and whatever lies between two of these goes from rounded to rounded."""
        index = self.index
        reads = [name for name in node.input if name and not index.is_constant(name)]
        used = [index.nodes[use.node] for name in node.output if name for use in index.uses(name)]
        if any(name not in self.rounded for name in reads) or any(user.op_type != QUANTISE for user in used):
            return False
        makes = [use.node for user in used for use in index.uses(user.output[0])]
        return any(name not in known for name in (*reads, *(index.nodes[position].output[0] for position in makes)))


def _matched(index: GraphIndex, reading: _Reading) -> dict[int, int]:
    """The position in the float model of each node of the quantised one that is found there: by name, else by what it
    makes, which is called otherwise where it is rounded as an output of the model."""
    times = Counter(node.name for node in index.nodes)
    theirs = Counter(node.name for node in reading.index.nodes)
    by_name = {node.name: at for at, node in enumerate(index.nodes) if node.name and times[node.name] == 1}
    given_away = {reading.before(name): name for name in reading.rounded if name in reading.index.outputs}
    found = {}
    for position, node in enumerate(reading.index.nodes):
        if node.op_type in _PAIR:
            continue
        at = by_name.get(node.name) if theirs[node.name] == 1 else None
        if at is None or index.nodes[at].op_type != node.op_type:
            made = next((name for name in node.output if name), "")
            at = index.producer(given_away.get(made, made))
            while at is not None and index.nodes[at].op_type in _LEFT_OUT and node.op_type not in _LEFT_OUT:
                at = index.producer(index.nodes[at].input[0])
        if at is not None and index.nodes[at].op_type == node.op_type:
            found[position] = at
    return found


def _numbers(quantised: Source, reading: _Reading) -> dict[str, np.ndarray]:
    """All constants that quantisers need: what weights have become, scales and zero points."""
    index = reading.index
    wanted: dict[str, None] = {}
    for ends in reading.owners.values():
        for end in ends:
            if index.is_constant(end.value):
                wanted[end.value] = None
            else:
                wanted.update((name, None) for node in _pair(reading, end.value) for name in node.input[1:] if name)
    for name in wanted:
        if not index.is_constant(name):
            raise ModelError(f"{quantised.title} computes {quoted(name)}, a scale or a zero point, while it runs")
    part = excerpt(index, (), wanted)
    model = part.model(quantised.model, {}, wanted)
    found = Session(model, quantised.folder, (), 0, quantised.title, way_out="").run({}, list(wanted))
    return dict(found)


def _pair(reading: _Reading, value: str) -> tuple[NodeProto, NodeProto]:
    last = reading.index.nodes[reading.rounded[value]]
    maker = reading.index.producer(last.input[0])
    first = None if maker is None else reading.index.nodes[maker]
    if first is None or first.op_type != QUANTISE:
        raise ModelError(
            f"{reading.title} does not round {quoted(value)} by a {QUANTISE} before its {DEQUANTISE}: it cannot be "
            "compared with a float model"
        )
    return first, last


def _how(reading: _Reading, end: _End, numbers: Mapping[str, np.ndarray]) -> Rounding | Numbers:
    if end.value in numbers:
        return Numbers(numbers[end.value])
    pair = _pair(reading, end.value)
    constants = {name: numbers[name] for node in pair for name in node.input[1:] if name}
    return Rounding(pair[0].input[0], pair, constants)


def _check(edge: Edge, index: GraphIndex, quantised: Source, source: Source) -> None:
    """That a constant is rounded, not another one: then its noise is more than it is itself. Biases may be others, as
    correction makes them."""
    if not isinstance(edge.how, Numbers) or edge.how.array.ndim < 2:
        return
    name = index.nodes[edge.position].input[edge.slot] if edge.slot < len(index.nodes[edge.position].input) else ""
    tensor = index.weight(name)
    if tensor is None or tensor.data_location:  # computed, or in a file of its own
        return
    own = numpy_helper.to_array(tensor).astype(np.float64)
    if own.shape != edge.how.array.shape or np.square(edge.how.array - own).sum() > np.square(own).sum():
        raise ModelError(
            f"{quantised.title} was not made of {source.title}: {quoted(name)} holds other numbers there, not these "
            "rounded"
        )
