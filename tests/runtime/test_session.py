"""Models that onnxruntime does not take as they are."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest

from tests.streams import stream_model

_RUN = """
import sys, numpy, onnx
from tse_onnx.runtime.session import Session
x = numpy.arange(8, dtype=numpy.float32).reshape(1, 2, 4)
print(Session(onnx.load(sys.argv[1])).run({"x": x, "c": numpy.array(True)}, ["y"])["y"][0, 0].astype(float).round(3).tolist())
"""
_BODIES = {
    "main": ("y = LayerNormalization(x, w)", "float[1, 2, 4] x, bool c"),
    "nested": (
        "y = If<then_branch = a () => (float[1, 2, 4] p) { p = LayerNormalization(x, w) }, "
        "else_branch = b () => (float[1, 2, 4] q) { q = Abs(x) }>(c)",
        "float[1, 2, 4] x, bool c",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("where", _BODIES)
def test_a_bias_that_is_given_as_nothing_is_left_out(where, tmp_path):
    """In a process of its own, which onnxruntime would take down."""
    body, inputs = _BODIES[where]
    model = stream_model(body, "", {"w": np.ones(4, np.float32)}, inputs=inputs)
    bodies = (each.g for node in model.graph.node for each in node.attribute)
    nodes = [node for graph in (model.graph, *bodies) for node in graph.node if node.op_type == "LayerNormalization"]
    nodes[0].input.append("")
    onnx.save(model, tmp_path / "model.onnx")
    done = subprocess.run(
        [sys.executable, "-c", _RUN, tmp_path / "model.onnx"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[-1.342, -0.447, 0.447, 1.342]\n"), done.stderr
