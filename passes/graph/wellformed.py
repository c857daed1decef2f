"""What every pass takes for granted of a model, checked once before anything else looks at it.

Files come from anywhere. The rules of the passes read a node's first input, a tensor's dimensions or an attribute's
number without asking; a model where that would not hold is refused here, with the place in words. What is merely
unusual (unsorted nodes, operators that nobody knows, weights in other files) is let through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto
from onnx.defs import OpSchema

from tse_onnx.errors import ModelError
from tse_onnx.passes.graph.index import NUMBERS, element_count
from tse_onnx.passes.graph.nested import Container, graphs_in, within
from tse_onnx.passes.graph.operators import is_default
from tse_onnx.passes.graph.types import BITS
from tse_onnx.passes.reasons import label, quoted

# Graphs within graphs. protobuf itself reads about thirty, and nobody writes ten.
_DEEPEST = 24
# Nodes after every call of a local function was replaced by the function's body: what inference and runtimes walk.
_MOST_EXPANDED = 1_000_000
_LARGEST = 2**63 - 1


def check(model: ModelProto) -> None:
    """Raise `ModelError` where a model is not what the passes may take for granted; its text says where."""
    for entry in model.opset_import:
        _text(entry.domain)
    versions = _versions(model.opset_import)
    functions: dict[tuple[str, str], FunctionProto] = {}
    for function in model.functions:
        _texts((function.name, function.domain, *function.input, *function.output, *function.attribute))
        key = function.domain, function.name
        if key in functions and getattr(function, "overload", "") == getattr(functions[key], "overload", ""):
            raise ModelError(f"two functions are called {quoted(function.name)}")
        functions[key] = function
    _Walk(versions, functions).graph(model.graph)
    for function in model.functions:
        _unique(function.input, "inputs", f"of function {quoted(function.name)}")
        walk = _Walk(versions | _versions(function.opset_import), functions)
        walk.nodes(function.node, set(function.input), f"function {quoted(function.name)}", 0)
    if functions:
        _check_calls(model, functions)


def _versions(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    versions: dict[str, int] = {}
    for entry in imports:
        domain = "" if is_default(entry.domain) else entry.domain
        if not domain and entry.version < 1:
            raise ModelError(f"it imports version {entry.version} of onnx's operators")
        if versions.setdefault(domain, entry.version) != entry.version:
            name = quoted(entry.domain or "ai.onnx")
            raise ModelError(f"it imports two versions of the operators of {name}: {versions[domain]}, {entry.version}")
    return versions


class _Walk:
    """Looks at the graphs of one scope of opsets."""

    def __init__(self, versions: Mapping[str, int], functions: Mapping[tuple[str, str], FunctionProto]) -> None:
        self._opset = versions.get("", 0)
        self._functions = functions
        self._signatures: dict[tuple[str, str], _Signature | None] = {}

    def graph(self, graph: GraphProto, depth: int = 0) -> None:
        if depth > _DEEPEST:
            raise ModelError(f"its graphs nest more than {_DEEPEST} deep")
        where = f"graph {quoted(graph.name)}" if _text(graph.name) else "the graph"
        for value in (*graph.input, *graph.output):
            _text(value.name)
            _check_type(value.type, value.name)
        for value in graph.value_info:
            _text(value.name)
            _check_type(value.type, value.name)
        inputs = _unique((value.name for value in graph.input), "inputs", f"of {where}")
        if any(not value.name for value in graph.output):
            raise ModelError(f"one of the outputs of {where} has no name")
        weights = [*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)]
        for tensor in weights:
            _check_tensor(tensor, f"initializer {quoted(_text(tensor.name))}")
        for sparse in graph.sparse_initializer:
            _check_tensor(sparse.indices, f"the indices of initializer {quoted(sparse.values.name)}")
            _count(sparse.dims, f"initializer {quoted(sparse.values.name)}")
        names = _unique((tensor.name for tensor in weights), "initializers", f"of {where}")
        self.nodes(graph.node, inputs | names, where, depth)

    def nodes(self, nodes: Iterable[NodeProto], made: set[str], where: str, depth: int) -> None:
        """Look at nodes; `made` are names that are taken, to which theirs are added."""
        signatures = self._signatures
        for node in nodes:
            name, operator, domain = node.name, node.op_type, node.domain
            inputs, outputs = node.input, node.output
            for text in (name, operator, domain, *inputs, *outputs):
                if text.__class__ is not str:
                    _text(text)
            for output in outputs:
                if output:
                    if output in made:
                        raise ModelError(f"{label(node)} makes {quoted(output)}, which {where} has already")
                    made.add(output)
            key = domain, operator
            if key not in signatures:
                signatures[key] = self._signature(*key)
            signature = signatures[key]
            if signature is not None:
                signature.check(node)
            elif not any(outputs):
                raise ModelError(f"{label(node)} has no output")
            if node.attribute or (signature is not None and signature.required):
                self._attributes(node, signature, depth)
            for entry in node.metadata_props:
                _texts((entry.key, entry.value))

    def _signature(self, domain: str, operator: str) -> _Signature | None:
        function = self._functions.get((domain, operator))
        if function is not None:
            return _Signature(
                (0, len(function.input)), (1, max(1, len(function.output))), (False, False), {}, frozenset()
            )
        if domain == "com.microsoft" and operator in _CONTRIBUTED:
            return _Signature(_CONTRIBUTED[operator], (1, 1), (True, True), {}, frozenset())
        if not is_default(domain):
            return None
        return _signature_of(operator, self._opset)

    def _attributes(self, node: NodeProto, signature: _Signature | None, depth: int) -> None:
        seen = set[str]()
        for attribute in node.attribute:
            name = _text(attribute.name)
            if name in seen:
                raise ModelError(f"{label(node)} has attribute {quoted(name)} twice")
            seen.add(name)
            wanted = signature.attributes.get(name) if signature is not None else None
            if wanted is not None and attribute.type != wanted:
                kind = AttributeProto.AttributeType.Name(wanted).lower()
                raise ModelError(f"attribute {quoted(name)} of {label(node)} is not of type {kind}")
            for graph in graphs_in(attribute):
                self.graph(graph, depth + 1)
            if attribute.type == AttributeProto.TENSOR:
                _check_tensor(attribute.t, f"attribute {quoted(name)} of {label(node)}")
            elif attribute.type == AttributeProto.TENSORS:
                for tensor in attribute.tensors:
                    _check_tensor(tensor, f"attribute {quoted(name)} of {label(node)}")
        if signature is not None and not signature.required <= seen:
            missing = min(signature.required - seen)
            raise ModelError(f"{label(node)} lacks its attribute {quoted(missing)}")


# Operators.


@dataclass(frozen=True)
class _Signature:
    """What an operator takes: numbers of inputs and outputs, attributes with their types, and those it must have.
    `first` tells whether its first input or output has to be given."""

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    first: tuple[bool, bool]
    attributes: Mapping[str, int]
    required: frozenset[str]

    def check(self, node: NodeProto) -> None:
        for what, names, (least, most), first in (
            ("input", node.input, self.inputs, self.first[0]),
            ("output", node.output, self.outputs, self.first[1]),
        ):
            count = len(names)
            if not least <= count <= most:
                span = str(least) if least == most else f"{least} to {most}" if most < 100 else f"{least} or more"
                raise ModelError(f"{label(node)} has {count:,} {what}s; the operator has {span}")
            if first and count and not names[0]:
                raise ModelError(f"{label(node)} lacks its first {what}")


# Inputs of onnxruntime's own operators, of those that the passes read.
_CONTRIBUTED = {
    "BiasGelu": (2, 2), "DequantizeLinear": (2, 3), "FastGelu": (1, 2), "FusedConv": (2, 4), "FusedGemm": (2, 3),
    "Gelu": (1, 1), "Pad": (2, 3), "QuantizeLinear": (2, 3), "QuickGelu": (1, 1),
}  # fmt: skip


@lru_cache(maxsize=4096)
def _signature_of(operator: str, opset: int) -> _Signature | None:
    """What onnx says of its operator at an opset; None where it knows none."""
    if not 0 < opset < 2**31:
        return None
    try:
        schema = onnx.defs.get_schema(operator, opset)
    except onnx.defs.SchemaError:
        return _signature_of_later(operator)
    first_input, first_output = (
        bool(formals) and formals[0].option == OpSchema.FormalParameterOption.Single
        for formals in (schema.inputs, schema.outputs)
    )
    return _Signature(
        (schema.min_input, schema.max_input),
        (max(schema.min_output, 1), schema.max_output),
        (first_input, first_output),
        {name: _number(attribute.type) for name, attribute in schema.attributes.items()},
        frozenset(name for name, attribute in schema.attributes.items() if attribute.required),
    )


def _signature_of_later(operator: str) -> _Signature | None:
    """Of an operator that is not in the opset, what those know of its inputs that have it."""
    try:
        schema = onnx.defs.get_schema(operator)
    except onnx.defs.SchemaError:
        return None
    return _Signature((schema.min_input, schema.max_input), (1, schema.max_output), (False, False), {}, frozenset())


def _number(kind: OpSchema.AttrType) -> int:
    """The `AttributeProto.AttributeType` that a schema asks for."""
    return int(AttributeProto.AttributeType.Value(str(kind).rpartition(".")[2]))


# Functions.


def _check_calls(model: ModelProto, functions: Mapping[tuple[str, str], FunctionProto]) -> None:
    """Refuse functions that call themselves, and those whose calls multiply beyond measure."""
    called = {key: [call for call in _calls(function) if call in functions] for key, function in functions.items()}
    sizes: dict[tuple[str, str], int] = {}
    opened = set[tuple[str, str]]()
    stack = list(functions)
    while stack:
        key = stack[-1]
        if key in sizes:
            stack.pop()
        elif key in opened:
            sizes[key] = len(functions[key].node) + sum(sizes[call] for call in called[key])
            opened.remove(key)
            stack.pop()
        else:
            opened.add(key)
            for call in dict.fromkeys(called[key]):
                if call in opened:
                    raise ModelError(f"function {quoted(call[1])} calls itself")
                if call not in sizes:
                    stack.append(call)
    total = sum(sizes[call] for call in _calls(model.graph) if call in sizes)
    if max(total, *sizes.values()) > _MOST_EXPANDED:
        raise ModelError(f"the calls of its functions come to more than {_MOST_EXPANDED:,} nodes")


def _calls(graph: Container) -> Iterator[tuple[str, str]]:
    for _, inner in within(graph):
        for node in inner.node:
            yield node.domain, node.op_type


# Tensors, types and names.


def bytes_of(tensor: TensorProto) -> int:
    """How many bytes a tensor's elements take."""
    return -(-element_count(tensor.dims) * BITS[tensor.data_type] // 8)


def _check_tensor(tensor: TensorProto, what: str) -> None:
    """Refuse a tensor whose type or size makes no sense, or that holds other data than it claims.

    One that holds none at all is a model whose weights were left out on purpose.
    """
    count = _count(tensor.dims, what)
    bits = BITS.get(tensor.data_type)
    if bits is None:
        raise ModelError(f"{what} has element type {tensor.data_type}, which onnx does not know")
    if tensor.data_location == TensorProto.EXTERNAL:
        for entry in tensor.external_data:
            _texts((entry.key, entry.value))
        keys = [entry.key for entry in tensor.external_data]
        if len(set(keys)) < len(keys):
            raise ModelError(f"{what} says twice where its data lie")
        return
    if tensor.HasField("raw_data"):
        if tensor.raw_data and (held := len(tensor.raw_data)) != -(-count * bits // 8):
            raise ModelError(f"{what} claims {count:,} elements of {bits} bits; its data are {held:,} bytes")
        return
    held = sum(len(getattr(tensor, field)) for field in NUMBERS) if bits else len(tensor.string_data)
    # An entry may hold half a complex number, or several elements of less than a byte.
    fits = {count, 2 * count, -(-count * bits // 8)} if bits in (2, 4, 64, 128) else {count}
    if held and held not in fits:
        raise ModelError(f"{what} claims {count:,} elements; its data are {held:,}")


def _count(dims: Iterable[int], what: str) -> int:
    count = 1
    for dim in dims:
        if dim < 0:
            raise ModelError(f"{what} has a dimension of {dim}")
        count *= dim
        if count > _LARGEST:
            raise ModelError(f"{what} has more elements than can be counted")
    return count


def _check_type(kind: TypeProto, name: str) -> None:
    for dim in kind.tensor_type.shape.dim:
        if dim.dim_param.__class__ is not str:
            _text(dim.dim_param)
    if kind.HasField("tensor_type") and kind.tensor_type.elem_type not in BITS and kind.tensor_type.elem_type:
        raise ModelError(f"{quoted(name)} has element type {kind.tensor_type.elem_type}, which onnx does not know")


def _unique(names: Iterable[str], what: str, where: str) -> set[str]:
    seen = set[str]()
    for name in names:
        if name in seen:
            raise ModelError(f"two {what} {where} are called {quoted(name)}")
        seen.add(name)
    if "" in seen:
        raise ModelError(f"one of the {what} {where} has no name")
    return seen


def _texts(texts: Iterable[object]) -> None:
    for text in texts:
        _text(text)


def _text(text: object) -> str:
    """The text; protobuf hands out what is not UTF-8 as bytes."""
    if not isinstance(text, str):
        raise ModelError(f"the name {text!r} is not UTF-8")
    return text
