"""Weights in files of their own: which ones a model refers to, and where it may find them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onnx import AttributeProto, GraphProto, ModelProto, SparseTensorProto, TensorProto

from tse_onnx.errors import ModelError
from tse_onnx.passes.graph.nested import Container, graphs_of
from tse_onnx.passes.graph.wellformed import bytes_of
from tse_onnx.passes.reasons import quoted

_SEVERAL = (AttributeProto.TENSORS, AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS)


def external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of the model whose data lie in another file."""
    for _, graph in graphs_of(model):
        yield from (tensor for tensor in _tensors(graph) if tensor.data_location == TensorProto.EXTERNAL)


def _tensors(graph: Container) -> Iterator[TensorProto]:
    """The tensors of a graph, not those of the bodies in it."""
    if isinstance(graph, GraphProto):
        yield from graph.initializer
        yield from _parts(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type in _SEVERAL:
                yield from attribute.tensors
                yield from _parts((attribute.sparse_tensor, *attribute.sparse_tensors))


def _parts(tensors: Iterable[SparseTensorProto]) -> Iterator[TensorProto]:
    for sparse in tensors:
        yield from (sparse.values, sparse.indices)


def location(tensor: TensorProto) -> str:
    """The file that a tensor's data lie in, relative to the model's folder."""
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def check_locations(model: ModelProto, folder: Path | None) -> None:
    """Raise `ModelError` unless every external file of `model` is there, in `folder` or below it."""
    sizes: dict[str, int] = {}
    for tensor in external_tensors(model):
        if folder is None:
            raise ModelError("the model's weights lie in other files: give its path, or load them into it first")
        where = location(tensor)
        if where not in sizes:
            sizes[where] = locate(folder, where).stat().st_size
        _check_span(tensor, where, sizes[where])


def _check_span(tensor: TensorProto, where: str, size: int) -> None:
    """Raise `ModelError` unless the bytes of `tensor` lie within its file, which is `size` bytes long."""
    stated = {entry.key: entry.value for entry in tensor.external_data if entry.key in ("offset", "length")}
    span = {}
    for key, text in stated.items():
        if not (text.isdecimal() and text.isascii() and len(text) < 20):
            raise ModelError(
                f"external data of {quoted(tensor.name)} have {quoted(text)} for {key}, which is no number"
            )
        span[key] = int(text)
    needed, offset = bytes_of(tensor), span.get("offset", 0)
    length = span.get("length", 0) or needed  # without a length, or with 0: as much as the elements take
    if length != needed:
        raise ModelError(f"external data of {quoted(tensor.name)} have {length:,} bytes; its elements take {needed:,}")
    if offset + length > size:
        raise ModelError(f"external data of {quoted(tensor.name)} end at byte {offset + length:,} of {quoted(where)}, "
                         f"which has {size:,}")  # fmt: skip


def loaded(tensor: TensorProto, folder: Path) -> TensorProto:
    """A copy of an external tensor that holds its data, which `check_locations` has found to be there."""
    offset = next((int(entry.value) for entry in tensor.external_data if entry.key == "offset"), 0)
    made = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    try:
        with locate(folder, location(tensor)).open("rb") as file:
            file.seek(offset)
            made.raw_data = file.read(bytes_of(tensor))
    except OSError as error:
        raise ModelError(f"cannot read the weights of {quoted(tensor.name)}: {error.strerror or error}") from error
    return made


def locate(folder: Path, where: str) -> Path:
    """The file at `where` below `folder`.

    Raises `ModelError` where it is none, or lies outside the folder, by its own path or through a link.
    """
    path = Path(where)
    # onnxruntime takes data at this "file" for an address in its own memory.
    if "_ORT_MEM_ADDR_" in where:
        raise ModelError(f"external data at {quoted(where)} are an address in memory: not followed")
    if not where or path.is_absolute() or ".." in path.parts or "\\" in where or not where.isprintable():
        raise ModelError(f"external data at {quoted(where)} would lie outside the model's folder: not followed")
    found = folder / path
    try:
        inside, there = found.resolve().is_relative_to(folder.resolve()), found.is_file()
    except (
        OSError,
        RuntimeError,
    ) as error:  # a name that is too long; links in a circle, as Python before 3.13 says it
        text = getattr(error, "strerror", None) or "its links lead in a circle"
        raise ModelError(f"external data at {quoted(where)} cannot be followed: {text}") from error
    if not inside:
        raise ModelError(
            f"external data at {quoted(where)} lead outside the model's folder through a link: not followed"
        )
    if not there:
        raise ModelError(f"external data at {quoted(where)} are missing: no such file beside the model")
    return found
