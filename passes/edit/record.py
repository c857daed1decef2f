"""What a tiled block remembers.

Every new node bears its block's name in its metadata. The node that makes the means bears the tiling as well, and what
the edit replaced: nodes, types and initializers with their places, packed. A conversion that finds tiled blocks already
adds a step of its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Protocol

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from tse_onnx.errors import ModelError, UsageError
from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.choices import choice_of
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.edit.story import (
    FORMAT,
    RAW,
    TYPED,
    Added,
    Replaced,
    Story,
    Weight,
    packed_tensor,
    unpacked_tensor,
)
from tse_onnx.passes.graph.index import names_of
from tse_onnx.passes.graph.nested import Container, Path, graphs_of
from tse_onnx.passes.names import MADE_FOR
from tse_onnx.passes.reasons import quoted

BLOCK, TILING, UNDO = MADE_FOR, "tse_onnx.tiling", "tse_onnx.undo"

# Records are nodes, which pack to some tenth. One that unpacks to much more was not made here.
_LARGEST, _RATIO = 2**20, 64
_SHORT = 256  # bytes of a constant that says where or how much

Memory = Mapping[str, Sequence["Record"]]
"""Records by the value whose node bears them, or bore them until some tool dropped the metadata of nodes."""


@dataclass(frozen=True)
class Record:
    """What the nodes of a tiled block say of it.

    `story` are the places of what was replaced, `replaced` the nodes, types and initializers themselves.
    """

    block: str
    choice: Choice
    story: Story
    replaced: GraphProto

    @property
    def step(self) -> int:
        """Which conversion of the model this was, counted from 1."""
        return self.story.step

    @property
    def made(self) -> frozenset[str]:
        """The first outputs of the nodes that took the place of others."""
        return frozenset(name for node in self.story.nodes for name in node.made)

    @property
    def traces(self) -> frozenset[str]:
        """What the graph has got: those values, and initializers."""
        return self.made | frozenset(self.story.added.initializers)

    @property
    def outputs(self) -> frozenset[str]:
        """The values that the replaced nodes made; all that others read of them is still there."""
        return frozenset(name for node in self.replaced.node for name in node.output if name)

    @property
    def spare(self) -> tuple[TensorProto, ...]:
        """Short constants that the replaced nodes read, and that other tools take away where nobody else does."""
        return tuple(map(unpacked_tensor, self.story.spare))


# Writing.


class Recorder:
    """Adds to the edits of one scope what is needed to undo them; `step` is that of this conversion."""

    def __init__(self, graph: Container, step: int, opset: int) -> None:
        self._graph, self._step, self._opset = graph, step, opset
        self._digest = digest(graph)
        self._type_places = _places(graph.value_info if isinstance(graph, GraphProto) else ())
        self._weight_places = _places(graph.initializer if isinstance(graph, GraphProto) else ())
        self._constants = {
            node.output[0]: attribute.t
            for node in graph.node if node.op_type == "Constant"
            for attribute in node.attribute if attribute.name == "value"
        }  # fmt: skip
        if isinstance(graph, GraphProto):
            self._constants |= {tensor.name: tensor for tensor in graph.initializer}

    def recorded(self, edit: Edit, block: Convertible, choice: Choice, inputs: Iterable[ValueInfoProto] = ()) -> Edit:
        """The edit of a block with the marks on its nodes. `inputs` are the model's own, where they are bound."""
        nodes = {position: self._marked(position, made, block.name, edit.bearer)
                 for position, made in edit.nodes.items()}  # fmt: skip
        bearer = next(node for made in nodes.values() for node in made if first_output(node) == edit.bearer)
        bearer.metadata_props.add(key=TILING, value=json.dumps(choice.fields(), separators=choice.separators))
        bearer.metadata_props.add(key=UNDO, value=self._packed(edit, block, inputs))
        return replace(edit, nodes=nodes)

    def _marked(self, position: int, made: Sequence[NodeProto], name: str, bearer: str) -> tuple[NodeProto, ...]:
        old = self._graph.node[position]
        marked = []
        for node in made:
            # Else it is the old one with other inputs.
            if node.name != old.name or node.op_type != old.op_type or first_output(node) == bearer:
                node = _copy(node)
                node.metadata_props.add(key=BLOCK, value=name)
            marked.append(node)
        return tuple(marked)

    def _packed(self, edit: Edit, block: Convertible, inputs: Iterable[ValueInfoProto]) -> str:
        graph, kept = self._graph, GraphProto()
        positions = sorted(edit.nodes)
        kept.node.extend(graph.node[position] for position in positions)
        types = sorted(place for name in edit.types for place in self._type_places.get(name, ()))
        weights: list[Weight] = []
        dropped: list[int] = []
        if isinstance(graph, GraphProto):
            kept.value_info.extend(graph.value_info[place] for place in types)
            dropped = sorted(place for name in edit.dropped_weights for place in self._weight_places[name])
            kept.initializer.extend(graph.initializer[place] for place in dropped)
            for name, relaid in sorted(edit.weights.items()):
                tensor = graph.initializer[self._weight_places[name][0]]
                field = next((field for field in TYPED if getattr(tensor, field)), RAW)
                weights.append(Weight(name, tuple(tensor.dims), relaid.transposed, field))
        kept.input.extend(inputs)
        squeeze = block.anatomy.squeeze
        story = Story(
            step=self._step,
            opset=self._opset,
            spare=self._spare(kept),
            sizes=block.shape or (),
            digest=self._digest,
            kind=block.kind,
            scale=block.scale.output,
            input=block.input,
            channel=squeeze.channel,
            spatial=squeeze.spatial,
            nodes=tuple(Replaced(position, tuple(map(first_output, edit.nodes[position]))) for position in positions),
            types=tuple(types),
            retyped=tuple(sorted(edit.types)),
            weights=tuple(weights),
            dropped=tuple(dropped),
            added=Added(*(tuple(end.name for end in ends) for ends in (edit.inputs, edit.outputs, edit.initializers))),
            branches=block.branches,
        )
        kept.doc_string = story.text()
        return packed(kept.SerializeToString(deterministic=True))

    def _spare(self, kept: GraphProto) -> tuple[str, ...]:
        own = {name for node in kept.node for name in node.output} | {tensor.name for tensor in kept.initializer}
        found = []
        for name in dict.fromkeys(name for node in kept.node for name in node.input if name not in own):
            tensor = self._constants.get(name)
            if tensor is not None and tensor.data_type == TensorProto.INT64 and len(tensor.dims) <= 1:
                value = TensorProto()
                value.CopyFrom(tensor)
                value.name = name
                if value.ByteSize() <= _SHORT:
                    found.append(packed_tensor(value))
        return tuple(found)


