"""Every choice for every block measured behind cuts, against the plain way: a whole model for each choice.

Both run in turn in one process of their own, on one thread, on the same samples, and have to give the same losses. The
plain way is told the choices: it converts the model with one block changed, opens it, and runs it on all samples. Ours
also finds the blocks and watches their gates and means. The time of the processor says more than that of the clock
where others use the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import ROOT, Ratio, bundled, compare

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tse_onnx.passes.blocks.choice import Choice

    Floats = NDArray[np.floating]

MODELS = ("mobilenetv3_large_torchscript_18", "efficientnet_b0_torchscript_17", "regnety_800mf_torchscript_11")
AIM = 0.33
SAMPLES, BATCH = 32, 8
# Rounding, which differs where a part of a network runs alone: of the loss, and of single precision.
RELATIVE, ABSOLUTE = 1e-3, 1e-6


def run(folder: Path, runs: int) -> list[Ratio]:
    """Seconds for all choices of a model, by the processor and by the clock; a quarter of `runs`, as pairs are long."""
    found = []
    for name in MODELS:
        model = bundled(name, folder)
        command = [sys.executable, "-m", "benchmarks.sensitivity", name, str(model), str(folder), str(-(-runs // 4))]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        for clock, pairs in json.loads(done.stdout).items():
            ratios = [(ours, plain) for ours, plain in pairs]
            found.append(compare(f"sensitivity, {name}: {clock}", AIM, ratios, "s"))
        model.unlink()
    return found


def seconds(name: str, model: Path, folder: Path, runs: int) -> dict[str, list[tuple[float, float]]]:
    """What `runs` pairs took, by the processor and by the clock. A RuntimeError where the losses differ."""
    import numpy as np

    import models
    from tse_onnx.data.choice import Data
    from tse_onnx.tuning.search import sensitivity

    path = folder / "samples.npy"
    np.save(path, models.images(name, SAMPLES))
    taken: dict[str, list[tuple[float, float]]] = {"processor": [], "clock": []}
    for _ in range(runs):
        before = time.process_time(), time.perf_counter()
        found = sensitivity(model, Data(path), threads=1, cache=False)
        between = time.process_time(), time.perf_counter()
        wanted = [(block, one) for block in found.blocks for one in block.candidates if _changes(one.choice)]
        choices: list[tuple[str, Choice | None]] = [(block.block.name, one.choice) for block, one in wanted]
        losses = plainly(model, np.load(path), choices)
        after = time.process_time(), time.perf_counter()
        ours = [one.loss for _, one in wanted]
        if not np.allclose(ours, losses, rtol=RELATIVE, atol=ABSOLUTE):
            raise RuntimeError(f"the losses differ by up to {np.abs(np.subtract(ours, losses)).max()}")
        for pairs, start, middle, end in zip(taken.values(), before, between, after, strict=True):
            pairs.append((middle - start, end - middle))
    return taken


def _changes(choice: Choice | None) -> bool:
    """Whether there is anything to measure of it."""
    return choice is not None and not choice.exact


def plainly(model: Path, samples: Floats, choices: list[tuple[str, Choice | None]]) -> list[float]:
    """The mean divergence of each choice: the model converted, opened, and run on all samples."""
    import numpy as np
    import onnxruntime as ort

    import tse_onnx

    def logits(data: bytes) -> Floats:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        size = given.shape[0] if isinstance(given.shape[0], int) else BATCH
        batches = np.split(samples, range(size, len(samples), size))
        return np.concatenate([session.run(None, {given.name: batch})[0] for batch in batches]).astype(np.float64)

    def spread(rows: Floats) -> Floats:
        shifted: Floats = rows - rows.max(axis=1, keepdims=True)
        logarithms: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return logarithms

    original = spread(logits(model.read_bytes()))
    found = []
    for block, choice in choices:
        made = tse_onnx.convert(model, plan=tse_onnx.Plan(None, {block: choice}), verify=False)
        changed = spread(logits(made.serialized()))
        found.append(float((np.exp(original) * (original - changed)).sum(axis=1).mean()))
    return found


if __name__ == "__main__":
    print(json.dumps(seconds(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))))
