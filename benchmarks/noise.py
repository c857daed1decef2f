"""The noise of every layer measured behind cuts, against the plain way: the whole model once for each layer and way.

Both run in turn in one process of their own, on one thread, on the same samples and with the same quantisers, and have
to give the same shares. The plain way is told what to change: it puts the quantisers of one layer into the model, those
of its weights, of its activations, or both, opens it, and runs it on all samples. Ours also finds them, and runs the
network with all of them at once.

    python -m benchmarks.noise MODEL DATA     a model and data of one's own, as `tse-onnx noise` takes them
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import HEADER, ROOT, Ratio, bundled, compare, line

if TYPE_CHECKING:
    from onnx import ModelProto

    from tse_onnx.data.choice import Data
    from tse_onnx.decision.inputs import InputShapes

MODELS = ("mobilenetv3_large_torchscript_18", "efficientnet_b0_torchscript_17")
AIM = 0.33
SAMPLES = 32
# Rounding, which differs where a part of a network runs alone.
RELATIVE, ABSOLUTE = 1e-2, 1e-6

Pairs = dict[str, list[tuple[float, float]]]


def run(folder: Path, runs: int) -> list[Ratio]:
    """Seconds for all layers of a model, by the processor and by the clock; a quarter of `runs`, as pairs are long."""
    found = []
    for name in MODELS:
        model = bundled(name, folder)
        command = [
            sys.executable,
            "-m",
            "benchmarks.noise",
            str(model),
            "--bundled",
            name,
            "--runs",
            str(-(-runs // 4)),
        ]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        found += ratios(name, json.loads(done.stdout))
        model.unlink()
    return found


def ratios(name: str, pairs: Pairs) -> list[Ratio]:
    """What pairs of runs come to."""
    return [
        compare(f"noise, {name}: {clock}", AIM, [(ours, plain) for ours, plain in taken], "s")
        for clock, taken in pairs.items()
    ]


def seconds(model: Path, data: Data, shapes: InputShapes, runs: int) -> Pairs:
    """What `runs` pairs took, by the processor and by the clock. A RuntimeError where the shares differ."""
    import numpy as np

    import tse_onnx

    with tempfile.TemporaryDirectory() as folder:
        eight = Path(folder) / "eight.onnx"
        tse_onnx.quantise(model, eight, data=data, input_shapes=shapes, threads=1)
        taken: Pairs = {"processor": [], "clock": []}
        for _ in range(runs):
            before = time.process_time(), time.perf_counter()
            found = tse_onnx.noise(model, eight, data=data, input_shapes=shapes, threads=1)
            between = time.process_time(), time.perf_counter()
            wanted = plainly(model, eight, data, shapes)
            after = time.process_time(), time.perf_counter()
            ours = {
                (layer.node, way): level.noise
                for layer in found.layers
                for way, level in (("both", layer.quantised), ("weights", layer.weights), ("values", layer.activations))
                if level is not None
            }
            if set(ours) != set(wanted):
                raise RuntimeError(f"other layers: {sorted(set(ours) ^ set(wanted))[:3]}")
            joint = found.joint.level.noise
            for key, noise in ours.items():
                if not np.isclose(noise / joint, wanted[key] / joint, rtol=RELATIVE, atol=ABSOLUTE):
                    raise RuntimeError(f"the shares of {key} differ: {noise / joint:g} and {wanted[key] / joint:g}")
            for pairs, start, middle, end in zip(taken.values(), before, between, after, strict=True):
                pairs.append((middle - start, end - middle))
    return taken


def plainly(model: Path, eight: Path, data: Data, shapes: InputShapes) -> dict[tuple[str, str], float]:
    """The noise of each layer in each way: the model with its quantisers, opened, and run on all samples."""
    import numpy as np
    from onnx import ModelProto

    from tse_onnx.decision.analysis import analyse, input_types
    from tse_onnx.files.source import open_model
    from tse_onnx.layerwise.quantisers import quantised_layers
    from tse_onnx.layerwise.rounding import Rounder
    from tse_onnx.passes.edit.splice import splice
    from tse_onnx.passes.graph.nested import taken_names
    from tse_onnx.passes.graph.order import in_order
    from tse_onnx.runtime.session import Session

    source = open_model(model)
    analysis = analyse(source, shapes)
    index = analysis.main.index
    rank = {position: place for place, position in enumerate(in_order(index.nodes)[0])}
    rounder = Rounder.of(index, rank, taken_names(source.model))
    feeds = list(data.samples(input_types(analysis)).feeds())
    names = [value.name for value in source.model.graph.output]

    def run(changed: ModelProto) -> list[np.ndarray]:
        session = Session(changed, None, (), 1, floats=True, way_out="")
        runs = [session.run(feed, names) for feed in feeds]
        return [np.concatenate([one[name] for one in runs]).astype(np.float64) for name in names]

    original, found = run(source.model), {}
    for layer in quantised_layers(source, index, open_model(eight)):
        ways = {"both": rounder.edit([layer])}
        if layer.rounds_weights and layer.rounds_activations:
            ways |= {
                "weights": rounder.edit([layer], activations=False),
                "values": rounder.edit([layer], weights=False),
            }
        for way, edit in ways.items():
            changed = ModelProto()
            changed.CopyFrom(source.model)
            splice(changed.graph, [edit])
            energies = [
                float(np.square(now - was).sum() / np.square(was).sum())
                for was, now in zip(original, run(changed), strict=True)
            ]
            found[layer.name, way] = sum(energies) / len(energies)
    return found


def main() -> int:
    """Print what pairs took as JSON for a bundled model, or the ratios for one's own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise")
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--bundled", metavar="NAME", help="measure on images that the bundled model takes")
    parser.add_argument("--input-shape", default="", metavar="NAME:DIMS")
    parser.add_argument("--preprocess", default="unit")
    parser.add_argument("--limit", type=int, default=SAMPLES)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()

    import models
    from tse_onnx.data.choice import Data

    if options.bundled:
        data = Data(models.images(options.bundled, SAMPLES))
        print(json.dumps(seconds(options.model, data, {}, options.runs)))
        return 0
    data = Data(options.data, preprocess=options.preprocess, limit=options.limit)
    name, _, dims = options.input_shape.rpartition(":")
    bound: dict[str, tuple[int | str, ...]] = {}
    if dims:
        bound[name] = tuple(int(dim) if dim.isdecimal() else dim for dim in dims.split(","))
    print(HEADER)
    for ratio in ratios(options.model.stem, seconds(options.model, data, bound, options.runs)):
        print(line(ratio))
    return 0


if __name__ == "__main__":
    sys.exit(main())
