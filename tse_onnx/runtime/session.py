"""onnxruntime sessions, opened the same way everywhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from onnx import ModelProto, ValueInfoProto

from tse_onnx.data.feed import Feed
from tse_onnx.errors import ModelError, TseError
from tse_onnx.files.encode import encoded
from tse_onnx.files.external import external_tensors, locate, location
from tse_onnx.passes.graph.nested import graphs_of
from tse_onnx.passes.reasons import first_line
from tse_onnx.passes.settings import setting
from tse_onnx.runtime.deadline import Deadline
from tse_onnx.runtime.lent_weights import lent
from tse_onnx.runtime.ort import ort

T = TypeVar("T")

_NEVER = Deadline()

_FOLDER = "session.model_external_initializers_file_folder_path"
_NO_INTEGERS = "session.disable_quant_qdq"
_FATAL_ONLY = 4  # what goes wrong is raised as well, and said once


def unverified() -> str:
    """How messages about a model that onnxruntime refuses end, where it was to be verified."""
    return f"; {setting('verify', False)} converts without running it"


class Session:
    """A model in onnxruntime on the processor, with `extra` values as further outputs.

    `folder` is where the weights lie that are in files of their own; `title` is how messages call the model, `way_out`
    ends them. A block `alone` runs as it is written, without onnxruntime's fusions, and too shortly to be interrupted.
    Raises `ModelError` where onnxruntime refuses, `CheckFailed` where the `deadline` passes. `large` values are
    allocated one by one: onnxruntime's arena is faster, but grows to twice what is needed. Quantisers in `floats` are
    run as they are written: fused to kernels of integers, sums and means come out otherwise.
    """

    def __init__(
        self,
        model: ModelProto,
        folder: Path | None = None,
        extra: Iterable[str] = (),
        threads: int = 0,
        title: str = "the model",
        *,
        alone: bool = False,
        large: bool = False,
        floats: bool = False,
        way_out: str | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        self._title, self._way_out = title, unverified() if way_out is None else way_out
        self._deadline = deadline or _NEVER
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.intra_op_num_threads = threads or _usable_processors()
        self._alone = alone
        if alone:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_cpu_mem_arena = not large
        if floats:
            options.add_session_config_entry(_NO_INTEGERS, "1")
        if folder is not None:
            options.add_session_config_entry(_FOLDER, str(folder))
        self._extra = [name for name in extra if name not in {value.name for value in model.graph.output}]
        # Messages that follow each other merge: appending a graph with outputs alone adds them to the model.
        outputs = ModelProto()
        outputs.graph.output.extend(ValueInfoProto(name=name) for name in self._extra)
        bare, values = lent(model)
        _leave_out_biases(bare)
        options.add_external_initializers(list(values), list(values.values()))
        data = b"".join([*encoded(bare), *([outputs.SerializeToString()] if self._extra else [])])
        try:
            # With the values, which have to outlive a call that was given up, too.
            self._session, self._lent = self._awaited(
                lambda: (_opened(data, options, folder, model), values), lambda: _give_up_loading(options)
            )
        except TseError:
            raise
        except Exception as error:  # onnxruntime's own types are not exported in every release
            raise ModelError(f"onnxruntime does not take {title}: {first_line(error)}{self._way_out}") from error
        self.outputs = [value.name for value in model.graph.output]

    def run(self, feed: Feed, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The values of `names` for one feed."""
        if not names:  # which onnxruntime takes for all of them
            return {}
        options = ort.RunOptions()
        try:
            values = self._awaited(
                lambda: self._session.run(list(names), dict(feed), options),
                lambda: setattr(options, "terminate", True),
            )
        except TseError:
            raise
        except Exception as error:
            raise ModelError(f"onnxruntime cannot run {self._title}: {first_line(error)}{self._way_out}") from error
        return dict(zip(names, values, strict=True))

    def _awaited(self, work: Callable[[], T], stop: Callable[[], object]) -> T:
        return work() if self._alone else self._deadline.awaited(work, stop)


def opened_for_timing(model: ModelProto, folder: Path | None, profile: Path | None) -> ort.InferenceSession:
    """A session on one thread; with a `profile`, of the model as it is written, whose times are written to a file that
    begins so. Raises what onnxruntime raises."""
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = 1
    if folder is not None:
        options.add_session_config_entry(_FOLDER, str(folder))
    if profile is not None:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return _opened(b"".join(encoded(model)), options, folder, model)


def _leave_out_biases(model: ModelProto) -> None:
    """Leave out the bias of a LayerNormalization that is given as "", which means the same: where onnxruntime (1.31,
    1.32) optimises such a node, it takes the process down."""
    for _, graph in graphs_of(model):
        for node in graph.node:
            if node.op_type == "LayerNormalization" and len(node.input) > 2 and not node.input[2]:
                del node.input[2:]


def _give_up_loading(options: ort.SessionOptions) -> None:
    if hasattr(options, "set_load_cancellation_flag"):  # not in older releases: there it is loaded to its end
        options.set_load_cancellation_flag(True)


def _usable_processors() -> int:
    """As many threads as this process may use processors; 0, onnxruntime's own choice, where it may use all.

    Left alone, onnxruntime starts a thread for every core there is, also where a scheduler or `taskset` allows a few.
    """
    if not hasattr(os, "sched_getaffinity"):  # not on every system
        return 0
    usable = len(os.sched_getaffinity(0))
    return 0 if usable == os.cpu_count() else usable


def _opened(data: bytes, options: ort.SessionOptions, folder: Path | None, model: ModelProto) -> ort.InferenceSession:
    """A session for the bytes of a model whose external weights, if it has any, lie in `folder`."""
    providers = ["CPUExecutionProvider"]
    try:
        session = ort.InferenceSession(data, options, providers=providers)
        session._model_bytes = None  # kept to start anew on other providers: a whole copy of the model
        return session
    except Exception:
        if folder is None or not any(True for _ in external_tensors(model)):
            raise
    # onnxruntime 1.20 does not know the option that names the folder: it finds weights beside a model's file alone.
    with tempfile.TemporaryDirectory(prefix="tse-onnx-") as beside:
        for where in {location(tensor) for tensor in external_tensors(model)}:
            link = Path(beside) / where
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(locate(folder, where).resolve())
        path = Path(beside) / f"model-{os.urandom(8).hex()}.onnx"
        path.write_bytes(data)
        return ort.InferenceSession(str(path), options, providers=providers)
