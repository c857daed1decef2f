"""A TFLite file, tensor by tensor and operator by operator."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from benchmarks.vela.quantisation import Scale

_TYPES = {"int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}


class Writer:
    """One subgraph that grows; tensors are known by their numbers."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[tuple[int, int]] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first is what tensors without data refer to

    def tensor(self, name: str, shape: tuple[int, ...], scale: Scale) -> int:
        """An int8 tensor that is computed, or given."""
        return self._tensor(
            name, shape, "int8", 0, schema.QuantizationParametersT(scale=[scale.scale], zeroPoint=[scale.zero])
        )

    def constant(self, name: str, values: NDArray[Any], scales: NDArray[Any] | None = None, axis: int = 0) -> int:
        """An int8 or int32 tensor with data; `scales` are one, or one for each index of `axis`, around zero."""
        quantised = None
        if scales is not None:
            zeros = np.zeros(len(scales), np.int64)
            quantised = schema.QuantizationParametersT(
                scale=scales.astype(np.float32), zeroPoint=zeros, quantizedDimension=axis
            )
        self._buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
        return self._tensor(name, values.shape, values.dtype.name, len(self._buffers) - 1, quantised)

    def operator(self, code: str, inputs: list[int], output: int, version: int = 1, **options: Any) -> None:
        """An operator by its name in the schema; its options are a class of the schema's, and values by field."""
        number = (getattr(schema.BuiltinOperator, code), version)
        if number not in self._codes:
            self._codes.append(number)
        made = schema.OperatorT(opcodeIndex=self._codes.index(number), inputs=inputs, outputs=[output])
        kind = options.pop("options", None)
        if kind is not None:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            made.builtinOptions = getattr(schema, f"{kind}T")(**options)
        self._operators.append(made)

    def finish(self, inputs: list[int], outputs: list[int]) -> bytes:
        """The file."""
        graph = schema.SubGraphT(self._tensors, inputs, outputs, self._operators, "main")
        # Readers before 2021 know a byte of the operator's code, with 127 for all that do not fit in it.
        codes = [schema.OperatorCodeT(min(code, 127), None, version, code) for code, version in self._codes]
        model = schema.ModelT(3, codes, [graph], "", self._buffers)
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _tensor(self, name: str, shape: tuple[int, ...], kind: str, buffer: int, quantised: Any) -> int:
        self._tensors.append(schema.TensorT(list(shape), _TYPES[kind], buffer, name, quantised))
        return len(self._tensors) - 1
