"""qonnx: its shape inference and its executor, which FINN and hls4ml start from."""

from __future__ import annotations

from pathlib import Path

from tests.runtimes.tool import Loaded, Tool


def load(model: Path) -> Loaded:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

    wrapped = cleanup_model(ModelWrapper(str(model)))
    inputs, outputs = ([value.name for value in ends] for ends in (wrapped.graph.input, wrapped.graph.output))

    def run(feeds):
        made = execute_onnx(wrapped, dict(zip(inputs, feeds.values(), strict=True)))  # cleaning up renames the inputs
        return [made[name] for name in outputs]

    return Loaded(run, len(wrapped.graph.node))


TOOLS = (Tool("qonnx", "qonnx 1.0.0", ("qonnx==1.0.0",), load, "qonnx"),)
