"""How long a converted network takes in a tool, to the original: both in one process, in turns."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

import models
import tse_onnx
from tests.runtimes.judge import Outcome, Result, judged, reference
from tests.runtimes.server import Server
from tests.runtimes.tool import Tool

ROWS, REPEATS = 7, 15
LEAST = 90  # dB: more sums lie behind one another than in the small network


@dataclass(frozen=True)
class Latency:
    """Medians in milliseconds on one thread, and how the outputs came out."""

    tool: str
    network: str
    original: float | None
    converted: float | None
    result: Result

    @property
    def ratio(self) -> float | None:
        """Converted to original; None where it did not run."""
        return self.converted / self.original if self.original and self.converted else None


def latency(tool: Tool, server: Server, name: str) -> Latency:
    """A bundled network with tiles of seven rows, in the form that the tool's profile picks, if it has one."""
    with tempfile.TemporaryDirectory() as folder:
        before, after, arrays, outputs = (Path(folder, name) for name in ("a.onnx", "b.onnx", "x.npz", "y.npz"))
        models.save(name, before)
        model = onnx.load_model(before)
        shapes = {
            value.name: tuple(size.dim_value or 1 for size in value.type.tensor_type.shape.dim)
            for value in model.graph.input
        }
        made = tse_onnx.convert(model, rows=ROWS, input_shapes=shapes, target=tool.target, verify=False).model
        bound = tse_onnx.convert(model, rows=10**6, input_shapes=shapes, verify=False).model
        onnx.save_model(made, after)
        onnx.save_model(bound, before)
        random = np.random.default_rng(0)
        given = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        np.savez(arrays, **given)
        job = {"models": [str(after), str(before)], "feeds": [str(arrays)] * 2, "outputs": str(outputs)}
        answer = server.ask(job | {"repeats": REPEATS})
        result = judged(answer, outputs, reference(made, given), LEAST)
        if result.outcome is not Outcome.RIGHT:
            return Latency(tool.name, name, None, None, result)
        converted, original = (1000 * statistics.median(times) for times in answer["seconds"])
        return Latency(tool.name, name, original, converted, result)
