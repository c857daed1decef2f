"""Every lowering in onnxruntime against the original model: how gates are spread, how running means are computed.

As in `latency`, both run in turn in one process of their own, on one thread. No lowering has an aim: a processor gains
nothing from tiles.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import COMMAND, ROOT, Ratio, bundled, compare, cost

MODELS = ("efficientnet_b0_torchscript_17", "mobilenetv3_large_torchscript_18", "regnety_800mf_torchscript_11")
RUNNING = ("--squeeze", "running")
LOWERINGS = {
    "tile, resize": (),
    "tile, gather": ("--upsample", "gather"),
    "tile, expand": ("--upsample", "expand"),
    "running, matmul": (*RUNNING, "--means", "matmul"),
    "running, cumsum": (*RUNNING, "--means", "cumsum"),
}


def run(folder: Path, runs: int) -> list[Ratio]:
    """Latency of one image with tiles of 7 rows, and with a running squeeze of 7 rows and step 1."""
    found = []
    for name in MODELS:
        model, converted = bundled(name, folder), folder / "converted.onnx"
        for lowering, options in LOWERINGS.items():
            cost((COMMAND, "convert", model, converted, "--no-verify", "--rows", "7", *options))
            command = [sys.executable, "-m", "benchmarks.latency", str(converted), str(model), str(2 * runs)]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            pairs = [(ours, original) for ours, original in json.loads(done.stdout)]
            found.append(compare(f"{lowering}, {name}", math.inf, pairs, "ms"))
        model.unlink()
    return found
