"""What onnx's checker says of a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx
from onnx import ModelProto

from tse_onnx.errors import ModelError
from tse_onnx.passes.guard import refuse_negative
from tse_onnx.passes.order import sort_nodes
from tse_onnx.passes.reasons import first_line
from tse_onnx.passes.shapes import TensorType, inferable, inferred, value_info, weightless


def has_sound_sizes(model: ModelProto) -> bool:
    """Whether onnx infers no negative size anywhere in a model."""
    bare = weightless(model)
    sort_nodes(bare.graph)
    try:
        refuse_negative(inferred(bare).graph)
    except ModelError:
        return False
    return True


def complaint(
    model: ModelProto, types: Mapping[str, TensorType] | None = None, trusted: Collection[str] = ()
) -> str | None:
    """What onnx's checker says against a model, its stated shapes included, or None.

    It wants a shape for every output; those without get theirs from `types`. `trusted` are values of Slices that onnx
    can infer for sure.
    """
    try:
        bare = weightless(model)
        for output in bare.graph.output:
            if types is not None and output.name in types and not output.type.tensor_type.HasField("shape"):
                output.CopyFrom(value_info(output.name, types[output.name]))
        sort_nodes(bare.graph)  # the order of nodes is the input's own affair, and runtimes do not need it
        onnx.checker.check_model(bare, full_check=inferable(bare, trusted))
    except Exception as error:
        return first_line(error)
    return None
