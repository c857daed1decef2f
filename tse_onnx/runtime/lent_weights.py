"""Weights that onnxruntime reads as arrays, instead of parsing a model that holds them once more."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper

from tse_onnx.passes.graph.index import captured
from tse_onnx.passes.graph.types import described
from tse_onnx.runtime.ort import ort

_TYPES = frozenset({
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32,
    TensorProto.INT64,
})  # fmt: skip


_LARGE = 4096  # bytes; smaller ones may be sizes, which onnxruntime wants to see before it runs


def lent(model: ModelProto) -> tuple[ModelProto, dict[str, ort.OrtValue]]:
    """A copy of the model without the large weights of its main graph, and these by name. They have to live as long as
    the session that they are added to, as external initializers."""
    bare, values = described(model), dict[str, ort.OrtValue]()
    read = {value.name for value in model.graph.output}  # what nobody reads is gone before it could be lent
    for node in model.graph.node:
        read.update(node.input)
        read.update(captured(node))
    read -= {value.name for value in model.graph.input}  # which a caller may feed instead
    for stub, tensor in zip(bare.graph.initializer, model.graph.initializer, strict=True):
        data = tensor.raw_data if tensor.data_type in _TYPES and tensor.name in read else b""
        if len(data) >= _LARGE and not stub.raw_data:
            kind = helper.tensor_dtype_to_np_dtype(tensor.data_type).newbyteorder("<")
            array = np.frombuffer(data, kind).reshape(tensor.dims)
            values[tensor.name] = ort.OrtValue.ortvalue_from_numpy(array)
            stub.data_location = TensorProto.EXTERNAL
            stub.external_data.add(key="location", value="in memory")
        else:
            stub.CopyFrom(tensor)
    return bare, values
