"""Put each block of a dynamo export into a local function, as exporters do that keep modules as functions.

torch's dynamo exporter inlines its functions, and notes in each node's metadata the module that it came from.
"""

from __future__ import annotations

import ast
from collections import defaultdict

import onnx
from onnx import FunctionProto, ModelProto, NodeProto

DOMAIN = "modules"
_SCOPES, _CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"
_WORDS = ("Squeeze", "SEModule", "Eca", "Ese")


def outlined(model: ModelProto) -> ModelProto:
    """The model with the nodes of every SE module in a function of their own.

    Raises `ValueError` where the model has no note of its modules.
    """
    modules: dict[str, list[int]] = defaultdict(list)
    for position, node in enumerate(model.graph.node):
        name = _module(node)
        if name:
            modules[name].append(position)
    if not modules:
        raise ValueError("no node names the module that it came from")
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    inside = {position for positions in modules.values() for position in positions}
    last = {positions[-1]: name for name, positions in modules.items()}
    for position, node in enumerate(model.graph.node):
        if position in last:
            function, call = _function(model, last[position], modules[last[position]])
            result.functions.append(function)
            result.graph.node.append(call)
        elif position not in inside:
            result.graph.node.append(node)
    result.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    onnx.checker.check_model(result)
    return result


def _module(node: NodeProto) -> str:
    """The innermost SE module that the node belongs to; "" for none."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    if _SCOPES not in notes or _CLASSES not in notes:
        return ""
    names, classes = ast.literal_eval(notes[_SCOPES]), ast.literal_eval(notes[_CLASSES])
    for name, kind in zip(names, classes, strict=True):
        if any(word in kind.rpartition(".")[2] for word in _WORDS):
            return str(name)
    return ""


def _function(model: ModelProto, name: str, positions: list[int]) -> tuple[FunctionProto, NodeProto]:
    nodes = [model.graph.node[position] for position in positions]
    made = {output for node in nodes for output in node.output}
    chosen = set(positions)
    read_outside = {output.name for output in model.graph.output} | {
        value for position, node in enumerate(model.graph.node) if position not in chosen for value in node.input
    }
    inputs = list(dict.fromkeys(value for node in nodes for value in node.input if value and value not in made))
    # Axes and shapes stand in the function itself, as exporters write them.
    steering = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.name in inputs and tensor.data_type == onnx.TensorProto.INT64
    }
    inputs = [value for value in inputs if value not in steering]
    constants = {value: f"{name}.{value}" for value in steering}
    inner = [
        onnx.helper.make_node("Constant", [], [constants[value]], value=tensor) for value, tensor in steering.items()
    ]
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        for slot, value in enumerate(copy.input):
            copy.input[slot] = constants.get(value, value)
        inner.append(copy)
    outputs = [output for node in nodes for output in node.output if output in read_outside]
    function = onnx.helper.make_function(
        DOMAIN, name.replace(".", "_"), inputs, outputs, inner, list(model.opset_import)
    )
    return function, onnx.helper.make_node(function.name, inputs, outputs, name=name, domain=DOMAIN)
