"""Load a model and save it: what any tool over ONNX files has to do. Arguments: input, output."""

import sys

import onnx

onnx.save(onnx.load(sys.argv[1]), sys.argv[2])
