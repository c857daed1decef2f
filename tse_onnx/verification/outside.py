"""Everything outside the edit is byte for byte what it was."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest

from google.protobuf.message import Message
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from tse_onnx.files.external import external_tensors
from tse_onnx.passes.edit.record import UNDO
from tse_onnx.passes.edit.splice import Change, Edit
from tse_onnx.passes.equalisation.numbers import EQUALISED
from tse_onnx.passes.graph.nested import Body, Function, Path, body
from tse_onnx.passes.reasons import label, quoted


def outside_differences(
    original: ModelProto,
    converted: ModelProto,
    changes: Iterable[Change],
    bound: Collection[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> list[str]:
    """What differs between two models outside `changes`, the inputs that were `bound`, and the weight files that were
    `renamed` (new locations by old); a phrase for each."""
    if renamed:
        expected = ModelProto()
        expected.CopyFrom(original)
        for tensor in external_tensors(expected):
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = renamed.get(entry.value, entry.value)
        original = expected
    edits = {change.path: change.edits for change in changes}
    differences = _scope(original.graph, converted.graph, (), edits, bound)
    for field in ModelProto.DESCRIPTOR.fields:
        if field.name not in ("graph", "functions"):
            differences += _compared(field.name, _told(original, field.name), _told(converted, field.name))
    differences += _compared("functions", [len(original.functions)], [len(converted.functions)])
    for number, (before, after) in enumerate(zip(original.functions, converted.functions, strict=False)):
        differences += _scope(before, after, (Function(number),), edits)
    return differences


def _told(model: ModelProto, field: str) -> Iterator[object]:
    """The entries of a field, without what a model remembers of its conversions."""
    if field != "metadata_props":
        return _entries(model, field)
    return (
        entry.SerializeToString(deterministic=True)
        for entry in model.metadata_props
        if entry.key not in (UNDO, EQUALISED)
    )


def _scope(
    original: GraphProto | FunctionProto,
    converted: GraphProto | FunctionProto,
    path: Path,
    edits: Mapping[Path, Sequence[Edit]],
    bound: Collection[str] = (),
) -> list[str]:
    """Differences of a graph or function outside the edits of its own and of the scopes inside it. Behind its own ends
    it has those that the edits add, and nothing else."""
    own = edits.get(path, ())
    differences = _nodes(original, converted, path, edits)
    exempt: dict[str, Collection[str]] = {
        "value_info": {name for edit in own for name in edit.types},
        "input": frozenset(bound),
        "initializer": {name for edit in own for name in (*edit.weights, *edit.numbers, *edit.dropped_weights)},
    }
    added: dict[str, list[Message]] = {
        "input": [value for edit in own for value in edit.inputs],
        "output": [value for edit in own for value in edit.outputs],
        "initializer": [tensor for edit in own for tensor in edit.initializers],
    }
    for field in original.DESCRIPTOR.fields:
        if field.name != "node":
            before, after = (_entries(part, field.name, exempt.get(field.name, ())) for part in (original, converted))
            further = (entry.SerializeToString(deterministic=True) for entry in added.get(field.name, ()))
            differences += _compared(f"{original.name}.{field.name}", chain(before, further), after)
    return differences


def _nodes(
    original: GraphProto | FunctionProto,
    converted: GraphProto | FunctionProto,
    path: Path,
    edits: Mapping[Path, Sequence[Edit]],
) -> list[str]:
    replaced = {position: len(nodes) for edit in edits.get(path, ()) for position, nodes in edit.nodes.items()}
    inner: dict[int, set[Body]] = {}
    for changed in edits:
        if len(changed) > len(path) and changed[: len(path)] == path and isinstance(step := changed[len(path)], Body):
            inner.setdefault(step.position, set()).add(step)
    after = iter(converted.node)
    differences: list[str] = []
    for position, node in enumerate(original.node):
        if position in replaced:
            for _ in range(replaced[position]):
                next(after, None)
            continue
        other = next(after, None)
        if other is not None and position in inner:
            for step in inner[position]:
                differences += _scope(body(node, step), body(other, step), (*path, step), edits)
            node, other = (_shell(part, inner[position]) for part in (node, other))
        if other is None or other.SerializeToString() != node.SerializeToString():
            differences.append(label(node))
            break  # everything behind it would be shifted, too
    if not differences and next(after, None) is not None:
        differences.append("nodes at the end of the graph")
    return differences


def _shell(node: NodeProto, steps: Collection[Body]) -> NodeProto:
    """The node without the bodies that `steps` lead to."""
    shell = NodeProto()
    shell.CopyFrom(node)
    for step in steps:
        body(shell, step).Clear()
    return shell


def _entries(message: Message, field: str, exempt: Collection[str] = ()) -> Iterator[object]:
    """The entries of a field one after the other, encoded: never the whole model at once."""
    value = getattr(message, field)
    if isinstance(value, (str, bytes, int, float)):
        yield value if message.HasField(field) else None
    elif isinstance(value, Message):
        yield value.SerializeToString(deterministic=True) if message.HasField(field) else None
    else:
        for entry in value:
            if getattr(entry, "name", None) not in exempt:
                yield entry.SerializeToString(deterministic=True) if isinstance(entry, Message) else entry


def _compared(name: str, before: Iterable[object], after: Iterable[object]) -> list[str]:
    missing = object()
    equal = [one == other for one, other in zip_longest(before, after, fillvalue=missing)]
    return [] if all(equal) else [f"{quoted(name)} ({equal.count(False)} of {len(equal)} entries)"]
