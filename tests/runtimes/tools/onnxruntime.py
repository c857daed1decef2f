"""onnxruntime on a CPU with all its optimisations: the oldest version that this package takes, and the newest."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.runtimes.tool import Loaded, Tool


def load(model: Path) -> Loaded:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/optimised.onnx"
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        optimised = onnx.load_model(options.optimized_model_filepath)
    return Loaded(lambda feeds: session.run(None, dict(feeds)), len(optimised.graph.node))


TOOLS = tuple(
    Tool(
        f"onnxruntime-{version[:4]}", f"onnxruntime {version}", (f"onnxruntime=={version}", "onnx"), load,
        target="onnxruntime", quick=True,
    )
    for version in ("1.20.0", "1.32.0")
)  # fmt: skip
