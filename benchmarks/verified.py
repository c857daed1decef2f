"""`tse-onnx convert` against a script that loads and saves the model and runs it and its converted form once."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import COMMAND, FLOORS, Ratio, bundled, cost, in_turn, peaks, times

MODELS = ("efficientnet_b0_torchscript_17", "efficientnet_b2_torchscript_17")


def run(folder: Path, runs: int) -> list[Ratio]:
    """Time of the whole process, and its peak memory, for which there is no aim."""
    found = []
    for name in MODELS:
        model, output, tiled = bundled(name, folder), folder / "output.onnx", folder / "tiled.onnx"
        cost((COMMAND, "convert", model, tiled, "--no-verify"))
        ours = (COMMAND, "convert", model, output)
        floor = (sys.executable, FLOORS / "load_save_and_run.py", model, output, tiled)
        pairs = in_turn(ours, floor, runs)
        found.append(times(f"convert, {name}: time", 1.5, pairs))
        found.append(peaks(f"convert, {name}: peak memory", float("inf"), pairs))
    return found
