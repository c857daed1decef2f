"""The converted model in onnxruntime against the original, for every bundled model.

Both run in turn in one process of their own, on one thread, so that a busy machine disturbs both alike. A model without
blocks is compared with itself: how far its ratio is from 1 is the error of the measurement.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import COMMAND, ROOT, Ratio, bundled, compare, cost


def run(folder: Path, runs: int) -> list[Ratio]:
    """Latency of one image, per model."""
    found = []
    for name in names():
        model, tiled = bundled(name, folder), folder / "tiled.onnx"
        cost((COMMAND, "convert", model, tiled, "--no-verify"))
        command = [sys.executable, "-m", "benchmarks.latency", str(tiled), str(model), str(2 * runs)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        pairs = [(ours, original) for ours, original in json.loads(done.stdout)]
        found.append(compare(f"latency, {name}", 1.0, pairs, "ms"))
        model.unlink()
    return found


def names() -> list[str]:
    """The names of the bundled models."""
    catalogue = json.loads((ROOT / "models" / "catalogue.json").read_text())
    return [entry["name"] for entry in catalogue]


def latencies(paths: tuple[str, str], runs: int) -> list[tuple[float, float]]:
    """Milliseconds of `runs` pairs of runs, each on the same image."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in paths]
    given = sessions[0].get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in given.shape]
    feed = {given.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}

    def once(session: ort.InferenceSession) -> float:
        start = time.perf_counter()
        session.run(None, feed)
        return 1000 * (time.perf_counter() - start)

    pairs = [(once(sessions[0]), once(sessions[1])) for _ in range(runs + 3)]
    return pairs[3:]  # the first runs allocate


if __name__ == "__main__":
    print(json.dumps(latencies((sys.argv[1], sys.argv[2]), int(sys.argv[3]))))
