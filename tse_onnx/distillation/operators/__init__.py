"""What torch makes of ONNX's operators, as data: a function for each operator that is known."""
