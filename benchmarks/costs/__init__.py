"""What `tse-onnx profile` counts, beside what others count: parameters and MACs by onnx-tool, cycles by SCALE-Sim."""