def next_step(model: ModelProto, memory: Memory) -> int:
    """The number of the conversion that comes next."""
    return max((record.step for _, found in recorded(model, memory) for record in found), default=0) + 1


def digest(graph: Container) -> str:
    """A short digest of a graph's structure: its nodes and types, and of its initializers all but the numbers."""
    state = hashlib.sha256()

    def add(part: bytes) -> None:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)

    for node in graph.node:
        add(node.SerializeToString(deterministic=True))
    if isinstance(graph, GraphProto):
        for values in (graph.input, graph.output, graph.value_info):
            state.update(b"|")
            for value in values:
                add(value.SerializeToString(deterministic=True))
        for tensor in graph.initializer:
            add(f"{tensor.name}|{tensor.data_type}|{list(tensor.dims)}".encode())
    return state.hexdigest()[:32]


# Reading.


def record_of(node: NodeProto) -> Record | None:
    """What a node that makes the means of a tiled block remembers; None for every other node.

    Raises `ModelError` where it cannot be read.
    """
    for entry in node.metadata_props:
        if entry.key == UNDO:
            break
    else:
        return None
    found = {entry.key: entry.value for entry in node.metadata_props if entry.key in (BLOCK, TILING, UNDO)}
    if len(found) != 3:
        return None
    return told(found[BLOCK], found[TILING], found[UNDO])


def told(block: str, tiling: str, undo: str) -> Record:
    """The record of a block from its three texts. Raises `ModelError` where it cannot be read."""
    try:
        replaced = GraphProto.FromString(unpacked(undo))
        parts = json.loads(replaced.doc_string)
        if parts["format"] != FORMAT:
            raise ModelError(f"block {quoted(block)} was tiled by a version of tse-onnx that this one does not know")
        return Record(block, _choice(tiling), Story.of(parts), replaced)
    except (UsageError, ValueError, KeyError, TypeError, zlib.error, DecodeError, RecursionError) as error:
        raise ModelError(f"what block {quoted(block)} remembers of its original is damaged") from error


def packed(data: bytes) -> str:
    """Bytes as text that metadata can hold."""
    return base64.b64encode(zlib.compress(data)).decode("ascii")


def unpacked(text: str) -> bytes:
    """What `packed` was given, if it is of no absurd size. Raises `ValueError` or `zlib.error`."""
    data = base64.b64decode(text, validate=True)
    return zlib.decompressobj().decompress(data, max(_LARGEST, _RATIO * len(data)))


def recalled(node: NodeProto, memory: Memory, names: Callable[[], Set[str]]) -> Record | None:
    """What a node that makes the means of a tiled block remembers, or `memory` remembers of it.

    `names` gives those of all values that the nodes of its graph read and make. Raises `ModelError` where it cannot be
    read.
    """
    record = record_of(node)
    if record is not None or not memory:
        return record
    known = [record for name in node.output if name for record in memory.get(name, ())]
    if not known:
        return None
    # Branches may have values of the same names, and the node that was replaced made the same value as this one; names
    # of values in between are new, as are those of weights, which are there as long as a node reads them.
    there = names()
    record = max(known, key=lambda record: len(record.traces & there))
    old = next((each for each in record.replaced.node if set(each.output) & set(node.output) - {""}), None)
    if old is None or old.op_type != node.op_type or (record.traces - record.outputs) & there:
        return record
    return None


def recorded(model: ModelProto, memory: Memory) -> Iterator[tuple[Path, list[Record]]]:
    """Every graph of the model that has records, with the path to it."""
    for path, graph in graphs_of(model):
        names = cache(partial(names_of, graph.node))
        records = [record for node in graph.node if (record := recalled(node, memory, names)) is not None]
        if records:
            yield path, records


def _choice(text: str) -> Choice:
    stated: Any = json.loads(text)
    choice = choice_of(stated) if isinstance(stated, dict) else None
    if choice is None:
        raise ValueError("no choice")
    return choice


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def _places(entries: Iterable[_Named]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, entry in enumerate(entries):
        places.setdefault(entry.name, []).append(place)
    return places


def first_output(node: NodeProto) -> str:
    """The name that a node is known by: of the first value that it makes."""
    return next((name for name in node.output if name), "")


def _copy(node: NodeProto) -> NodeProto:
    made = NodeProto()
    made.CopyFrom(node)
    return made
