"""onnx's own conformance cases, put through every command: `python -m tests.conformance`."""
