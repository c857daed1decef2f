"""A quantised model from a float one and the ranges of its values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto

from tse_onnx.errors import ModelError
from tse_onnx.passes.graph.nested import taken_names
from tse_onnx.passes.graph.types import TensorType, value_info
from tse_onnx.passes.names import fresh
from tse_onnx.passes.reasons import first_line, quoted
from tse_onnx.quantisation.qdq.ranges import Range, Ranges
from tse_onnx.quantisation.qdq.scheme import Scheme
from tse_onnx.quantisation.qdq.subject import CONVOLUTIONS, Subject
from tse_onnx.runtime.quantization import QDQQuantizer, QuantType, TensorData, quietly

# What tells onnxruntime that types are stated: it would write the model to a file, and infer them there.
_STATED = ("onnx.infer", "onnxruntime.quant")
_INPUTS_ALONE = {"convolutions": sorted(CONVOLUTIONS), "all": list[str]()}


def quantised(subject: Subject, ranges: Ranges, scheme: Scheme) -> ModelProto:
    """The model with QuantizeLinear and DequantizeLinear around its layers, by onnxruntime, but for those to keep.

    Nodes keep their names, their order and what they compute: no Relu is taken away. A value is quantised for all that
    read it. Raises `UsageError` for a layer to keep that is not there, `ModelError` where onnxruntime refuses.
    """
    keep = subject.named(scheme.keep)
    if missing := [name for name in subject.read() if name not in ranges.by_value]:
        raise ModelError(f"{quoted(missing[0])} has no range: calibrate with the operators that are quantised")
    model = ModelProto()
    model.CopyFrom(subject.model)
    if len(keep) == len(subject.layers):
        return model
    chosen = {name: position for name, position in subject.layers.items() if name not in keep}
    _part(model, [subject.layers[name] for name in keep], chosen.values())
    types = {name: subject.scope.types[name] for name in subject.read()}
    plain, stated = [node.name for node in model.graph.node], len(model.graph.value_info)
    unique = _name(model, types)
    try:
        with quietly():
            quantizer = QDQQuantizer(
                model,
                True,
                False,
                QuantType.QInt8,
                QuantType.QUInt8,
                {name: _data(ranges.by_value[name], kind) for name, kind in types.items()},
                [unique[position] for position in chosen.values()],
                [],
                sorted({model.graph.node[position].op_type for position in chosen.values()}),
                {
                    "QDQKeepRemovableActivations": True,
                    "OpTypesToExcludeOutputQuantization": _INPUTS_ALONE[subject.operators],
                },
            )
            made: ModelProto = quantizer.quantize_model()
    except Exception as error:  # it raises whatever numpy and protobuf do, and ValueErrors of its own
        raise ModelError(f"onnxruntime does not quantise {subject.title}: {first_line(error)}") from error
    for node, name in zip(made.graph.node, plain, strict=False):
        node.name = name
    del made.graph.value_info[stated:]
    _forget(made, subject.model)
    _place(made.graph, len(plain))
    return made


def _part(model: ModelProto, kept: Iterable[int], chosen: Iterable[int]) -> None:
    """Give what stays in float weights of its own: those that it shares are quantised for all that read them."""
    graph = model.graph
    shared = {name for position in chosen for name in graph.node[position].input}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    taken = taken_names(model)
    for position in kept:
        node = graph.node[position]
        for slot, name in enumerate(node.input):
            if name in shared and name in weights:
                own = TensorProto()
                own.CopyFrom(weights[name])
                own.name = node.input[slot] = fresh(f"{name}_float", taken)
                graph.initializer.append(own)


def _name(model: ModelProto, types: Mapping[str, TensorType]) -> list[str]:
    """Give every node a name of its own, by which onnxruntime knows it, and state the types that it asks for."""
    graph, taken = model.graph, {node.name for node in model.graph.node}
    used = Counter(node.name for node in graph.node)
    for node in graph.node:
        if not node.name or used[node.name] > 1:
            node.name = fresh(f"{node.name or node.op_type}_of_{node.output[0]}", taken)
    known = {value.name for value in graph.value_info}
    graph.value_info.extend(value_info(name, kind) for name, kind in types.items() if name not in known)
    model.metadata_props.add(key=_STATED[0], value=_STATED[1])
    return [node.name for node in graph.node]


def _data(ends: Range, kind: TensorType) -> TensorData:
    """A range in the type of its value, which is that of the scale."""
    dtype = np.float16 if kind.dtype == TensorProto.FLOAT16 else np.float32
    largest = np.finfo(dtype).max
    low, high = (np.asarray(np.clip(end, -largest, largest), dtype) for end in ends)
    return TensorData(lowest=low, highest=high)


def _forget(made: ModelProto, original: ModelProto) -> None:
    """Leave out what onnxruntime says of itself."""
    made.producer_name, made.producer_version = original.producer_name, original.producer_version
    del made.metadata_props[:]
    made.metadata_props.extend(original.metadata_props)


def _place(graph: GraphProto, count: int) -> None:
    """Put the new nodes, which stand behind the first `count`, each before the first that reads it."""
    nodes = list(graph.node)
    makers = {name: position for position, node in enumerate(nodes) for name in node.output if position >= count}
    order: dict[int, None] = {}

    def put(position: int) -> None:
        for name in nodes[position].input:
            if (maker := makers.get(name)) is not None and maker not in order:
                put(maker)
        order[position] = None

    for position in range(len(nodes)):
        if position not in order:
            put(position)
    arranged = GraphProto()
    arranged.node.extend(nodes[position] for position in order)
    del graph.node[:]
    graph.node.MergeFrom(arranged.node)
