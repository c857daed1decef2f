"""One node in onnxruntime, as a function of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from tse_onnx.errors import ModelError
from tse_onnx.passes.reasons import first_line, label
from tse_onnx.runtime.ort import ort

_FATAL_ONLY = 4  # what goes wrong is raised as well, and said once


class Single:
    """A node as a function of arrays, by input name; `constants` are fixed."""

    def __init__(
        self,
        node: NodeProto,
        opsets: Sequence[Any],
        inputs: Mapping[str, int],
        constants: Mapping[str, np.ndarray | TensorProto],
        output: str,
        shapes: Mapping[str, Sequence[int | None]],
    ) -> None:
        """`inputs` gives ONNX types by name, `shapes` their dimensions; None leaves one free."""
        graph = helper.make_graph(
            [node],
            "single",
            [helper.make_tensor_value_info(name, dtype, shapes[name]) for name, dtype in inputs.items()],
            # All of them: an output that nobody sees may be written over an input, and that is a stored row.
            [ValueInfoProto(name=name) for name in node.output if name],
            [value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)
             for name, value in constants.items()],
        )  # fmt: skip
        model = ModelProto(ir_version=8, graph=graph)
        model.opset_import.extend(opsets)
        self._output, self._label = output, label(node)
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # A row is short: what a larger graph would gain by preparing costs more here than it saves.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own types are not exported in every release
            raise ModelError(f"{self._label} cannot be run row by row: {first_line(error)}") from error
        self._names = [self._output]

    def __call__(self, feed: Mapping[str, np.ndarray]) -> np.ndarray:
        """The node's output."""
        try:
            result: np.ndarray = self._session.run(self._names, feed)[0]
        except Exception as error:  # as above
            raise ModelError(f"{self._label} cannot be run row by row: {first_line(error)}") from error
        return result
