"""The package's version, in a module of its own so that `tse-onnx --version` imports nothing else."""

VERSION = "0.1.0"
