"""What onnx's checker says of a model."""

from __future__ import annotations

import onnx
from onnx import ModelProto

from tse_onnx.passes.order import sort_nodes
from tse_onnx.passes.shapes import first_line, inferable, weightless


def complaint(model: ModelProto) -> str | None:
    """What onnx's checker says against a model, its stated shapes included, or None."""
    try:
        bare = weightless(model)
        sort_nodes(bare.graph)  # the order of nodes is the input's own affair, and runtimes do not need it
        onnx.checker.check_model(bare, full_check=inferable(bare))
    except Exception as error:
        return first_line(error)
    return None
