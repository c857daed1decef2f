"""The one place that imports onnxruntime: with its telemetry off."""

from __future__ import annotations

from tse_onnx.runtime.telemetry import turn_off

turn_off()

import onnxruntime as ort  # noqa: E402

VERSION: str = ort.__version__

__all__ = ["VERSION", "ort"]
