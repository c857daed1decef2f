"""What a model itself remembers of its conversions: a copy of its blocks' records.

Many tools drop the metadata of nodes and keep those of the model, and the names of values. The copies lie in one entry
of the model's metadata, packed together, each with the name of the value whose node bore the record.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto

from tse_onnx.errors import ModelError
from tse_onnx.passes.edit.record import BLOCK, TILING, UNDO, Memory, Record, packed, told, unpacked
from tse_onnx.passes.edit.splice import Change


def remember(model: ModelProto, changes: Iterable[Change]) -> None:
    """Add copies of what the edits' bearers remember to those that a model has already."""
    kept = _read(model)
    for change in changes:
        for edit in change.edits:
            for node in (node for made in edit.nodes.values() for node in made if edit.bearer in node.output):
                marks = {entry.key: entry.value for entry in node.metadata_props}
                copy = kept.node.add(op_type=marks[BLOCK], doc_string=marks[TILING], output=[edit.bearer])
                copy.attribute.add(name=UNDO, s=unpacked(marks[UNDO]))
    forget(model)
    if kept.node:
        model.metadata_props.add(key=UNDO, value=packed(kept.SerializeToString(deterministic=True)))


def remembered(model: ModelProto) -> Memory:
    """The records that a model has copies of, by the value whose node bore them.

    Raises `ModelError` where they cannot be read.
    """
    found: dict[str, list[Record]] = {}
    for copy in _read(model).node:
        try:
            (bearer,), (attribute,) = copy.output, copy.attribute
        except ValueError:
            raise ModelError(_DAMAGED) from None
        found.setdefault(bearer, []).append(told(copy.op_type, copy.doc_string, packed(attribute.s)))
    return found


def forget(model: ModelProto) -> None:
    """Remove the copies."""
    for place in reversed([place for place, entry in enumerate(model.metadata_props) if entry.key == UNDO]):
        del model.metadata_props[place]


_DAMAGED = "what the model's metadata remember of its conversions is damaged"


def _read(model: ModelProto) -> GraphProto:
    found = GraphProto()
    for entry in model.metadata_props:
        if entry.key == UNDO:
            try:
                found.MergeFromString(unpacked(entry.value))
            except (ValueError, zlib.error, DecodeError) as error:
                raise ModelError(_DAMAGED) from error
    return found
