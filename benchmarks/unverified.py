"""`tse-onnx convert --no-verify` against a script that only loads and saves the same model."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import COMMAND, FLOORS, Ratio, bundled, in_turn, peaks, times

MODELS = ("efficientnet_b0_torchscript_17", "efficientnet_b2_torchscript_17")


def run(folder: Path, runs: int) -> list[Ratio]:
    """Time and peak memory of the whole process, per model."""
    found = []
    for name in MODELS:
        model, output = bundled(name, folder), folder / "output.onnx"
        ours = (COMMAND, "convert", model, output, "--no-verify")
        floor = (sys.executable, FLOORS / "load_and_save.py", model, output)
        pairs = in_turn(ours, floor, runs)
        size = model.stat().st_size / 1e6
        found.append(times(f"convert --no-verify, {name} ({size:.0f} MB): time", 1.15, pairs))
        found.append(peaks(f"convert --no-verify, {name} ({size:.0f} MB): peak memory", 1.1, pairs))
    return found
