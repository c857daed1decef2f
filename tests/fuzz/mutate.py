"""Break a model: any field of any message in it, the way that nodes are wired, or the bytes of the file."""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper

from tse_onnx.passes.edit.record import TILING, UNDO
from tse_onnx.passes.forms import excite
from tse_onnx.passes.forms.squeeze import READERS

_INTEGERS = (0, 1, -1, 2, 3, 7, 10, 64, 65, 255, 2**16, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e38, -1e38, 1e-45, float("nan"), float("inf"), -float("inf"))
ESCAPES = "\x1b[31m\x1b]0;title\x07\r\n\x9b2J\u202e"
_STRINGS = (
    "", " ", "x", ESCAPES, "../secret.bin", "/dev/zero", "/etc/hostname", ".", "%s%n{}", "'\"\\", "é" * 40, "n" * 3000,
    "NOTSET", "SAME_UPPER", "VALID", "reflect", "linear", "ai.onnx", "com.microsoft",
)  # fmt: skip
_SQUEEZING = ("GlobalAveragePool", "ReduceMean", "Mul", "Sigmoid", "Conv", "Gemm", "MatMul", "Reshape", "Constant")


def mutated(model: ModelProto, rng: random.Random) -> bytes:
    """The bytes of the model after one to eight changes; `model` is changed as well."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        change = rng.choices(list(_CHANGES), list(_CHANGES.values()))[0]
        change(model, rng)
    data = model.SerializeToString()
    return _bytes(data, rng) if rng.random() < 0.1 else data


def _bytes(data: bytes, rng: random.Random) -> bytes:
    """Cut, flip, drop or repeat bytes."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not made:
            break
        place = rng.randrange(len(made))
        length = rng.choice((1, 1, 2, 8, 100))
        what = rng.randrange(5)
        if what == 0:
            made[place] = rng.randrange(256)
        elif what == 1:
            made[place : place + length] = b""
        elif what == 2:
            made[place:place] = made[place : place + length]
        elif what == 3:
            made[place:place] = rng.choice((b"\xff" * 10, b"\xff\xff\xff\xff\x07", b"\x00" * 9, b"\x80" * 12))
        elif rng.random() < 0.3:
            del made[place:]
    return bytes(made)


# Any field of any message.


def _any_field(model: ModelProto, rng: random.Random) -> None:
    # Mostly in the graph, for a model without an opset or a graph is refused at once.
    message: Message = model if rng.random() < 0.1 else model.graph
    while True:
        fields = [field for field in message.DESCRIPTOR.fields if _filled(message, field) or rng.random() < 0.1]
        if not fields:
            return
        field = rng.choice(fields)
        inner = _entries(message, field) if field.message_type is not None else []
        # Mostly down: what is deep is most of a model.
        if inner and rng.random() < 0.85:
            message = rng.choice(inner)
        else:
            break
    if _repeated(message, field):
        _change_list(message, field, model, rng)
    elif rng.random() < 0.2 or field.message_type is not None:
        message.ClearField(field.name)
    else:
        _set(message, field, _value(field, getattr(message, field.name), model, rng))


def _change_list(message: Message, field: FieldDescriptor, model: ModelProto, rng: random.Random) -> None:
    entries = list(getattr(message, field.name))
    what = rng.choice(("drop", "twice", "swap", "change", "clear", "add", "many"))
    if what in ("drop", "twice", "swap", "change") and not entries:
        return
    place = rng.randrange(len(entries)) if entries else 0
    if what == "drop":
        del entries[place]
    elif what == "twice":
        entries.insert(rng.randrange(len(entries) + 1), entries[place])
    elif what == "swap":
        other = rng.randrange(len(entries))
        entries[place], entries[other] = entries[other], entries[place]
    elif what == "clear":
        entries = []
    elif what == "many" and entries:
        entries += [entries[place]] * rng.choice((5, 70, 700))
    elif field.message_type is None:
        value = _value(field, entries[place] if entries else _default(field), model, rng)
        entries[place : place + (what == "change")] = [value]
    rebuilt = type(message)()
    for entry in entries:
        if field.message_type is not None:
            getattr(rebuilt, field.name).add().CopyFrom(entry)
        else:
            _append(getattr(rebuilt, field.name), entry)
    message.ClearField(field.name)
    getattr(message, field.name).MergeFrom(getattr(rebuilt, field.name))


def _filled(message: Message, field: FieldDescriptor) -> bool:
    return bool(len(getattr(message, field.name))) if _repeated(message, field) else message.HasField(field.name)


def _entries(message: Message, field: FieldDescriptor) -> list[Message]:
    value = getattr(message, field.name)
    return list(value) if _repeated(message, field) else [value] if message.HasField(field.name) else []


def _repeated(message: Message, field: FieldDescriptor) -> bool:
    return hasattr(getattr(message, field.name), "extend")


