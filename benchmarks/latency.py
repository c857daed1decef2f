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

Pair = tuple[float, float]
"""A figure of the converted model, and of the original."""


def run(folder: Path, runs: int) -> list[Ratio]:
    """Latency of one image, per model."""
    found = []
    for name in names():
        model, tiled = bundled(name, folder), folder / "tiled.onnx"
        cost((COMMAND, "convert", model, tiled, "--no-verify"))
        elapsed, _ = in_turn(tiled, model, 2 * runs)
        found.append(compare(f"latency, {name}", 1.0, elapsed, "ms"))
        model.unlink()
    return found


def names() -> list[str]:
    """The names of the bundled models."""
    catalogue = json.loads((ROOT / "models" / "catalogue.json").read_text())
    return [entry["name"] for entry in catalogue]


def in_turn(ours: Path, original: Path, runs: int, threads: int = 1) -> tuple[list[Pair], list[Pair]]:
    """Milliseconds of `runs` pairs of runs in a process of their own: as they elapsed, and those of the processor."""
    command = [sys.executable, "-m", "benchmarks.latency", str(ours), str(original), str(runs), str(threads)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    elapsed, processor = ([(ours, original) for ours, original in pairs] for pairs in json.loads(done.stdout))
    return elapsed, processor


def latencies(paths: tuple[str, str], runs: int, threads: int) -> tuple[list[Pair], list[Pair]]:
    """What `in_turn` returns, each pair on the same image. The processor's time is that of all threads, also of those
    that wait for others, as onnxruntime's do by default."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    sessions = [ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in paths]
    given = sessions[0].get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in given.shape]
    feed = {given.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}

    def once(session: ort.InferenceSession) -> Pair:
        start, busy = time.perf_counter(), time.process_time()
        session.run(None, feed)
        return 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - busy)

    took = [(once(sessions[0]), once(sessions[1])) for _ in range(runs + 3)][3:]  # the first runs allocate
    elapsed, processor = ([(ours[at], original[at]) for ours, original in took] for at in (0, 1))
    return elapsed, processor


if __name__ == "__main__":
    print(json.dumps(latencies((sys.argv[1], sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
