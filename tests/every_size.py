"""Every tiling by every lowering on maps of 1 to 40 rows and columns, against a definition in numpy.

    python -m tests.every_size [--minutes M] [--seed N] [--part I/N]

A job is one model with a block for each of many tilings of the same map, converted under one plan; a case is one such
block. The blocks have no weights, y = x · sigmoid(mean of the region that is due to the pixel), so the definition needs
nothing of the product. Without --minutes it goes through all jobs: every height, every k and every step for the running
squeeze, every height and width and every k for the others, by every lowering, from opset 10 to the newest. Jobs come in
a seeded order, so a shorter run is a sample of all of them; --part takes every N-th pair of them, for several processes.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

import tse_onnx
from tests.running import newest_opset
from tse_onnx import Plan, Tiling
from tse_onnx.passes import lowering
from tse_onnx.passes.blocks.tiling import Running, Tile
from tse_onnx.passes.lowering import SPREADS

LARGEST, OLDEST = 40, 10
UPSAMPLES, MEANS = (tuple(way.name for way in ways) for ways in (SPREADS, lowering.MEANS))
# What means are computed by where a squeeze is running; of what is for tiles alone they get their own.
RUNNING = tuple(way.name for way in lowering.MEANS if Running in way.needs.covers)
TILED = tuple(way.name for way in lowering.MEANS if Tile in way.needs.covers)


@dataclass(frozen=True)
class Job:
    """The tilings of a map by one lowering at one opset."""

    height: int
    width: int
    tilings: tuple[Tiling, ...]
    upsample: str
    means: str
    opset: int


def tiles(sizes: Sequence[int]) -> tuple[Tiling, ...]:
    """Strips of rows and of columns, patches, upper and middle strips of each size."""
    made = []
    for k in sizes:
        made += [Tiling(k), Tiling(None, k), Tiling(k, k), Tiling(k, squeeze="upper"), Tiling(k, squeeze="middle")]
    return tuple(made)


def running(height: int) -> tuple[Tiling, ...]:
    """Running squeezes of every number of rows up to one more than the map has, at every step."""
    largest = min(LARGEST, height + 1)
    return tuple(Tiling(k, squeeze="running", step=s) for k in range(1, largest + 1) for s in range(1, k + 1))


def jobs(seed: int) -> list[Job]:
    """All jobs in a seeded order."""
    draw = random.Random(seed)
    extents, opsets = range(1, LARGEST + 1), range(OLDEST, newest_opset() + 1)
    every = tiles(extents)
    others = [Job(h, w, every, up, means, opset)
              for h in extents for w in extents for up in UPSAMPLES for means in TILED for opset in opsets]  # fmt: skip
    groups = {h: running(h) for h in extents}
    made = [Job(h, draw.randint(1, LARGEST), groups[h], up, means, opset)
            for h in extents for up in UPSAMPLES for means in RUNNING for opset in opsets
            if means != "cumsum" or opset >= 11]  # fmt: skip
    draw.shuffle(others)
    draw.shuffle(made)
    # In turn, as long as there are both: of a running squeeze there are few jobs.
    turns = [job for pair in zip(made, others, strict=False) for job in pair]
    return turns + others[len(made) :]


def model_of(job: Job) -> onnx.ModelProto:
    """A block without weights for each tiling, all of the same input."""
    shape = [1, 2, job.height, job.width]
    nodes, outputs = [], []
    for number in range(len(job.tilings)):
        mean, gate, y = f"mean{number}", f"gate{number}", f"y{number}"
        nodes.append(helper.make_node("GlobalAveragePool", ["x"], [mean], name=f"/{number}/mean"))
        nodes.append(helper.make_node("Sigmoid", [mean], [gate], name=f"/{number}/gate"))
        nodes.append(helper.make_node("Mul", ["x", gate], [y], name=f"/{number}/scale"))
        outputs.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, shape))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "sizes", [given], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", job.opset)], ir_version=8)


def due(tiling: Tiling, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each row the first row and the one behind the last that its mean is over, and the same for each column."""
    row, col = np.arange(height), np.arange(width)
    top, bottom, left, right = row * 0, row * 0 + height, col * 0, col * 0 + width
    k = tiling.rows
    if tiling.squeeze == "running":
        bottom = np.minimum(row // tiling.step * tiling.step + k, height)
    elif tiling.squeeze != "tile":
        k = min(k, height)
        top = row * 0 + (0 if tiling.squeeze == "upper" else (height - k) // 2)
        bottom = top + k
    else:
        if k is not None:
            top = row // k * k
            bottom = np.minimum(top + k, height)
        if tiling.cols is not None:
            left = col // tiling.cols * tiling.cols
            right = np.minimum(left + tiling.cols, width)
    return top, bottom, left, right


def expected(x: np.ndarray, tiling: Tiling) -> np.ndarray:
    """y by the definition, in double precision, with each mean from the sums of all rectangles that begin at 0, 0."""
    height, width = x.shape[2:]
    sums = np.zeros((*x.shape[:2], height + 1, width + 1))
    sums[:, :, 1:, 1:] = x.astype(np.float64).cumsum(2).cumsum(3)
    top, bottom, left, right = due(tiling, height, width)
    t, b, lower, upper = top[:, None], bottom[:, None], left[None], right[None]
    total = sums[:, :, b, upper] - sums[:, :, t, upper] - sums[:, :, b, lower] + sums[:, :, t, lower]
    return x / (1 + np.exp(-total / ((b - t) * (upper - lower))))


def wrong(job: Job) -> list[Tiling]:
    """The tilings of a job whose block is not what the definition says."""
    model = model_of(job)
    blocks = tse_onnx.find_blocks(model, kinds={"ge"})
    number = {block.scale.output: block.name for block in blocks}
    plan = Plan(None, {number[f"y{at}"]: tiling for at, tiling in enumerate(job.tilings)})
    result = tse_onnx.convert(model, plan=plan, kinds={"ge"}, upsample=job.upsample, means=job.means, verify=False)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(result.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(job.height * 100 + job.width).standard_normal((1, 2, job.height, job.width))
    slope = np.add.outer(np.linspace(-2, 1, job.height), np.linspace(1, -3, job.width))  # so that no two means agree
    x = (noise + slope).astype(np.float32)
    got = session.run([f"y{at}" for at in range(len(job.tilings))], {"x": x})
    assert all(block.refusal is None for block in result.blocks)
    bound = 1e-5 * float(np.abs(x).max())
    return [tiling for tiling, y in zip(job.tilings, got, strict=True) if not same(y, expected(x, tiling), bound)]


def same(got: np.ndarray, right: np.ndarray, bound: float) -> bool:
    """Whether two results have one shape and differ by at most `bound`."""
    return got.shape == right.shape and float(np.abs(got - right).max()) <= bound


def main() -> int:
    """Run jobs until they or the time are over; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.every_size", description="Every tiling on every size.")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long (default: never)")
    parser.add_argument("--seed", type=int, default=0, help="of the order (default: 0)")
    parser.add_argument("--part", default="0/1", help="I/N: every N-th pair of jobs from I on (default: 0/1)")
    options = parser.parse_args()
    first, every = map(int, options.part.split("/"))
    start, cases, errors, done = time.monotonic(), 0, 0, 0
    todo = [job for at, job in enumerate(jobs(options.seed)) if at // 2 % every == first]  # they come in pairs
    for job in todo:
        if time.monotonic() - start > 60 * options.minutes:
            break
        for tiling in wrong(job):
            errors += 1
            print(f"wrong: {tiling} on {job.height} × {job.width}, {job.upsample}, {job.means}, opset {job.opset}")
        cases, done = cases + len(job.tilings), done + 1
    print(f"{cases:,} cases in {done:,} of {len(todo):,} jobs, {errors} wrong")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
