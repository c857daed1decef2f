"""One node in onnxruntime, as a function of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from tse_onnx.errors import ModelError
from tse_onnx.passes.reasons import first_line, label
from tse_onnx.runtime.ort import ort

_FATAL_ONLY = 4  # what goes wrong is raised as well, and said once


_SMALL = 1 << 14
"""Bytes of a model that is remembered while it is open: those of nodes without weights."""
_OPEN: WeakValueDictionary[bytes, Any] = WeakValueDictionary()


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
        self._label = label(node)
        node, self._called = _anonymous(node)
        called = self._called
        graph = helper.make_graph(
            [node],
            "single",
            [helper.make_tensor_value_info(called[name], dtype, shapes[name]) for name, dtype in inputs.items()],
            # All of them: an output that nobody sees may be written over an input, and that is a stored row.
            [ValueInfoProto(name=name) for name in node.output if name],
            [_constant(value, called[name]) for name, value in constants.items()],
        )
        model = ModelProto(ir_version=8, graph=graph)
        model.opset_import.extend(opsets)
        self._names = [called[output]]
        self._session = self._opened(model.SerializeToString())

    def _opened(self, model: bytes) -> Any:
        """A session for the model: the one that another such node has, where the model is small."""
        if (known := _OPEN.get(model)) is not None:
            return known
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # A row is short: what a larger graph would gain by preparing costs more here than it saves.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = ort.InferenceSession(model, options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own types are not exported in every release
            raise ModelError(f"{self._label} cannot be run row by row: {first_line(error)}") from error
        if len(model) <= _SMALL:
            _OPEN[model] = session
        return session

    def __call__(self, feed: Mapping[str, np.ndarray]) -> np.ndarray:
        """The node's output."""
        try:
            result: np.ndarray = self._session.run(
                self._names, {self._called[name]: value for name, value in feed.items()}
            )[0]
        except Exception as error:  # as above
            raise ModelError(f"{self._label} cannot be run row by row: {first_line(error)}") from error
        return result


def _anonymous(node: NodeProto) -> tuple[NodeProto, dict[str, str]]:
    """The node by no name, with inputs and outputs numbered, and what these are called: nodes that do the same are then
    the same. Bodies speak of values by name, so one that has some keeps its names."""
    names = dict.fromkeys(name for name in (*node.input, *node.output) if name)
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        return node, {name: name for name in names}
    called = {name: f"v{number}" for number, name in enumerate(names)}
    bare = NodeProto(op_type=node.op_type, domain=node.domain, attribute=node.attribute)
    bare.input.extend(called.get(name, "") for name in node.input)
    bare.output.extend(called.get(name, "") for name in node.output)
    return bare, called


def _constant(value: np.ndarray | TensorProto, name: str) -> TensorProto:
    if not isinstance(value, TensorProto):
        return numpy_helper.from_array(np.asarray(value), name)
    named = TensorProto()
    named.CopyFrom(value)
    named.name = name
    return named
