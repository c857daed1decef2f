"""Run a model in onnxruntime, or a command in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto


def session(model: ModelProto | str) -> ort.InferenceSession:
    """A session on the processor, silent, of a model or of a file."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    given = model.SerializeToString() if isinstance(model, ModelProto) else model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def newest_opset() -> int:
    """The newest opset that both onnx and onnxruntime know."""
    for opset in range(onnx.defs.onnx_opset_version(), 18, -1):
        text = f'<ir_version: 9, opset_import: ["" : {opset}]> g (float[1] x) => (float[1] y) {{ y = Neg(x) }}'
        try:
            session(onnx.parser.parse_model(text))
        except Exception:
            continue
        return opset
    return 18


def fuses_doubles_rightly() -> bool:
    """Whether this onnxruntime runs a MatMul of a Transpose in double precision: 1.20 fuses them to what it cannot run."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (double[2, 2] x) => (double[2, 2] y) '
        "{ t = Transpose<perm = [1, 0]>(x) y = MatMul(t, x) }"
    )
    try:
        session(model)
    except Exception:
        return False
    return True


def run(model: ModelProto | str, x: np.ndarray) -> np.ndarray:
    """The first output of a model for its first input."""
    opened = session(model)
    return opened.run(None, {opened.get_inputs()[0].name: x})[0]


_PEAK = """
import resource, sys
from tse_onnx.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak(*arguments: object) -> float:
    """The most memory that a command took, in MiB, on Linux; other systems count in other units."""
    done = subprocess.run([sys.executable, "-c", _PEAK, *map(str, arguments)], capture_output=True, check=True)
    return int(done.stderr.split()[-1]) / 1024
