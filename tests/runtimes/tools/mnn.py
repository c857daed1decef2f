"""MNN on a CPU, in single precision."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.runtimes.tool import Loaded, Tool

# What `mnnconvert` starts, without the report over the network that it sends afterwards.
_CONVERTER = "import sys, MNN, _tools; _tools.mnnconvert(sys.argv)"


def load(model: Path) -> Loaded:
    import MNN
    import MNN.expr
    import MNN.nn

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "net.mnn")
        command = [sys.executable, "-c", _CONVERTER, "-f", "ONNX", "--modelFile", model]
        done = subprocess.run(
            [*command, "--MNNModel", made, "--bizCode", "tse"], capture_output=True, text=True, check=False
        )
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        if not made.exists():
            raise RuntimeError(f"mnnconvert ended with {done.returncode}: {said[-1] if said else ''}")
        inputs, outputs = _ends(model)
        manager = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": 1, "precision": "high"},))
        module = MNN.nn.load_module_from_file(str(made), inputs, outputs, runtime_manager=manager)

    def run(feeds):
        import numpy

        given = []
        for name in inputs:
            values = feeds[name].astype(numpy.float32)
            given.append(MNN.expr.const(values, list(values.shape), MNN.expr.NCHW))
        return [numpy.array(MNN.expr.convert(value, MNN.expr.NCHW).read()) for value in module.forward(given)]

    return Loaded(run)


def _ends(model: Path) -> tuple[list[str], list[str]]:
    import onnx

    graph = onnx.load_model(model).graph
    return [value.name for value in graph.input], [value.name for value in graph.output]


TOOLS = (Tool("mnn", "MNN 3.6.1", ("MNN==3.6.1", "onnx", "numpy"), load, "mnn", quick=True),)
