"""Everything outside the edit is byte for byte what it was."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from google.protobuf.message import Message
from onnx import GraphProto, ModelProto

from tse_onnx.external import external_tensors
from tse_onnx.passes.reasons import label, quoted
from tse_onnx.passes.splice import Edit


def outside_differences(
    original: ModelProto,
    converted: ModelProto,
    edits: Iterable[Edit],
    bound: Collection[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> list[str]:
    """What differs between two models outside `edits`, the inputs that were `bound`, and the weight files that were
    `renamed` (new locations by old); a phrase for each."""
    edits = tuple(edits)
    if renamed:
        expected = ModelProto()
        expected.CopyFrom(original)
        for tensor in external_tensors(expected):
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = renamed.get(entry.value, entry.value)
        original = expected
    differences = _nodes(original.graph, converted.graph, edits)
    exempt: dict[str, Collection[str]] = {
        "value_info": {name for edit in edits for name in edit.types},
        "input": frozenset(bound),
        "initializer": {name for edit in edits for name in (*edit.weights, *edit.dropped_weights)},
    }
    for field in GraphProto.DESCRIPTOR.fields:
        if field.name != "node":
            before, after = (
                _entries(model.graph, field.name, exempt.get(field.name, ())) for model in (original, converted)
            )
            differences += _compared(f"graph.{field.name}", before, after)
    for field in ModelProto.DESCRIPTOR.fields:
        if field.name != "graph":
            differences += _compared(field.name, _entries(original, field.name), _entries(converted, field.name))
    return differences


def _nodes(original: GraphProto, converted: GraphProto, edits: Sequence[Edit]) -> list[str]:
    replaced = {position: len(nodes) for edit in edits for position, nodes in edit.nodes.items()}
    after = iter(converted.node)
    differences = []
    for position, node in enumerate(original.node):
        if position in replaced:
            for _ in range(replaced[position]):
                next(after, None)
            continue
        other = next(after, None)
        if other is None or other.SerializeToString() != node.SerializeToString():
            differences.append(label(node))
            break  # everything behind it would be shifted, too
    if not differences and next(after, None) is not None:
        differences.append("nodes at the end of the graph")
    return differences


def _entries(message: Message, field: str, exempt: Collection[str] = ()) -> list[object]:
    value = getattr(message, field)
    if isinstance(value, (str, bytes, int, float)):
        return [value if message.HasField(field) else None]
    if isinstance(value, Message):
        return [value.SerializeToString(deterministic=True) if message.HasField(field) else None]
    return [
        entry.SerializeToString(deterministic=True) if isinstance(entry, Message) else entry
        for entry in value
        if getattr(entry, "name", None) not in exempt
    ]


def _compared(name: str, before: Sequence[object], after: Sequence[object]) -> list[str]:
    if before == after:
        return []
    count = sum(one != other for one, other in zip(before, after, strict=False)) + abs(len(before) - len(after))
    return [f"{quoted(name)} ({count} of {len(before)} entries)"]
