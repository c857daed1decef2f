"""The inputs that a caller feeds, and the sizes that he gives them."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import TensorProto, ValueInfoProto

from tse_onnx.errors import UsageError
from tse_onnx.files.source import Source
from tse_onnx.passes.graph.types import Dim, TensorType, tensor_type
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting

InputShapes = Mapping[str, tuple[Dim, ...]]
LARGEST_DIM = 2**63 - 1  # protobuf's, and no model's


def fed_inputs(source: Source) -> list[ValueInfoProto]:
    """The inputs that a caller feeds: those that are not initializers as well."""
    weights = {tensor.name for tensor in source.model.graph.initializer}
    return [value for value in source.model.graph.input if value.name not in weights]


def bind(source: Source, wanted: InputShapes) -> dict[str, tuple[Dim, ...]]:
    """`wanted` by the names of the model's inputs; `UsageError` where a shape fits none."""
    inputs = {value.name: value for value in fed_inputs(source)}
    bound = {}
    for name, dims in wanted.items():
        if not name and len(inputs) == 1:
            name = next(iter(inputs))
        if name in bound:
            raise UsageError(f"{setting('input_shapes')} gives {quoted(name)} twice")
        if name not in inputs:
            raise UsageError(
                f"{setting('input_shapes')} names {quoted(name)}, which is no input of the model; its inputs are "
                + ", ".join(quoted(known) for known in inputs)
            )
        for dim in dims:
            if isinstance(dim, bool) or not (dim is None or isinstance(dim, str) or 0 < dim <= LARGEST_DIM):
                raise UsageError(f"{setting('input_shapes')} gives {quoted(name)} a dimension of {dim}")
        stated = tensor_type(inputs[name].type.tensor_type).dims
        if stated is not None and len(stated) != len(dims):
            raise UsageError(
                f"{setting('input_shapes')} gives {quoted(name)} {len(dims)} dimensions; the model says {len(stated)}"
            )
        for axis, (was, now) in enumerate(zip(stated or dims, dims, strict=True)):
            if isinstance(was, int) and was != now:
                raise UsageError(
                    f"{setting('input_shapes')} gives {quoted(name)} {now} on axis {axis}; the model fixes it to {was}"
                )
        bound[name] = tuple(dims)
    return bound


def types_of(source: Source, bound: InputShapes) -> dict[str, TensorType]:
    """Types of the inputs of a model that a caller feeds, `bound` by name."""
    return {
        value.name: TensorType(
            value.type.tensor_type.elem_type or TensorProto.FLOAT,
            bound.get(value.name) or tensor_type(value.type.tensor_type).dims,
        )
        for value in fed_inputs(source)
    }
