"""Load a model and infer its shapes: the least that counting its layers takes."""

import sys

import onnx

onnx.shape_inference.infer_shapes(onnx.load(sys.argv[1]))
