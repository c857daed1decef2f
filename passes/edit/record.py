"""What a tiled block remembers, and the way back from it.

Every new node bears its block's name in its metadata. The node that makes the means bears the tiling as well, and what
the edit replaced: nodes, types and initializers with their places, packed. A conversion that finds tiled blocks already
adds a step of its own; the way back undoes the last step first, and what comes out is compared with a digest of what
once went in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from tse_onnx.errors import ModelError, TseError, UsageError
from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.choices import choice_of
from tse_onnx.passes.edit.splice import Edit, Relaid, relay
from tse_onnx.passes.graph.scope import Body, Function, Path, container
from tse_onnx.passes.names import MADE_FOR
from tse_onnx.passes.reasons import quoted

BLOCK, TILING, UNDO = MADE_FOR, "tse_onnx.tiling", "tse_onnx.undo"

_FORMAT = 1
# Records are nodes, which pack to some tenth. One that unpacks to much more was not made here.
_LARGEST, _RATIO = 2**20, 64
_MOST_STEPS = 64
_SHORT = 256  # bytes of a constant that says where or how much
# What a story is made of: JSON can hold anything, and a model may come from anywhere.
_STORY: dict[str, type | tuple[type, ...]] = {
    "step": int, "digest": str, "kind": str, "scale": str, "input": str, "channel": int, "spatial": list,
    "nodes": list, "types": list, "retyped": list, "weights": list, "dropped": list,
}  # fmt: skip
# Where the numbers of a tensor may lie, beside raw_data, and how.
_TYPED = {"float_data": "<f4", "int32_data": "<u2", "double_data": "<f8"}

Container = GraphProto | FunctionProto

Memory = Mapping[str, Sequence["Record"]]
"""Records by the value whose node bears them, or bore them until some tool dropped the metadata of nodes."""


@dataclass(frozen=True)
class Record:
    """What the nodes of a tiled block say of it.

    `story` are the places of what was replaced, `replaced` the nodes, types and initializers themselves.
    """

    block: str
    choice: Choice
    story: Mapping[str, Any]
    replaced: GraphProto

    @property
    def step(self) -> int:
        """Which conversion of the model this was, counted from 1."""
        return int(self.story["step"])

    @property
    def made(self) -> frozenset[str]:
        """The first outputs of the nodes that took the place of others."""
        return frozenset(name for _, names in self.story["nodes"] for name in names)

    @property
    def outputs(self) -> frozenset[str]:
        """The values that the replaced nodes made; all that others read of them is still there."""
        return frozenset(name for node in self.replaced.node for name in node.output if name)

    @property
    def spare(self) -> tuple[TensorProto, ...]:
        """Short constants that the replaced nodes read, and that other tools take away where nobody else does."""
        return tuple(_tensor(text) for text in self.story.get("spare", ()))


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
        nodes = {position: self._marked(position, made, block.name) for position, made in edit.nodes.items()}
        bearer = next(node for made in nodes.values() for node in made if _first(node) == edit.bearer)
        bearer.metadata_props.add(key=TILING, value=json.dumps(choice.fields(), separators=choice.separators))
        bearer.metadata_props.add(key=UNDO, value=self._packed(edit, block, inputs))
        return replace(edit, nodes=nodes)

    def _marked(self, position: int, made: Sequence[NodeProto], name: str) -> tuple[NodeProto, ...]:
        old = self._graph.node[position]
        marked = []
        for node in made:
            if node.name != old.name or node.op_type != old.op_type:  # else it is the old one with other inputs
                node = _copy(node)
                node.metadata_props.add(key=BLOCK, value=name)
            marked.append(node)
        return tuple(marked)

    def _packed(self, edit: Edit, block: Convertible, inputs: Iterable[ValueInfoProto]) -> str:
        graph, kept = self._graph, GraphProto()
        positions = sorted(edit.nodes)
        kept.node.extend(graph.node[position] for position in positions)
        types = sorted(place for name in edit.types for place in self._type_places.get(name, ()))
        weights: list[list[object]] = []
        dropped: list[int] = []
        if isinstance(graph, GraphProto):
            kept.value_info.extend(graph.value_info[place] for place in types)
            dropped = sorted(place for name in edit.dropped_weights for place in self._weight_places[name])
            kept.initializer.extend(graph.initializer[place] for place in dropped)
            for name, relaid in sorted(edit.weights.items()):
                tensor = graph.initializer[self._weight_places[name][0]]
                field = next((field for field in _TYPED if getattr(tensor, field)), "raw_data")
                weights.append([name, list(tensor.dims), relaid.transposed, field])
        kept.input.extend(inputs)
        squeeze = block.anatomy.squeeze
        story = {
            "format": _FORMAT,
            "step": self._step,
            "opset": self._opset,
            "spare": self._spare(kept),
            "sizes": list(block.shape or ()),
            "digest": self._digest,
            "kind": block.kind,
            "scale": block.scale.output,
            "input": block.input,
            "channel": squeeze.channel,
            "spatial": list(squeeze.spatial),
            "nodes": [[position, [_first(node) for node in edit.nodes[position]]] for position in positions],
            "types": types,
            "retyped": sorted(edit.types),
            "weights": weights,
            "dropped": dropped,
        }
        kept.doc_string = json.dumps(story, separators=(",", ":"))
        return packed(kept.SerializeToString(deterministic=True))

    def _spare(self, kept: GraphProto) -> list[str]:
        own = {name for node in kept.node for name in node.output} | {tensor.name for tensor in kept.initializer}
        found = []
        for name in dict.fromkeys(name for node in kept.node for name in node.input if name not in own):
            tensor = self._constants.get(name)
            if tensor is not None and tensor.data_type == TensorProto.INT64 and len(tensor.dims) <= 1:
                value = TensorProto()
                value.CopyFrom(tensor)
                value.name = name
                if value.ByteSize() <= _SHORT:
                    found.append(base64.b64encode(value.SerializeToString(deterministic=True)).decode("ascii"))
        return found


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
        story = json.loads(replaced.doc_string)
        if story["format"] != _FORMAT:
            raise ModelError(f"block {quoted(block)} was tiled by a version of tse-onnx that this one does not know")
        if not _told(story):
            raise ValueError("no story of a block")
        return Record(block, _choice(tiling), story, replaced)
    except (UsageError, ValueError, KeyError, TypeError, zlib.error, DecodeError, RecursionError) as error:
        raise ModelError(f"what block {quoted(block)} remembers of its original is damaged") from error


def packed(data: bytes) -> str:
    """Bytes as text that metadata can hold."""
    return base64.b64encode(zlib.compress(data)).decode("ascii")


def unpacked(text: str) -> bytes:
    """What `packed` was given, if it is of no absurd size. Raises `ValueError` or `zlib.error`."""
    data = base64.b64decode(text, validate=True)
    return zlib.decompressobj().decompress(data, max(_LARGEST, _RATIO * len(data)))


def _told(story: Mapping[str, Any]) -> bool:
    """Whether a story has every part, each of its type, so that whoever reads it need not ask."""
    if not all(type(story[key]) is kind for key, kind in _STORY.items()) or not 1 <= story["step"] <= _MOST_STEPS:
        return False
    if type(story.get("opset", 0)) is not int or type(story.get("sizes", [])) is not list:  # older records have none
        return False
    for text in story.get("spare", ()):
        _tensor(text)
    places = (*story["spatial"], story["channel"], *story["types"], *story["dropped"])
    places += tuple(position for position, _ in story["nodes"])
    names = (*story["retyped"], *(name for _, made in story["nodes"] for name in made))
    weights = [(name, field) for name, dims, transposed, field in story["weights"]
               if type(transposed) is bool and all(type(dim) is int and dim >= 0 for dim in dims)]  # fmt: skip
    return (
        all(type(place) is int and place >= 0 for place in places)
        and all(type(name) is str for name in names)
        and len(weights) == len(story["weights"])
        and all(type(name) is str and field in (*_TYPED, "raw_data") for name, field in weights)
    )


def restored(model: ModelProto, memory: Memory) -> tuple[ModelProto, tuple[str, ...]]:
    """A copy of the model as it was before any conversion, and the names of the blocks that were tiled.

    `memory` is what the model itself remembers; that stays in the copy. Raises `ModelError` where the model was edited
    since, so that it cannot be as it was.
    """
    made, names = ModelProto(), list[str]()
    made.CopyFrom(model)
    while found := list(recorded(made, memory)):
        step = max(record.step for _, records in found for record in records)
        # Innermost first, while the paths to them still hold.
        for path, records in sorted(found, key=lambda pair: len(pair[0]), reverse=True):
            last = [record for record in records if record.step == step]
            if last:
                names += [record.block for record in last]
                _undo(made, container(made, path), last)
    return made, tuple(names)


def _undo(model: ModelProto, graph: Container, records: Sequence[Record]) -> None:
    try:
        _put_back(model, graph, records)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, TseError):
            raise
        raise _edited(records[0]) from error
    if digest(graph) != records[0].story["digest"]:
        raise _edited(records[0])


class Edited(ModelError):
    """The graph was changed after a block was tiled."""


def _edited(record: Record) -> Edited:
    return Edited(
        f"the graph around block {quoted(record.block)} was edited after it was tiled, so the original cannot be "
        "restored: convert the original model anew"
    )


def _put_back(model: ModelProto, graph: Container, records: Sequence[Record]) -> None:
    old_nodes: dict[int, NodeProto] = {}
    old_types: dict[int, ValueInfoProto] = {}
    old_weights: dict[int, TensorProto] = {}
    gone, retyped, relaid = set[str](), set[str](), dict[str, tuple[list[int], bool, str]]()
    for record in records:
        story, kept = record.story, record.replaced
        for (position, made), node in zip(story["nodes"], kept.node, strict=True):
            old_nodes[position] = node
            gone.update(made)
        old_types |= dict(zip(story["types"], kept.value_info, strict=True))
        old_weights |= dict(zip(story["dropped"], kept.initializer, strict=True))
        retyped.update(story["retyped"])
        relaid |= {name: (dims, transposed, field) for name, dims, transposed, field in story["weights"]}
        inputs = {value.name: value for value in kept.input}
        for value in model.graph.input:
            if value.name in inputs:
                value.CopyFrom(inputs[value.name])
    there = {_first(node) for node in graph.node}
    if not gone <= there:
        raise _edited(records[0])
    rebuilt = type(graph)()
    rebuilt.node.extend(_merged([node for node in graph.node if _first(node) not in gone], old_nodes))
    del graph.node[:]
    graph.node.MergeFrom(rebuilt.node)
    if isinstance(graph, GraphProto) and isinstance(rebuilt, GraphProto):
        if retyped:
            others = [value for value in graph.value_info if value.name not in retyped]
            rebuilt.value_info.extend(_merged(others, old_types))
            del graph.value_info[:]
            graph.value_info.MergeFrom(rebuilt.value_info)
        for tensor in graph.initializer:
            if tensor.name in relaid:
                relaid_back(tensor, *relaid[tensor.name])
        for place in sorted(old_weights):
            graph.initializer.insert(place, old_weights[place])


Entry = TypeVar("Entry")


def _merged(others: Sequence[Entry], placed: Mapping[int, Entry]) -> Iterator[Entry]:
    """`placed` at their places, and the others in between in their order."""
    count = len(others) + len(placed)
    if any(place >= count for place in placed):
        raise IndexError("a place behind the end")
    rest = iter(others)
    for place in range(count):
        yield placed[place] if place in placed else next(rest)


def relaid_back(tensor: TensorProto, dims: list[int], transposed: bool, field: str) -> None:
    """Give a tensor the dimensions, and its numbers the order and the field, that they had."""
    relay(tensor, Relaid(tuple(dims), transposed))
    if transposed and field != "raw_data":
        numbers = np.frombuffer(tensor.raw_data, _TYPED[field])
        tensor.ClearField("raw_data")
        getattr(tensor, field).extend(numbers.tolist())


def recalled(node: NodeProto, memory: Memory, nodes: Iterable[NodeProto]) -> Record | None:
    """What a node that makes the means of a tiled block remembers, or `memory` remembers of it.

    `nodes` are all those of its graph. Raises `ModelError` where it cannot be read.
    """
    record = record_of(node)
    if record is not None or not memory:
        return record
    known = [record for name in node.output if name for record in memory.get(name, ())]
    if not known:
        return None
    # Branches may have values of the same names, and the node that was replaced made the same value as this one; names
    # of values in between are new.
    there = {name for each in nodes for name in each.output}
    record = max(known, key=lambda record: len(record.made & there))
    old = next((each for each in record.replaced.node if set(each.output) & set(node.output) - {""}), None)
    if old is None or old.op_type != node.op_type or (record.made - record.outputs) & there:
        return record
    return None


def recorded(model: ModelProto, memory: Memory) -> Iterator[tuple[Path, list[Record]]]:
    """Every graph of the model that has records, with the path to it."""
    waiting: list[tuple[Path, Container]] = [((), model.graph)]
    waiting += [((Function(number),), function) for number, function in enumerate(model.functions)]
    while waiting:
        path, graph = waiting.pop()
        records = [record for node in graph.node if (record := recalled(node, memory, graph.node)) is not None]
        if records:
            yield path, records
        for position, node in enumerate(graph.node):
            for attribute in node.attribute:
                if attribute.type == AttributeProto.GRAPH:
                    waiting.append(((*path, Body(position, attribute.name)), attribute.g))
                elif attribute.type == AttributeProto.GRAPHS:
                    waiting += [
                        ((*path, Body(position, attribute.name, number)), inner)
                        for number, inner in enumerate(attribute.graphs)
                    ]


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


def _tensor(text: str) -> TensorProto:
    return TensorProto.FromString(base64.b64decode(text, validate=True))


def _first(node: NodeProto) -> str:
    return next((name for name in node.output if name), "")


def _copy(node: NodeProto) -> NodeProto:
    made = NodeProto()
    made.CopyFrom(node)
    return made
