"""The story of an edit: where what it replaced stood, and what stands there now.

It is written into the record of a block, and read again from models that may come from anywhere.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from onnx import TensorProto

FORMAT = 1
_MOST_STEPS = 64
RAW = "raw_data"
# Where the numbers of a tensor may lie, beside raw_data, and how.
TYPED = {"float_data": "<f4", "int32_data": "<u2", "double_data": "<f8"}

Kind = TypeVar("Kind")


class Replaced(NamedTuple):
    """A node that was replaced, by its position; `made` are the first outputs of the nodes that took its place."""

    position: int
    made: tuple[str, ...]


class Weight(NamedTuple):
    """How an initializer was laid out that lies in another shape now: `field` is where its numbers were."""

    name: str
    dims: tuple[int, ...]
    transposed: bool
    field: str


class Added(NamedTuple):
    """What a graph got beside nodes, by name; initializers are new weights, and the defaults of such inputs."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    initializers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Story:
    """What one edit did, as places and names.

    `step` counts the conversions of the model from 1, `digest` is that of the graph before this one. `types` and
    `dropped` are the places of types and initializers that were replaced, `retyped` the values that got other types,
    `spare` constants that the replaced nodes read, packed. Records of older versions have no `opset` and no `sizes`,
    which are those of the map, or of each of its `branches`.
    """

    step: int
    opset: int | None
    spare: tuple[str, ...]
    sizes: tuple[int | None, ...]
    digest: str
    kind: str
    scale: str
    input: str
    channel: int
    spatial: tuple[int, ...]
    nodes: tuple[Replaced, ...]
    types: tuple[int, ...]
    retyped: tuple[str, ...]
    weights: tuple[Weight, ...]
    dropped: tuple[int, ...]
    added: Added
    branches: int = 1

    def text(self) -> str:
        """The story as JSON; the order of its parts is that of the fields. What was not added is not told, nor that a
        map has no branches."""
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if not any(self.added):
            del parts["added"]
        if self.branches == 1:
            del parts["branches"]
        return json.dumps({"format": FORMAT, **parts}, separators=(",", ":"))

    @classmethod
    def of(cls, parts: Mapping[str, Any]) -> Story:
        """The story in what JSON makes of its text. Raises `ValueError`, `TypeError` or `KeyError` where a part is
        missing or of another type: JSON can hold anything, and a model may come from anywhere."""
        spare = _all(str, parts.get("spare", []))
        for text in spare:
            unpacked_tensor(text)
        step = _one(int, parts["step"])
        if not 1 <= step <= _MOST_STEPS:
            raise ValueError("a step that no model has")
        return cls(
            step=step,
            opset=_place(parts["opset"]) if "opset" in parts else None,
            spare=spare,
            sizes=tuple(None if size is None else _place(size) for size in _one(list, parts.get("sizes", []))),
            digest=_one(str, parts["digest"]),
            kind=_one(str, parts["kind"]),
            scale=_one(str, parts["scale"]),
            input=_one(str, parts["input"]),
            channel=_place(parts["channel"]),
            spatial=_places(parts["spatial"]),
            nodes=tuple(Replaced(_place(place), _all(str, made)) for place, made in _one(list, parts["nodes"])),
            types=_places(parts["types"]),
            retyped=_all(str, parts["retyped"]),
            weights=tuple(_weight(*weight) for weight in _one(list, parts["weights"])),
            dropped=_places(parts["dropped"]),
            added=_added(*_one(list, parts.get("added", [[], [], []]))),
            branches=_place(parts.get("branches", 1)),
        )


def packed_tensor(tensor: TensorProto) -> str:
    """A tensor as text."""
    return base64.b64encode(tensor.SerializeToString(deterministic=True)).decode("ascii")


def unpacked_tensor(text: str) -> TensorProto:
    """The tensor in a text. Raises `ValueError` or protobuf's `DecodeError`."""
    return TensorProto.FromString(base64.b64decode(text, validate=True))


def _one(kind: type[Kind], value: object) -> Kind:
    if not isinstance(value, kind) or type(value) is not kind:  # True is an int as well
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _all(kind: type[Kind], values: object) -> tuple[Kind, ...]:
    return tuple(_one(kind, value) for value in _one(list, values))


def _place(value: object) -> int:
    if (place := _one(int, value)) < 0:
        raise ValueError("a place before the start")
    return place


def _places(values: object) -> tuple[int, ...]:
    return tuple(map(_place, _one(list, values)))


def _added(inputs: object, outputs: object, initializers: object) -> Added:
    return Added(_all(str, inputs), _all(str, outputs), _all(str, initializers))


def _weight(name: object, dims: object, transposed: object, field: object) -> Weight:
    if field not in (*TYPED, RAW):
        raise ValueError("a field that no tensor has")
    return Weight(_one(str, name), _places(dims), _one(bool, transposed), _one(str, field))
