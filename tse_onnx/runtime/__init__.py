"""The one door to onnxruntime: everything that runs a model or a node is opened here, with telemetry off."""
