"""The package imports without loading onnx or onnxruntime."""

import subprocess
import sys

HEAVY = ("onnx", "onnxruntime", "numpy", "rich")


def test_importing_the_package_loads_no_heavy_library():
    code = f"import sys, tse_onnx, tse_onnx.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