def _default(field: FieldDescriptor) -> Any:
    kinds = {
        FieldDescriptor.CPPTYPE_STRING: "",
        FieldDescriptor.CPPTYPE_FLOAT: 0.0,
        FieldDescriptor.CPPTYPE_DOUBLE: 0.0,
    }
    return b"" if field.type == FieldDescriptor.TYPE_BYTES else kinds.get(field.cpp_type, 0)


def _value(field: FieldDescriptor, old: Any, model: ModelProto, rng: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice((b"", b"\xff\xfe", old[:-1], old + b"\0", old[: len(old) // 2], bytes(len(old)),
                           rng.choice(_STRINGS).encode(), rng.randbytes(min(len(old), 4096))))  # fmt: skip
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return rng.choice((*_STRINGS, *rng.choices(_names(model), k=12)))
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return rng.choice((*_FLOATS, old + 1, old * 2))
    if field.enum_type is not None:
        return rng.choice([*(value.number for value in field.enum_type.values), 99])
    return rng.choice((*_INTEGERS, old + 1, old - 1, -old, old * 2))


def _set(message: Message, field: FieldDescriptor, value: Any) -> None:
    try:
        setattr(message, field.name, value)
    except (ValueError, TypeError):  # out of the field's range: as it was
        return


def _append(entries: Any, value: Any) -> None:
    try:
        entries.append(value)
    except (ValueError, TypeError):
        return


def _names(model: ModelProto) -> list[str]:
    names = [value.name for value in (*model.graph.input, *model.graph.output, *model.graph.initializer)]
    for node in model.graph.node:
        names += [node.name, *node.output]
    return names or ["x"]


# Graphs and nodes.


def _graphs(model: ModelProto) -> Iterator[Any]:
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _some_node(model: ModelProto, rng: random.Random) -> tuple[Any, NodeProto] | None:
    pairs = [(graph, node) for graph in _graphs(model) for node in graph.node]
    return rng.choice(pairs) if pairs else None


def _rewire(model: ModelProto, rng: random.Random) -> None:
    """Let a node read, or make, another value."""
    found = _some_node(model, rng)
    if found is None:
        return
    node = found[1]
    slots = node.output if rng.random() < 0.2 and node.output else node.input
    name = rng.choice(("", *rng.choices(_names(model), k=10)))
    if slots and rng.random() < 0.8:
        slots[rng.randrange(len(slots))] = name
    else:
        slots.append(name)


def _operator(model: ModelProto, rng: random.Random) -> None:
    """Let a node be another operator."""
    found = _some_node(model, rng)
    if found is not None:
        domain, operator = rng.choice(_operators())
        found[1].op_type = operator
        if rng.random() < 0.9:
            found[1].domain = domain


@cache
def _operators() -> list[tuple[str, str]]:
    known = [*READERS, *excite.FORMS]
    names = [("", name) for name in (*_SQUEEZING * 3, *(name for name in known if "::" not in name))]
    names += [tuple(name.split("::")) for name in known if "::" in name]  # type: ignore[misc]
    return names + [(schema.domain, schema.name) for schema in onnx.defs.get_all_schemas()]


def _attribute(model: ModelProto, rng: random.Random) -> None:
    """Give a node an attribute of some type, or change the type of one that it has."""
    found = _some_node(model, rng)
    if found is None:
        return
    node = found[1]
    names = [one.name for one in node.attribute]
    usual = ("axis", "axes", "keepdims", "pads", "strides", "kernel_shape", "auto_pad", "perm", "to", "group", "value",
             "dilations", "transB", "mode", "ceil_mode", "count_include_pad", "shape", "body", "blocksize")  # fmt: skip
    name = rng.choice((*usual, *names, *names, *names))
    value: object = rng.choice((
        rng.choice(_INTEGERS), [rng.choice(_INTEGERS) for _ in range(rng.randrange(1, 6))], rng.choice(_FLOATS),
        [rng.choice(_FLOATS)], rng.choice(_STRINGS), [rng.choice(_STRINGS)], rng.choice((-1, 0, 1, 2, 3)),
        [rng.choice((-2, -1, 0, 1, 2, 3)) for _ in range(rng.randrange(1, 5))], GraphProto(name="empty"),
        helper.make_tensor("", 7, [2], [2, 3]),
    ))  # fmt: skip
    old = next((one for one in node.attribute if one.name == name), None)
    if old is not None:
        node.attribute.remove(old)
    node.attribute.append(helper.make_attribute(name, value))
    if rng.random() < 0.1:
        node.attribute[-1].type = rng.choice(list(AttributeProto.AttributeType.values()))


def _move(model: ModelProto, rng: random.Random) -> None:
    """Drop, repeat or move a node."""
    found = _some_node(model, rng)
    if found is None:
        return
    graph, node = found
    kept = NodeProto()
    kept.CopyFrom(node)
    what = rng.randrange(3)
    if what != 1:
        graph.node.remove(node)
    if what:
        graph.node.insert(rng.randrange(len(graph.node) + 1), kept)


def _insert(model: ModelProto, rng: random.Random) -> None:
    """A new node between a value and its readers, or beside them."""
    found = _some_node(model, rng)
    if found is None or not found[1].input:
        return
    graph, reader = found
    slot = rng.randrange(len(reader.input))
    name = f"new{rng.randrange(10**6)}"
    operator = rng.choice(("Identity", "Relu", "Sigmoid", "Neg", "Shape", "Transpose", "Flatten", "GlobalAveragePool",
                           "Squeeze", "Cast", "Mul", "Add", "ConstantOfShape", "Dropout"))  # fmt: skip
    inputs = [reader.input[slot]] * (2 if operator in ("Mul", "Add") else 1)
    made = helper.make_node(operator, inputs, [name], name=name, **({"to": 1} if operator == "Cast" else {}))
    reader.input[slot] = name
    graph.node.insert(list(graph.node).index(reader), made)


def _rename(model: ModelProto, rng: random.Random) -> None:
    """Another name for a value, everywhere."""
    old, new = rng.choice(_names(model)), rng.choice((ESCAPES, "n" * 3000, "a b", rng.choice(_names(model)), "é"))
    for graph in _graphs(model):
        for node in graph.node:
            for slots in (node.input, node.output):
                for slot, name in enumerate(slots):
                    if name == old:
                        slots[slot] = new
        if isinstance(graph, GraphProto):
            for values in (graph.input, graph.output, graph.value_info, graph.initializer):
                for value in values:
                    if value.name == old:
                        value.name = new


def _resize(model: ModelProto, rng: random.Random) -> None:
    """Other dimensions for an input, an output, a value or an initializer."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    if rng.random() < 0.4 and graph.initializer:
        dims = rng.choice(graph.initializer).dims
        if dims:
            dims[rng.randrange(len(dims))] = rng.choice(_INTEGERS)
        return
    shapes = [value.type.tensor_type.shape.dim for value in values if value.type.tensor_type.shape.dim]
    if shapes:
        dim = rng.choice(rng.choice(shapes))
        if rng.random() < 0.3:
            dim.dim_param = rng.choice(("", "N", ESCAPES))
        else:
            dim.dim_value = rng.choice((*_INTEGERS, 16, 32, 5))


def _nest(model: ModelProto, rng: random.Random) -> None:
    """Put a node into the body of an If, or let a function call itself or another."""
    found = _some_node(model, rng)
    if found is None:
        return
    graph, node = found
    if model.functions and rng.random() < 0.5:
        called = rng.choice(model.functions)
        node.op_type, node.domain = called.name, called.domain
        return
    body = GraphProto(name="body")
    body.node.add().CopyFrom(node)
    body.output.extend(onnx.ValueInfoProto(name=name) for name in node.output)
    condition = rng.choice(_names(model))
    outer = helper.make_node("If", [condition], list(node.output), then_branch=body, else_branch=body)
    place = list(graph.node).index(node)
    graph.node.remove(node)
    graph.node.insert(place, outer)


def _forge(model: ModelProto, rng: random.Random) -> None:
    """Change what a converted model remembers of its original."""
    entries = [entry for graph in _graphs(model) for node in graph.node for entry in node.metadata_props]
    entries = [entry for entry in entries if entry.key in (TILING, UNDO)]
    if not entries:
        return
    entry = rng.choice(entries)
    if entry.key == TILING:
        entry.value = json.dumps(_forged(json.loads(entry.value), rng))
        return
    try:
        kept = GraphProto.FromString(zlib.decompress(base64.b64decode(entry.value)))
        kept.doc_string = json.dumps(_forged(json.loads(kept.doc_string), rng))
    except (ValueError, zlib.error, DecodeError):
        return  # forged before
    entry.value = base64.b64encode(zlib.compress(kept.SerializeToString())).decode()


def _forged(value: Any, rng: random.Random) -> Any:
    """A JSON value with one of its parts exchanged."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        made = value.copy()
        place = rng.choice(list(made)) if isinstance(made, dict) else rng.randrange(len(made))
        made[place] = _forged(made[place], rng)
        return made
    return rng.choice(
        (*_INTEGERS, 0.5, float("nan"), None, True, "", "x", ESCAPES, [], {}, [[]], [[1, ["d"]]], "raw_data")
    )


_CHANGES: dict[Callable[[ModelProto, random.Random], None], float] = {
    _any_field: 8, _rewire: 3, _operator: 3, _attribute: 3, _move: 2, _insert: 2, _rename: 1, _resize: 2, _nest: 0.7, _forge: 0.7,
}  # fmt: skip
