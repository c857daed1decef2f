"""Load a model, save it, and run it and its converted form once. Arguments: input, output, converted model."""

import sys

import numpy as np
import onnx
import onnxruntime as ort

onnx.save(onnx.load(sys.argv[1]), sys.argv[2])
for path in (sys.argv[1], sys.argv[3]):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in given.shape]
    session.run(None, {given.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)})
