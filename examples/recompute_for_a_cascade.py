"""Make each map twice in place of holding it: the same function, for multiply-accumulates.

With `cascade` the copy ends in means of rows, for compilers that run groups of layers row by row; the sums are then
made in another order, so that outputs are equal within rounding. Without it they are the same bit for bit.
"""

import numpy as np
import onnxruntime

import models
import tse_onnx

model = models.load("digits_se")
result = tse_onnx.convert(model, tiling=tse_onnx.Recompute(cascade=True))
totals = result.report.buffering.totals
print(totals.before, totals.after, totals.macs_added)  # prints 69120 20992 1492992

# Whether it pays depends on the machine: one that goes over its layers again needs no second piece of hardware.
for name in ("ideal", "cascade"):
    machine = tse_onnx.Machine() if name == "ideal" else name
    print(name, [tse_onnx.stream(one, machine=machine).totals["min"].bytes for one in (model, result.model)])
# prints ideal [507876, 332052]
# prints cascade [429888, 175984]

images, _ = models.digits()
outputs = [
    onnxruntime.InferenceSession(one.SerializeToString()).run(None, {"input": images[:8]})[0]
    for one in (model, result.model)
]
print(np.abs(outputs[0] - outputs[1]).max() < 1e-4)  # prints True
