"""A float model as it is quantised: its weights at hand, its layers by name."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto, NodeProto, TensorProto

from tse_onnx.costs.profile import names_of
from tse_onnx.decision.inputs import InputShapes, bind
from tse_onnx.errors import ModelError, UsageError
from tse_onnx.files.external import check_locations, external_tensors, loaded
from tse_onnx.files.source import Source
from tse_onnx.passes.graph.index import int_attribute
from tse_onnx.passes.graph.nested import graphs_of
from tse_onnx.passes.graph.operators import is_default
from tse_onnx.passes.graph.order import sort_nodes
from tse_onnx.passes.graph.scope import Scope, scopes
from tse_onnx.passes.reasons import label, quoted
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.runtime.widen import has_narrow_type

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})
"""The types that are quantised."""
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})

_PER_CHANNEL = 13  # the opset from which QuantizeLinear and DequantizeLinear have an axis
_HALF = 19  # that from which they take half precision
_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"})


@dataclass(frozen=True, eq=False)
class Subject:
    """A float model, never to be changed: the nodes in topological order, every weight in memory.

    `layers` are the nodes of its main graph that `operators` ask for and that can be quantised, by name, with their
    positions; `left` are those that cannot, with the reason. A layer's name is that of its node, or its first output
    where it has none or shares it.
    """

    title: str
    model: ModelProto
    scope: Scope
    operators: str
    layers: Mapping[str, int]
    left: Mapping[str, str]

    @classmethod
    def of(cls, source: Source, operators: str = "convolutions", input_shapes: InputShapes | None = None) -> Subject:
        """Raises `ModelError` where the model is quantised already, or its opset has no scale for each channel."""
        _refuse(source)
        model = _in_memory(source)
        sort_nodes(model.graph)
        wanted = _wanted(operators)
        _lift(model, wanted)
        scope = scopes(model, bind(source, input_shapes or {}), evaluate)[0]
        names, layers, left = names_of(model.graph.node), dict[str, int](), dict[str, str]()
        for position, node in enumerate(scope.index.nodes):
            if is_default(node.domain) and node.op_type in wanted and node.output:
                reason = _why_not(scope, node, source.opset)
                if reason:
                    left[names[node.output[0]]] = reason
                else:
                    layers[names[node.output[0]]] = position
        if not layers:
            first = next(iter(left.items()), None)
            why = "its main graph has none" if first is None else f"{quoted(first[0])} stays as it is: {first[1]}"
            raise ModelError(f"{source.title} has no {_ONE[operators]} to quantise: {why}")
        return cls(source.title, model, scope, operators, layers, left)

    def node(self, name: str) -> NodeProto:
        """The node of a layer."""
        return self.model.graph.node[self.layers[name]]

    def has(self, name: str) -> bool:
        """Whether there is a layer of this name, or one whose output has it."""
        return name in self.layers or any(name in self.node(layer).output for layer in self.layers)

    def named(self, names: Collection[str]) -> frozenset[str]:
        """Layers by name or by output. Raises `UsageError` where there is none, with the nearest name."""
        by_output = {output: name for name in self.layers for output in self.node(name).output}
        found = set()
        for name in names:
            if name not in self.layers and name not in by_output:
                raise UsageError(self._unknown(name, (*self.layers, *by_output)))
            found.add(name if name in self.layers else by_output[name])
        return frozenset(found)

    def _unknown(self, name: str, known: Collection[str]) -> str:
        if name in self.left:
            return f"{quoted(name)} stays in float anyway: {self.left[name]}"
        near = difflib.get_close_matches(name, list(known), 1, 0.0)
        return f"{self.title} has no {_ONE[self.operators]} {quoted(name)}; the nearest name is {quoted(near[0])}"

    def read(self) -> tuple[str, ...]:
        """The values whose ranges a quantised model needs."""
        index, types = self.scope.index, self.scope.types
        if self.operators == "convolutions":
            wanted = [self.node(name).input[0] for name in self.layers]
        else:
            nodes = [self.node(name) for name in self.layers]
            wanted = [value for node in nodes for value in (*node.input, *node.output) if value]
        weights = index.initializers
        return tuple(name for name in dict.fromkeys(wanted) if name not in weights and types[name].dtype in FLOATS)


_ONE = {"convolutions": "convolution", "all": "layer"}


def _wanted(operators: str) -> frozenset[str]:
    if operators == "convolutions":
        return CONVOLUTIONS
    from tse_onnx.runtime.quantization import OPERATORS

    return OPERATORS


def _refuse(source: Source) -> None:
    for _, graph in graphs_of(source.model):
        for node in graph.node:
            if node.op_type in _QUANTISED or node.op_type.startswith("QLinear"):
                raise ModelError(f"{source.title} is quantised already, as {label(node)} shows")
    if source.opset < _PER_CHANNEL:
        raise ModelError(
            f"{source.title} is in opset {source.opset}, which has no scale for each channel: take it to "
            f"{_PER_CHANNEL} or later first (onnx.version_converter.convert_version)"
        )
    if has_narrow_type(source.model):
        raise ModelError(f"{source.title} is in bfloat16, of which onnxruntime quantises nothing")


def _in_memory(source: Source, /) -> ModelProto:
    """A copy with its external weights read."""
    check_locations(source.model, source.folder)
    model = ModelProto()
    model.CopyFrom(source.model)
    for tensor in external_tensors(model):
        tensor.CopyFrom(loaded(tensor, source.folder or Path()))
    return model


def _lift(model: ModelProto, wanted: Collection[str]) -> None:
    """Put the float Constants that layers read among the initializers, where weights are quantised."""
    graph = model.graph
    read = {name for node in graph.node if node.op_type in wanted for name in node.input}
    for position in reversed(range(len(graph.node))):
        node = graph.node[position]
        if node.op_type == "Constant" and node.output[0] in read:
            value = next((one.t for one in node.attribute if one.name == "value"), None)
            if value is not None and value.data_type in FLOATS:
                graph.initializer.add().CopyFrom(value)
                graph.initializer[-1].name = node.output[0]
                del graph.node[position]


def _why_not(scope: Scope, node: NodeProto, opset: int) -> str:
    """Why a node cannot be quantised; nothing where it can."""
    if opset < _HALF and any(name and scope.types[name].dtype == TensorProto.FLOAT16 for name in node.input):
        return f"it is in half precision, which has quantisers from opset {_HALF} on: take it there, or take float32"
    if node.op_type not in CONVOLUTIONS:
        return ""
    weight = scope.index.initializers.get(node.input[1])
    if weight is None:
        return "its weights are computed"
    if weight.data_type not in FLOATS:
        return "its weights are neither in single nor in half precision"
    if node.op_type == "ConvTranspose" and int_attribute(node, "group", 1) > 1 and len(node.input) > 2:
        return "its bias has no scale for each channel, as a transposed convolution in groups"
    return "it reads a constant" if node.input[0] in scope.index.initializers else ""
