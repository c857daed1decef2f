"""The way back where another tool has changed the graph since: by the names of values, which tools keep.

What the replaced nodes made is made by them again, whoever makes it now; what nobody reads any more goes. The rest of
the graph stays as that tool left it. So this is the original only as far as the names tell, and whoever calls has to
check it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx.version_converter
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from tse_onnx.errors import ModelError, TseError
from tse_onnx.passes.edit.record import Memory, Record, recorded
from tse_onnx.passes.edit.restore import relaid_back, take_away
from tse_onnx.passes.edit.story import RAW
from tse_onnx.passes.graph.index import captured
from tse_onnx.passes.graph.nested import Container, container
from tse_onnx.passes.graph.operators import is_default, opset_of
from tse_onnx.passes.graph.order import sort_nodes
from tse_onnx.passes.reasons import quoted

WAY_OUT = (
    "restore the converted model as it was before another tool changed it, and let the tool work on the result, or "
    "convert the original model anew"
)


@dataclass(frozen=True)
class Undone:
    """A model whose blocks have their global means again, and the records of those blocks."""

    model: ModelProto
    records: tuple[Record, ...]


def undone(model: ModelProto, memory: Memory) -> Undone:
    """A copy of the model with every block as it was. Raises `ModelError` where the names do not tell how."""
    made, done = ModelProto(), list[Record]()
    made.CopyFrom(model)
    while found := list(recorded(made, memory)):
        step = max(record.step for _, records in found for record in records)
        if done and step >= done[-1].step:
            raise refusal(found[0][1][0], "the node that made its means is still there: its values have other names")
        for path, records in sorted(found, key=lambda pair: len(pair[0]), reverse=True):
            last = [record for record in records if record.step == step]
            try:
                if last:
                    _put_back(made, container(made, path), last)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                if isinstance(error, TseError):
                    raise
                raise refusal(last[0], "what it was left as does not fit what it remembers") from error
            done += last
    return Undone(made, tuple(done))


def lost(model: ModelProto, memory: Memory) -> list[Record]:
    """The blocks that the model remembers, and of which it has traces, but not the node that makes their means.

    A block without a trace has been cut out with its part of the graph, unless that goes for all of them.
    """
    there = {record.made for _, records in recorded(model, memory) for record in records}
    gone = [record for records in memory.values() for record in records if record.made not in there]
    graphs: list[Container] = [model.graph, *model.functions]
    names = {name for graph in graphs for node in graph.node for name in node.output}
    names |= {tensor.name for tensor in model.graph.initializer}
    traced = [record for record in gone if {*record.traces, *record.outputs, record.story.input} & names]
    return traced if traced or there else gone


def orphan(model: ModelProto) -> str:
    """A node with the name of one that a conversion makes; "" where there is none."""
    return next((node.name for node in model.graph.node if node.name.endswith("/tiled_squeeze")), "")


def refusal(record: Record, why: str) -> ModelError:
    """That a block cannot be undone, why, and what to do."""
    return ModelError(
        f"the graph around block {quoted(record.block)} was edited after it was tiled, which cannot be undone: {why}; "
        f"{WAY_OUT}"
    )


def _put_back(model: ModelProto, graph: Container, records: Sequence[Record]) -> None:
    halved = {record.block: _halved(model, graph, record) for record in records}
    opset = opset_of(graph.opset_import if isinstance(graph, FunctionProto) else model.opset_import)
    back = [(record, _as_now(node, halved[record.block])) for record in records for node in _nodes(record, opset)]
    values = {name for record in records for name in (*record.outputs, *record.story.added.outputs)}
    take_away(graph, records)
    places = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    inserted: dict[int, list[NodeProto]] = {}
    around = {name: made for record in records for names, made in _made(record) for name in names}
    for _, node in back:
        known = [places[name] for value in node.output for name in (value, *around.get(value, ())) if name in places]
        inserted.setdefault(known[0] if known else len(graph.node), []).append(node)
    kept, gone = list[NodeProto](), list[NodeProto]()
    for place, node in enumerate(graph.node):
        kept += inserted.get(place, [])
        (gone if values & set(node.output) else kept).append(node)
    kept += inserted.get(len(graph.node), [])
    outputs = {value if isinstance(value, str) else value.name for value in graph.output}
    kept, dead = _living(kept, gone, outputs)
    kept = [*_spare(graph, kept, records), *kept]
    rebuilt = type(graph)()
    rebuilt.node.extend(kept)
    read = {name for node in gone for name in _reads(node)}
    del graph.node[:]
    graph.node.MergeFrom(rebuilt.node)
    if isinstance(graph, GraphProto):
        _weights_back(graph, records, halved, read)
        _inputs_back(graph, records)
        _types_back(graph, records, dead)
    sort_nodes(graph)  # type: ignore[arg-type]  # of functions the nodes, too
    _require_defined(model, graph, back)


def _made(record: Record) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """The values that each replaced node made, and those that were made in its place."""
    for (_, made), node in zip(record.story.nodes, record.replaced.node, strict=True):
        yield node.output, made


def _nodes(record: Record, opset: int) -> Sequence[NodeProto]:
    """The nodes that were replaced, at today's opset."""
    nodes = record.replaced.node
    before = record.story.opset
    if before is None or before == opset or not any(_changed(node, before, opset) for node in nodes):
        return nodes
    made = {name for node in nodes for name in node.output}
    read = dict.fromkeys(name for node in nodes for name in node.input if name and name not in made)
    graph = helper.make_graph(
        nodes,
        "replaced",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in read],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in sorted(record.outputs)],
    )
    model = ModelProto(ir_version=8, graph=graph, opset_import=[helper.make_opsetid("", before)])
    try:
        converted = onnx.version_converter.convert_version(model, opset)
    except Exception as error:  # onnx's own types are not exported everywhere
        raise refusal(record, f"its nodes cannot be taken from opset {before} to {opset}") from error
    for node in converted.graph.node:  # what it adds has names that are new in this piece of the graph alone
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name and name not in made and name not in read:
                    names[place] = f"{record.block}/{name}"
    return converted.graph.node


