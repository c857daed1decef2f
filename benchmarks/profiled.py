"""`tse-onnx profile` against a script that only loads the same model and infers its shapes."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import COMMAND, FLOORS, Ratio, bundled, in_turn, times, works

MODEL = "efficientnet_b0_torchscript_17"


def run(folder: Path, runs: int) -> list[Ratio]:
    """Time of the whole process, and that of processors."""
    model = bundled(MODEL, folder)
    pairs = in_turn((COMMAND, "profile", model), (sys.executable, FLOORS / "load_and_infer.py", model), runs)
    return [times(f"profile, {MODEL}: time", 1.2, pairs), works(f"profile, {MODEL}: processor time", 1.2, pairs)]
