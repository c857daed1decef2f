"""The graphs of a model: the main one, the bodies of If and Loop, and local functions.

Each is a scope with an index and types of its own; names that a body does not make come from the scope around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from onnx import ModelProto, NodeProto

from tse_onnx.errors import ModelError
from tse_onnx.passes.graph.folding import Folding
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.nested import Body, Function, Path, body, steps
from tse_onnx.passes.graph.operators import opset_of
from tse_onnx.passes.graph.order import in_order, sort_nodes
from tse_onnx.passes.graph.sizes import Evaluate
from tse_onnx.passes.graph.types import (
    Dim,
    Inference,
    TensorType,
    Types,
    inferred,
    model_types,
    tensor_types,
    value_info,
    weight_types,
)
from tse_onnx.passes.reasons import Refusal, label, quoted

# Why a block is refused of which calls may say more.
_SAID_BY_CALLS = frozenset({"shape", "weights", "axes", "size"})

# Bodies within bodies: deeper ones are left alone, so that no model can exhaust the stack.
_DEEPEST = 16


@dataclass(frozen=True)
class Scope:
    """A graph of the model: where it is, who makes and reads its values, and what is known of their types.

    `title` tells people where; it is "" for the main graph. `ir` is the version of the format that the model is in.
    `calls_differ`: it is a function, and some of its calls say more of its arguments than all of them do.
    """

    path: Path
    title: str
    index: GraphIndex
    types: Types
    opset: int
    ir: int
    calls_differ: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this is the model's main graph."""
        return not self.path

    def advised(self, refusal: Refusal) -> Refusal:
        """A refusal, with what tells more where calls of a function do: its body in place of each call."""
        if not self.calls_differ or refusal.code not in _SAID_BY_CALLS:
            return refusal
        text = f"{refusal.text}; its calls differ: inline it first (onnx.inliner.inline_local_functions)"
        return replace(refusal, text=text)


def scopes(
    model: ModelProto, bound: Mapping[str, tuple[Dim, ...]], inference: Inference | Evaluate
) -> tuple[Scope, ...]:
    """Every scope of the model: the main graph, then bodies and functions as they are met.

    `inference` is that of the model so bound, or what computes the sizes that the graph computes from its shapes.

    Raises `ModelError` where the main graph has a cycle.
    """
    if not isinstance(inference, Inference):
        inference = Inference(model, bound, inference)
    opset = opset_of(model.opset_import)
    index, types = GraphIndex.of_graph(model.graph), model_types(model, bound, inference)
    index.folding = Folding(index, types)
    main = Scope((), "", index, types, opset, model.ir_version)
    if not index.is_ordered and (cyclic := in_order(index.nodes)[1]):
        raise ModelError(f"the graph has a cycle: {label(index.nodes[cyclic[0]])} depends on itself")
    found = [main]
    if main.index.nesting:
        found += _bodies(main, lambda position: inference.node(position))
        if model.functions:
            found += _functions(model, found)
    return tuple(found)


def _bodies(scope: Scope, inferred_node: Callable[[int], NodeProto]) -> Iterator[Scope]:
    if len(scope.path) >= _DEEPEST:
        return
    for position in scope.index.nesting:
        node = scope.index.nodes[position]
        for step, graph in steps(node, position):

            def infer(step: Body = step, position: int = position) -> Mapping[str, TensorType]:
                found = body(inferred_node(position), step)
                return tensor_types((*found.input, *found.value_info, *found.output))

            def inner_node(place: int, step: Body = step, position: int = position) -> NodeProto:
                return body(inferred_node(position), step).node[place]

            stated = tensor_types(graph.value_info)
            known = tensor_types(graph.input) | stated | tensor_types(graph.output) | weight_types(graph)
            title = f"{step.attribute} of {label(node)}" + (f" in {scope.title}" if scope.title else "")
            index, types = GraphIndex.of_graph(graph, scope.index), Types(known, stated, infer, scope.types)
            index.folding = Folding(index, types, scope.index.folding)
            inner = Scope((*scope.path, step), title, index, types, scope.opset, scope.ir)
            yield inner
            yield from _bodies(inner, inner_node)


def _functions(model: ModelProto, callers: Sequence[Scope]) -> list[Scope]:
    """The functions that are called, each after every scope found so far that calls it."""
    numbers = {(function.domain, function.name): number for number, function in enumerate(model.functions)}
    found: list[Scope] = []
    waiting, done = list(callers), set[int]()
    calls: dict[int, list[tuple[Scope, NodeProto]]] = {}
    for scope in waiting:  # grows while it is walked: functions call functions
        for position in scope.index.nesting:
            node = scope.index.nodes[position]
            number = numbers.get((node.domain, node.op_type))
            if number is not None:
                calls.setdefault(number, []).append((scope, node))
        if scope is waiting[-1]:
            for number in [number for number in calls if number not in done]:
                done.add(number)
                inner = _function(model, number, calls[number])
                found.append(inner)
                waiting.append(inner)
    return found


def _function(model: ModelProto, number: int, calls: Sequence[tuple[Scope, NodeProto]]) -> Scope:
    function = model.functions[number]
    kinds: dict[str, list[TensorType]] = {}
    constant: dict[str, list[bool]] = {}
    numbers: dict[str, list[np.ndarray | None]] = {}
    for scope, node in calls:
        arguments = dict(zip(function.input, node.input, strict=False))
        for name in function.input:
            argument = arguments.get(name, "")
            kinds.setdefault(name, []).append(scope.types[argument] if argument else TensorType(0, None))
            settled = bool(argument) and scope.index.is_constant(argument)
            constant.setdefault(name, []).append(settled)
            numbers.setdefault(name, []).append(scope.index.short_constant(argument) if settled else None)
    types = {name: reduce(_agreed, given) for name, given in kinds.items()}
    constants = {name: _the_same(numbers[name]) for name, given in constant.items() if all(given)}
    differ = any(
        any(kind.dims != types[name].dims for kind in kinds[name])
        or len(set(constant[name])) > 1
        or (constants.get(name) is None and any(one is not None for one in numbers[name]))
        for name in function.input
    )

    def infer() -> Mapping[str, TensorType]:
        alone = ModelProto(ir_version=max(model.ir_version, 8), functions=model.functions)
        alone.opset_import.extend(function.opset_import)
        known = {entry.domain for entry in function.opset_import}
        alone.opset_import.extend(entry for entry in model.opset_import if entry.domain not in known)
        alone.graph.name = function.name or "function"
        alone.graph.node.extend(function.node)
        alone.graph.input.extend(value_info(name, kind) for name, kind in types.items())
        sort_nodes(alone.graph)
        return tensor_types(inferred(alone).graph.value_info)

    index = GraphIndex(function.node, function.input, function.output, constants=constants)
    title = f"function {quoted(function.name)}"
    opset = opset_of(function.opset_import) or opset_of(model.opset_import)
    known = Types(types, {}, infer)
    index.folding = Folding(index, known)
    return Scope((Function(number),), title, index, known, opset, model.ir_version, differ)


def _the_same(given: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """The short constant that all calls of a function give, if it is one."""
    first = given[0]
    same = first is not None and all(
        one is not None and one.dtype == first.dtype and np.array_equal(one, first) for one in given
    )
    return first if same else None


def _agreed(one: TensorType, other: TensorType) -> TensorType:
    """What two calls of a function have in common."""
    if one.dims is None or other.dims is None or len(one.dims) != len(other.dims):
        return TensorType(one.dtype, None)
    return TensorType(one.dtype, tuple(a if a == b else None for a, b in zip(one.dims, other.dims, strict=True)))
