"""Encode a model weight by weight.

`SerializeToString` of a whole model holds its weights three times at its peak; here it is twice, and every byte comes
out the same.
"""

from __future__ import annotations

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import GraphProto, ModelProto

from tse_onnx.errors import ModelError

# What a protobuf reader takes: lengths are signed 32-bit numbers.
LONGEST = 2**31 - 1
_GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number


def encoded(model: ModelProto) -> list[bytes]:
    """Pieces that together are `model.SerializeToString()`.

    Raises `ModelError` where the model is too long for one file.
    """
    try:
        if len(UnknownFieldSet(model)) or len(UnknownFieldSet(model.graph)):
            pieces = [model.SerializeToString()]  # only protobuf knows where to put these
        else:
            pieces = _around(model, _GRAPH, _framed(_GRAPH, _graph(model.graph)))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"cannot write the model in one file: {error}") from error
    if (size := sum(map(len, pieces))) > LONGEST:
        raise ModelError(f"cannot write the model in one file: {too_long(size)}")
    return pieces


def too_long(size: int) -> str:
    """What to say of a model that takes so many bytes."""
    return (
        f"it takes {size:,} bytes, and protobuf allows {LONGEST:,}; keep its weights in a file of their own: "
        "onnx.save_model(model, path, save_as_external_data=True)"
    )


def _graph(graph: GraphProto) -> list[bytes]:
    weights = []
    for tensor in graph.initializer:
        weights += _framed(_INITIALIZER, [tensor.SerializeToString()])
    return _around(graph, _INITIALIZER, weights)


def _around(message: Message, number: int, middle: list[bytes]) -> list[bytes]:
    """The encoding of `message` with `middle` as that of the field with this number."""
    before, after = type(message)(), type(message)()
    for field, value in message.ListFields():
        if field.number == number:
            continue
        part = before if field.number < number else after
        if isinstance(value, Message):
            getattr(part, field.name).CopyFrom(value)
        elif isinstance(value, (str, bytes, int, float)):
            setattr(part, field.name, value)
        else:
            getattr(part, field.name).extend(value)
    return [before.SerializeToString(), *middle, after.SerializeToString()]


def _framed(number: int, pieces: list[bytes]) -> list[bytes]:
    """A field that holds a message: its tag, its length, and then its encoding."""
    return [_varint(number << 3 | 2) + _varint(sum(map(len, pieces))), *pieces]


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
