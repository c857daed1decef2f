"""How onnxruntime is started."""
