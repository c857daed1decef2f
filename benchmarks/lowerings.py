"""Every lowering in onnxruntime against the original: what is chosen for a squeeze, and what is asked for by name.

As in `latency`, both run in turn in one process of their own, here on one thread and on two. The aims are for what is
chosen.
"""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.latency import in_turn
from benchmarks.measure import COMMAND, Ratio, bundled, compare, cost

# With the aim for tiles that divide their maps.
MODELS = {
    "efficientnet_b0_torchscript_17": 1.0,
    "regnety_800mf_torchscript_11": 1.0,
    "seresnet50_torchscript_17": 1.0,
    "mobilenetv3_large_torchscript_18": 1.05,
}
# 7 rows divide every map of these models, 3 rows none.
SQUEEZES = {
    "tile of 7": ("--rows", "7"),
    "tile of 3": ("--rows", "3"),
    "running of 3": ("--squeeze", "running", "--rows", "3"),
}
LATER_AIM = 1.1  # of tiles that do not divide, and of running squeezes
WAYS = {
    "tile of 7": (
        ("pads", "resize"),
        ("pads", "gather"),
        ("pads", "expand"),
        ("view", "view"),
        ("pool", "full"),
        ("gemm", "ones"),
    ),
    "tile of 3": (("pads", "resize"), ("rows", "resize"), ("ceil", "full"), ("gemm", "ones")),
    "running of 3": (("matmul", "resize"), ("cumsum", "resize"), ("gemm", "ones")),
}
THREADS = (1, 2)


def run(folder: Path, runs: int) -> list[Ratio]:
    """Latency of one image for each squeeze, as chosen and by each pair of ways, elapsed and of the processor."""
    return [ratio for name, aim in MODELS.items() for ratio in _of(name, aim, folder, runs)]


def _of(name: str, aim: float, folder: Path, runs: int) -> list[Ratio]:
    model, converted = bundled(name, folder), folder / "converted.onnx"
    found = []
    for squeeze, options in SQUEEZES.items():
        chosen = aim if squeeze == "tile of 7" else LATER_AIM
        forms: list[tuple[str, float, tuple[str, ...]]] = [("chosen", chosen, ())]
        forms += [(f"{means} {upsample}", math.inf, ("--means", means, "--upsample", upsample))
                  for means, upsample in WAYS[squeeze]]  # fmt: skip
        for form, most, asked in forms:
            cost((COMMAND, "convert", model, converted, "--no-verify", *options, *asked))
            for threads in THREADS:
                elapsed, processor = in_turn(converted, model, runs, threads)
                label = f"{name.split('_torchscript')[0]}, {squeeze}, {form}, {threads} thread{'s' * (threads > 1)}"
                found.append(compare(f"{label}, elapsed", most, elapsed, "ms"))
                found.append(compare(f"{label}, processor", math.inf, processor, "ms"))
    model.unlink()
    return found
