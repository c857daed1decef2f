"""onnxruntime sessions, opened the same way everywhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, ValueInfoProto

from tse_onnx.encode import encoded
from tse_onnx.errors import ModelError
from tse_onnx.external import external_tensors
from tse_onnx.inputs import Feed
from tse_onnx.passes.shapes import first_line

_FOLDER = "session.model_external_initializers_file_folder_path"
_FATAL_ONLY = 4  # what goes wrong is raised as well, and said once
_WAY_OUT = "; --no-verify converts without running it"


class Session:
    """A model in onnxruntime on the processor, with `extra` values as further outputs.

    `folder` is where the weights lie that are in files of their own; `title` is how messages call the model;
    `as_written` runs the nodes that the model has, without onnxruntime's fusions. Raises `ModelError` where onnxruntime
    refuses.
    """

    def __init__(
        self,
        model: ModelProto,
        folder: Path | None = None,
        extra: Iterable[str] = (),
        threads: int = 0,
        title: str = "the model",
        *,
        as_written: bool = False,
    ) -> None:
        self._title = title
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.intra_op_num_threads = threads
        if as_written:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if folder is not None:
            options.add_session_config_entry(_FOLDER, str(folder))
        self._extra = [name for name in extra if name not in {value.name for value in model.graph.output}]
        # Messages that follow each other merge: appending a graph with outputs alone adds them to the model.
        outputs = ModelProto()
        outputs.graph.output.extend(ValueInfoProto(name=name) for name in self._extra)
        data = b"".join([*encoded(model), *([outputs.SerializeToString()] if self._extra else [])])
        try:
            self._session = _opened(data, options, folder, model)
        except Exception as error:  # onnxruntime's own types are not exported in every release
            raise ModelError(f"onnxruntime does not take {title}: {first_line(error)}{_WAY_OUT}") from error
        self.outputs = [value.name for value in model.graph.output]

    def run(self, feed: Feed, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The values of `names` for one feed."""
        if not names:  # which onnxruntime takes for all of them
            return {}
        try:
            values = self._session.run(list(names), dict(feed))
        except Exception as error:
            raise ModelError(f"onnxruntime cannot run {self._title}: {first_line(error)}{_WAY_OUT}") from error
        return dict(zip(names, values, strict=True))


def _opened(data: bytes, options: ort.SessionOptions, folder: Path | None, model: ModelProto) -> ort.InferenceSession:
    """A session for the bytes of a model whose external weights, if it has any, lie in `folder`."""
    providers = ["CPUExecutionProvider"]
    try:
        return ort.InferenceSession(data, options, providers=providers)
    except Exception:
        if folder is None or not any(True for _ in external_tensors(model)):
            raise
    # onnxruntime 1.20 does not know the option that names the folder: it finds weights beside a model's file alone.
    handle, name = tempfile.mkstemp(prefix=".tse-onnx-", suffix=".onnx", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        return ort.InferenceSession(name, options, providers=providers)
    finally:
        os.unlink(name)
