"""What may be given as a model, and what it is once read."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Union

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto

from tse_onnx.errors import ModelError, UsageError
from tse_onnx.files.encode import LONGEST, encoded, too_long
from tse_onnx.passes.graph.operators import opset_of
from tse_onnx.passes.graph.wellformed import check
from tse_onnx.passes.reasons import printable, quoted
from tse_onnx.timing import phase

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

ModelLike = Union[str, "os.PathLike[str]", ModelProto, "gs.Graph", "Source"]

_log = logging.getLogger(__name__)

# Domains whose operators onnx itself defines; others are kept as they are, and nothing in them is converted.


@dataclass(frozen=True)
class Source:
    """A model as it came: the protobuf, never to be changed, and the file it was read from, if any."""

    model: ModelProto
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    """The model's own bytes, where they came from a stream and cannot be read again."""
    name: str = ""
    stamp: tuple[int, int, int] | None = field(default=None, repr=False)
    """What would not be the same had the file changed since."""

    @property
    def title(self) -> str:
        """How reports call the model."""
        return str(self.path) if self.path is not None else self.name or self.model.graph.name or "model"

    @property
    def folder(self) -> Path | None:
        """The folder that the locations of external weights start from; None where the model came from no file."""
        return self.path.parent if self.path is not None else None

    def original(self) -> bytes:
        """The bytes that the model was read from, or the serialised form of one that was given as an object."""
        if self.data is not None:
            return self.data
        if self.path is None:
            return b"".join(encoded(self.model))
        data = read(self.path)
        if _stamp(self.path) != self.stamp:
            raise ModelError(f"{self.path} changed while it was read")
        return data

    @property
    def opset(self) -> int:
        """The version of onnx's own operator set that the model uses; 0 where it uses none."""
        return opset_of(self.model.opset_import)


def open_model(model: ModelLike) -> Source:
    """Take a path, a `ModelProto`, a `gs.Graph`, or what was opened before. Weights in files of their own are not read.

    Raises `ModelError` where there is no usable model.
    """
    if isinstance(model, Source):
        return model
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        with phase(_log, f"loading {quoted(str(path))}"):
            stamp, data = _stamp(path), read(path)
            # What is no file (a pipe, a process substitution) gives its bytes once.
            kept = None if path.is_file() else data
            source = Source(_checked(parse(data, str(path)), str(path)), path, kept, stamp=stamp)
        return _logged(source, len(data))
    if isinstance(model, ModelProto):
        return _logged(Source(_checked(model, "the model")))
    if type(model).__module__.partition(".")[0] == "onnx_graphsurgeon":
        import onnx_graphsurgeon as gs

        return _logged(Source(_checked(gs.export_onnx(model, do_type_check=False), "the graph")))
    raise UsageError(f"a model is a path, an onnx.ModelProto or a gs.Graph, not {type(model).__name__}")


def from_stream(stream: BinaryIO, name: str) -> Source:
    """Read a model from an open stream, which messages and reports call `name`."""
    try:
        data = _all_of(stream, name)
    except OSError as error:
        raise ModelError(f"cannot read {name}: {error.strerror or error}") from error
    return _logged(Source(_checked(parse(data, name), name), None, data, name), len(data))


def _logged(source: Source, size: int | None = None) -> Source:
    model, graph = source.model, source.model.graph
    opsets = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)
    _log.info(
        "IR version %d, opset %s, made by %s; %d nodes, %d weights, %d functions%s",
        model.ir_version, printable(opsets), quoted(f"{model.producer_name} {model.producer_version}".strip()),
        len(graph.node), len(graph.initializer), len(model.functions), "" if size is None else f"; {size:,} bytes",
    )  # fmt: skip
    return source


def read(path: Path) -> bytes:
    """The bytes of a model file; its external weights are not read."""
    try:
        if not path.is_file():
            with path.open("rb") as stream:
                return _all_of(stream, str(path))
        size = path.stat().st_size
        if size > LONGEST:
            raise ModelError(f"cannot read {path}: {too_long(size)}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a path with a null character is a ValueError
        raise ModelError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        there = path.stat()
    except (OSError, ValueError):
        return None
    return there.st_ino, there.st_size, there.st_mtime_ns


def _all_of(stream: BinaryIO, name: str) -> bytes:
    """What a stream gives, which may be a device that never ends."""
    pieces, left = list[bytes](), LONGEST
    while piece := stream.read(1 << 20):
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            raise ModelError(f"cannot read {name}: {too_long(LONGEST - left)}")
    return b"".join(pieces)


def parse(data: bytes, title: str) -> ModelProto:
    """Parse the bytes of a model; `title` stands in the messages."""
    if not data:
        raise ModelError(f"{title} is empty")
    if len(data) > LONGEST:
        raise ModelError(f"cannot read {title}: {too_long(len(data))}")
    try:
        return onnx.load_model_from_string(data)
    except DecodeError as error:
        deep = "; its messages nest deeper than protobuf reads" if "MaxDepth" in str(error) else ", or is cut short"
        raise ModelError(f"{title} is not an ONNX model{deep}") from None


def _checked(model: ModelProto, title: str) -> ModelProto:
    """Refuse what is a protobuf by accident, and what no pass can work on."""
    if not model.HasField("graph") or not model.ir_version or not model.opset_import:
        raise ModelError(f"{title} is not an ONNX model: it has no graph, IR version or opset")
    if not model.graph.node:
        raise ModelError(f"{title} has a graph without nodes")
    try:
        check(model)
    except ModelError as error:
        raise ModelError(f"{title} is not a valid ONNX model: {error}") from None
    return model
