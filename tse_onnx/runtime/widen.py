"""A twin in single precision of a model in bfloat16, which onnxruntime's processor kernels do not run.

What the twin proves is the structure of a conversion: which rows share a mean, where each gate goes. How bfloat16
rounds is the accelerator's affair, and the same for one descriptor as for many.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from tse_onnx.data.feed import Feed
from tse_onnx.passes.graph.nested import graphs_of

_NARROW, _WIDE = TensorProto.BFLOAT16, TensorProto.FLOAT
# Attributes that name an element type.
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "stash_type"})


def has_narrow_type(model: ModelProto) -> bool:
    """Whether the model's inputs or weights are in a type that onnxruntime does not run here."""
    graph = model.graph
    return any(value.type.tensor_type.elem_type == _NARROW for value in graph.input) or any(
        tensor.data_type == _NARROW for tensor in graph.initializer
    )


def widened(model: ModelProto) -> ModelProto:
    """The twin: every bfloat16 type, weight and cast in single precision, everything else as it is; the model itself
    where onnxruntime runs that."""
    if not has_narrow_type(model):
        return model
    twin = ModelProto()
    twin.CopyFrom(model)
    for _, graph in graphs_of(twin):
        if isinstance(graph, GraphProto):
            _widen_values(graph)
        _widen_nodes(graph.node)
    return twin


def widened_feed(feed: Feed) -> Feed:
    """What the twin is fed with in place of `feed`: the same where there is nothing in bfloat16."""
    narrow = onnx.helper.tensor_dtype_to_np_dtype(_NARROW)
    return {name: array.astype(np.float32) if array.dtype == narrow else array for name, array in feed.items()}


def _widen_values(graph: GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == _NARROW:
            value.type.tensor_type.elem_type = _WIDE
    for tensor in graph.initializer:
        _widen_tensor(tensor)


def _widen_nodes(nodes: Iterable[NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
            elif attribute.name in _TYPE_ATTRIBUTES and attribute.i == _NARROW:
                attribute.i = _WIDE


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == _NARROW and tensor.data_location != TensorProto.EXTERNAL:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
