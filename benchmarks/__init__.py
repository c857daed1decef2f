"""How fast the package is, as ratios: each benchmark compares it with the least that the same job can cost, or with the
plain way to do it.

`python -m benchmarks` runs all of them. A ratio of two runs that follow each other says more than a time: it holds on
another machine, and on one that is busy. The process that measures imports nothing large, because Linux counts what a
parent holds as the peak of the child that it starts.
"""

from tse_onnx.runtime.telemetry import turn_off

turn_off()  # before any of these, or what they start, imports onnxruntime