def _changed(node: NodeProto, before: int, now: int) -> bool:
    try:
        one, other = (onnx.defs.get_schema(node.op_type, opset).since_version for opset in (before, now))
    except (onnx.defs.SchemaError, TypeError):
        return False
    return is_default(node.domain) and one != other


def _reads(node: NodeProto) -> list[str]:
    return [name for name in (*node.input, *captured(node)) if name]


def _living(nodes: list[NodeProto], gone: list[NodeProto], outputs: set[str]) -> tuple[list[NodeProto], set[str]]:
    """The nodes without those that only served what is gone, to which these are added; and the values that went."""
    uses = Counter(name for node in nodes for name in _reads(node))
    makers = {name: node for node in nodes for name in node.output if name}
    waiting = [name for node in gone for name in _reads(node)]
    removed, dead = set[int](), {name for node in gone for name in node.output}
    while waiting:
        maker = makers.get(waiting.pop())
        if maker is None or id(maker) in removed or any(uses[name] or name in outputs for name in maker.output if name):
            continue
        removed.add(id(maker))
        gone.append(maker)
        dead.update(maker.output)
        for name in _reads(maker):
            uses[name] -= 1
            waiting.append(name)
    living = [node for node in nodes if id(node) not in removed]
    return living, dead - {name for node in living for name in node.output}


