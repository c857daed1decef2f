"""The tests of the package, and what they share."""

from tse_onnx.runtime.telemetry import turn_off

turn_off()  # before any of them, or what they start, imports onnxruntime
