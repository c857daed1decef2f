"""OpenCV's dnn module: its last version of generation 4, and 5 with its new engine."""

from __future__ import annotations

from pathlib import Path

from tests.runtimes.tool import Loaded, Tool


def load(model: Path) -> Loaded:
    import cv2

    cv2.setNumThreads(1)
    network = cv2.dnn.readNetFromONNX(str(model))
    outputs = network.getUnconnectedOutLayersNames()

    def run(feeds):
        for name, values in feeds.items():
            network.setInput(values, name)
        return network.forward(outputs)

    return Loaded(run, len(network.getLayerNames()))


TOOLS = (
    Tool("opencv-4", "OpenCV 4.14.0", ("opencv-python-headless==4.14.0.94", "numpy"), load, "opencv4", quick=True),
    Tool("opencv-5", "OpenCV 5.0.0", ("opencv-python-headless==5.0.0.93", "numpy"), load, "opencv5", quick=True),
)
