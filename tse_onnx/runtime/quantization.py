"""onnxruntime's tools for quantisation, by the same door as its sessions; they print and log, and are kept quiet."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

# Its telemetry has to be off before anything of it is imported.
from tse_onnx.runtime.ort import ort  # noqa: F401  # isort: skip
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import HistogramCollector, TensorData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

OPERATORS: frozenset[str] = frozenset(QDQRegistry) | frozenset(QLinearOpsRegistry)
"""The operators that onnxruntime quantises where nobody says which."""

__all__ = ["OPERATORS", "HistogramCollector", "QDQQuantizer", "QuantType", "TensorData", "quietly"]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """What is printed goes nowhere; what is logged by the root's functions sets up no handler of their own."""
    root, nowhere = logging.getLogger(), logging.NullHandler()
    root.addHandler(nowhere)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.removeHandler(nowhere)
