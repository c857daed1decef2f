"""OpenVINO on a CPU, in the precision that the model states."""

from __future__ import annotations

from pathlib import Path

from tests.runtimes.tool import Loaded, Tool


def load(model: Path) -> Loaded:
    import openvino

    settings = {"EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    outputs = range(len(compiled.outputs))
    kinds = [str(node.get_rt_info()["layerType"].astype(str)) for node in compiled.get_runtime_model().get_ops()]
    count = sum(kind not in ("Input", "Output", "Const") for kind in kinds)

    def run(feeds):
        made = compiled(dict(feeds))
        return [made[number].copy() for number in outputs]

    return Loaded(run, count)


TOOLS = (Tool("openvino", "OpenVINO 2026.4.1", ("openvino==2026.4.1", "numpy"), load, "openvino", quick=True),)
