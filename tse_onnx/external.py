"""Weights in files of their own: which ones a model refers to, and where it may find them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

from tse_onnx.errors import ModelError
from tse_onnx.passes.reasons import quoted


def external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of the model whose data lie in another file."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            for attribute in node.attribute:
                yield from _attribute_tensors(attribute)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    for tensor in graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor
    for sparse in graph.sparse_initializer:
        for tensor in (sparse.values, sparse.indices):
            if tensor.data_location == TensorProto.EXTERNAL:
                yield tensor
    for node in graph.node:
        for attribute in node.attribute:
            yield from _attribute_tensors(attribute)


def _attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.type == AttributeProto.TENSOR and attribute.t.data_location == TensorProto.EXTERNAL:
        yield attribute.t
    elif attribute.type == AttributeProto.GRAPH:
        yield from _graph_tensors(attribute.g)
    elif attribute.type == AttributeProto.GRAPHS:
        for graph in attribute.graphs:
            yield from _graph_tensors(graph)


def location(tensor: TensorProto) -> str:
    """The file that a tensor's data lie in, relative to the model's folder."""
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def check_locations(model: ModelProto, folder: Path | None) -> None:
    """Raise `ModelError` unless every external file of `model` is there, in `folder` or below it."""
    for where in {location(tensor) for tensor in external_tensors(model)}:
        if folder is None:
            raise ModelError("the model's weights lie in other files: give its path, or load them into it first")
        locate(folder, where)


def locate(folder: Path, where: str) -> Path:
    """The file at `where` below `folder`.

    Raises `ModelError` where it is none, or lies outside the folder, by its own path or through a link.
    """
    path = Path(where)
    if not where or path.is_absolute() or ".." in path.parts or "\\" in where or not where.isprintable():
        raise ModelError(f"external data at {quoted(where)} would lie outside the model's folder: not followed")
    found = folder / path
    if not found.resolve().is_relative_to(folder.resolve()):
        raise ModelError(
            f"external data at {quoted(where)} lead outside the model's folder through a link: not followed"
        )
    if not found.is_file():
        raise ModelError(f"external data at {quoted(where)} are missing: no such file beside the model")
    return found
