"""What the compiler of a real NPU makes of squeeze-and-excite, tiled or recomputed: Arm's Vela for the Ethos-U55.

    pip install '.[vela]'
    python -m benchmarks.vela [--size PIXELS ...] [--activation NAME ...] [--json FILE]

`network` builds the networks; `variants` says which conversions are compared, and makes them with the command line;
`translate` writes what comes out as int8 TFLite, with a rule for each of `operators`, the state of `translation`, the
numbers of `quantisation` and the file of `tflite`; `compiler` compiles that, and `table` shows it.
"""
