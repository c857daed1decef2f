"""IREE, compiled for the processor that it stands on."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.runtimes.tool import Loaded, Tool


def load(model: Path) -> Loaded:
    import iree.compiler
    import iree.runtime

    with tempfile.TemporaryDirectory() as folder:
        imported = Path(folder, "net.mlir")
        command = [sys.executable, "-m", "iree.compiler.tools.import_onnx", model, "-o", imported]
        done = subprocess.run([*command, "--opset-version", "17"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"iree-import-onnx ended with {done.returncode}: {done.stderr.splitlines()[-1]}")
        compiled = iree.compiler.compile_file(
            str(imported), input_type="onnx", target_backends=["llvm-cpu"],
            extra_args=["--iree-llvmcpu-target-cpu=host"],
        )  # fmt: skip
    configuration = iree.runtime.Config("local-sync")
    context = iree.runtime.SystemContext(config=configuration)
    context.add_vm_module(iree.runtime.VmModule.copy_buffer(context.instance, compiled))
    (module,) = (value for name, value in context.modules.items() if name != "hal")
    (function,) = (module[name] for name in module.vm_module.function_names if "$" not in name and name != "__init")

    def run(feeds):
        made = function(*feeds.values())
        return [value.to_host() for value in (made if isinstance(made, (tuple, list)) else [made])]

    return Loaded(run)


TOOLS = (
    Tool(
        "iree", "IREE 3.13.0", ("iree-base-compiler[onnx]==3.13.0", "iree-base-runtime==3.13.0", "numpy"), load, "iree"
    ),
)
