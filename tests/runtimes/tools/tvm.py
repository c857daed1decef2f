"""TVM, compiled by LLVM for the processor that it stands on, without tuning."""

from __future__ import annotations

from pathlib import Path

from tests.runtimes.tool import Loaded, Tool


def load(model: Path) -> Loaded:
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    read = onnx.load_model(model)
    names = [value.name for value in read.graph.input]
    module = from_onnx(read, keep_params_in_input=False, sanitize_input_names=False)
    module = relax.transform.DecomposeOpsForInference()(module)
    machine = relax.VirtualMachine(tvm.compile(module, tvm.target.Target("llvm")), tvm.cpu())

    def run(feeds):
        made = machine["main"](*(tvm.runtime.tensor(feeds[name]) for name in names))
        return [value.numpy() for value in (made if hasattr(made, "__len__") else [made])]

    return Loaded(run)


TOOLS = (Tool("tvm", "TVM 0.27.0", ("apache-tvm==0.27.0.post1", "onnx", "numpy"), load, "tvm"),)