def _spare(graph: Container, nodes: Iterable[NodeProto], records: Iterable[Record]) -> list[NodeProto]:
    """Short constants that the nodes put back read and that are gone, as nodes: functions have no initializers."""
    there = {name for node in nodes for name in node.output}
    if isinstance(graph, GraphProto):
        there |= {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    missing = {tensor.name: tensor for record in records for tensor in record.spare if tensor.name not in there}
    return [helper.make_node("Constant", [], [name], name=name, value=tensor) for name, tensor in missing.items()]


def _weights_back(graph: GraphProto, records: Sequence[Record], halved: Mapping[str, bool], read: set[str]) -> None:
    used = {name for node in graph.node for name in _reads(node)} | {value.name for value in graph.input}
    for place in reversed([place for place, tensor in enumerate(graph.initializer)
                           if tensor.name in read and tensor.name not in used]):  # fmt: skip
        del graph.initializer[place]
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for record in records:
        for weight in record.story.weights:
            if weight.name not in tensors:
                raise refusal(record, f"weight {quoted(weight.name)} is gone or has another name")
            tensor = tensors[weight.name]
            relaid_back(tensor, weight if tensor.data_type == TensorProto.FLOAT else weight._replace(field=RAW))
        for tensor in record.replaced.initializer:
            if tensor.name not in tensors:
                graph.initializer.append(_half(tensor) if halved[record.block] else tensor)


def _inputs_back(graph: GraphProto, records: Sequence[Record]) -> None:
    stated = {value.name: value.type.tensor_type for record in records for value in record.replaced.input}
    for value in graph.input:
        if value.name in stated:
            value.type.tensor_type.shape.CopyFrom(stated[value.name].shape)
            if not stated[value.name].HasField("shape"):
                value.type.tensor_type.ClearField("shape")


def _types_back(graph: GraphProto, records: Sequence[Record], dead: set[str]) -> None:
    """State what was stated, and nothing of what was inferred while there were tiles."""
    stale = dead | {name for record in records for name in record.story.retyped}
    changed = {name for record in records for name in record.outputs}
    ends = {record.story.scale for record in records}
    for node in _in_order(graph):  # what comes of a descriptor, up to the scale, has another size
        if (changed - ends) & set(_reads(node)) and not ends & set(node.output):
            changed.update(name for name in node.output if name)
    stale |= changed - ends
    there = {name for node in graph.node for name in node.output}
    now = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    kept = GraphProto()
    kept.value_info.extend(value for value in graph.value_info if value.name not in stale)
    for record in records:
        for old in record.replaced.value_info:
            if old.name in there and old.name in now:
                value = kept.value_info.add()
                value.CopyFrom(old)
                value.type.tensor_type.elem_type = now[old.name]
    del graph.value_info[:]
    graph.value_info.MergeFrom(kept.value_info)


def _in_order(graph: GraphProto) -> Sequence[NodeProto]:
    sort_nodes(graph)
    return graph.node


def _require_defined(model: ModelProto, graph: Container, back: Iterable[tuple[Record, NodeProto]]) -> None:
    """Everything that the nodes put back read is there, in their graph or in one around it."""
    given = {value if isinstance(value, str) else value.name for value in graph.input}
    there = given | {name for node in graph.node for name in node.output}
    if isinstance(graph, GraphProto):
        for each in (graph, model.graph):
            there |= {tensor.name for tensor in each.initializer} | {t.values.name for t in each.sparse_initializer}
        there |= {value.name for value in model.graph.input} | {n for node in model.graph.node for n in node.output}
    for record, node in back:
        for name in node.input:
            if name and name not in there:
                raise refusal(record, f"value {quoted(name)}, which the original read, is gone or has another name")


def _halved(model: ModelProto, graph: Container, record: Record) -> bool:
    """Whether a block is in half precision now: its map is, or where that is gone, the weights that it got."""
    if isinstance(graph, GraphProto):
        for tensor in graph.initializer:
            if tensor.name in record.story.added.initializers:
                return tensor.data_type == TensorProto.FLOAT16
    return _elem_type(model, graph, record.story.input) == TensorProto.FLOAT16


def _elem_type(model: ModelProto, graph: Container, name: str) -> int:
    values: list[ValueInfoProto] = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    if isinstance(graph, GraphProto):
        values += [*graph.input, *graph.output, *graph.value_info]
    return next((value.type.tensor_type.elem_type for value in values if value.name == name), TensorProto.UNDEFINED)


def _as_now(node: NodeProto, halved: bool) -> NodeProto:
    """A replaced node; its constants in half precision where the model is by now."""
    if not halved or node.op_type != "Constant":
        return node
    made = NodeProto()
    made.CopyFrom(node)
    for attribute in made.attribute:
        if attribute.name == "value":
            attribute.t.CopyFrom(_half(attribute.t))
        elif attribute.name in ("value_float", "value_floats"):
            numbers = helper.get_attribute_value(attribute)
            dims = [len(numbers)] if attribute.name == "value_floats" else []
            tensor = helper.make_tensor("", TensorProto.FLOAT16, dims, numbers if dims else [numbers])
            attribute.CopyFrom(helper.make_attribute("value", tensor))
    return made


def _half(tensor: TensorProto) -> TensorProto:
    if tensor.data_type != TensorProto.FLOAT:
        return tensor
    made: TensorProto = numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float16"), tensor.name)
    return made
