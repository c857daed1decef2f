"""Finding and rewriting in large graphs, against parsing and serialising them, and against what peers take.

    python -m benchmarks.forms [--runs N] [SIZE ...]

The graphs are chains of MBConv-like blocks with a squeeze-and-excite each, twelve nodes per block, with small weights
so that nodes are what there is. Everything is measured in one process, in turns:

* ours: index, types, find, decide, lower, splice, on a model that is parsed already;
* the floor: protobuf parses the model's bytes and serialises it again;
* the rewriter: onnxscript applies one rule to an `onnx_ir` model that is read already: the literal chain
  GlobalAveragePool, Conv, Relu, Conv, Sigmoid, Mul, replaced by tiled nodes;
* the reader: onnx_ir reads the model's file and writes it again, and looks for nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx import ModelProto

    from benchmarks.measure import Ratio

SIZES = (1_000, 10_000, 100_000)
NODES_PER_BLOCK = 12
CHANNELS, EXTENT, ROWS = 4, 8, 3


def chain(nodes: int, stated: bool = True) -> ModelProto:
    """A chain of blocks with about so many nodes; `stated` puts in the type of each value, as most exporters do."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = onnx.GraphProto(name="chain")
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, EXTENT, EXTENT]))
    random = np.random.default_rng(0)
    value = "x"

    def node(operator: str, inputs: list[str], name: str, shape: list[int], **attributes: Any) -> str:
        graph.node.append(helper.make_node(operator, inputs, [name], name=f"{name}_node", **attributes))
        if stated:
            graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def convolution(source: str, name: str, out: int, into: int, size: int, extent: int, **attributes: Any) -> str:
        weights = random.standard_normal((out, into, size, size), np.float32)
        graph.initializer.append(numpy_helper.from_array(weights, f"{name}.weight"))
        graph.initializer.append(numpy_helper.from_array(np.zeros(out, np.float32), f"{name}.bias"))
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        return node("Conv", inputs, name, [1, out, extent, extent], kernel_shape=[size, size], **attributes)

    full = [1, CHANNELS, EXTENT, EXTENT]
    for block in range(max(1, nodes // NODES_PER_BLOCK)):
        at = f"/blocks.{block}"
        wide = node("Relu", [convolution(value, f"{at}/expand", CHANNELS, CHANNELS, 1, EXTENT)], f"{at}/act1", full)
        deep = convolution(wide, f"{at}/depthwise", CHANNELS, 1, 3, EXTENT, group=CHANNELS, pads=[1, 1, 1, 1])
        deep = node("Relu", [deep], f"{at}/act2", full)
        mean = node("GlobalAveragePool", [deep], f"{at}/se/mean", [1, CHANNELS, 1, 1])
        reduced = convolution(mean, f"{at}/se/reduce", CHANNELS // 2, CHANNELS, 1, 1)
        reduced = node("Relu", [reduced], f"{at}/se/act", [1, CHANNELS // 2, 1, 1])
        gate = convolution(reduced, f"{at}/se/gate", CHANNELS, CHANNELS // 2, 1, 1)
        gate = node("Sigmoid", [gate], f"{at}/se/sigmoid", [1, CHANNELS, 1, 1])
        scaled = node("Mul", [deep, gate], f"{at}/se/scaled", full)
        narrow = convolution(scaled, f"{at}/project", CHANNELS, CHANNELS, 1, EXTENT)
        value = node("Add", [narrow, value], f"{at}/sum", full)
    graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, full))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def convert(model: ModelProto) -> int:
    """Find and rewrite, in place; the number of blocks converted."""
    from tse_onnx.decision.analysis import analyse
    from tse_onnx.decision.decide import decide
    from tse_onnx.decision.decision import Convert
    from tse_onnx.decision.plan import Plan
    from tse_onnx.files.source import Source
    from tse_onnx.passes.blocks.tiling import Tiling
    from tse_onnx.passes.edit.splice import Change, apply
    from tse_onnx.passes.graph.nested import taken_names
    from tse_onnx.passes.lowering import lower

    source = Source(model)
    analysis = analyse(source)
    decisions = decide(analysis.parts, Plan(Tiling(ROWS)), source.opset)
    tiled = [one for one in decisions if isinstance(one, Convert)]
    taken = taken_names(model)
    edits = tuple(lower(one.block, one.cover, analysis.main, taken) for one in tiled if one.cover is not None)
    apply(model, (Change(analysis.main.path, edits),))
    return len(edits)


def _count(counts: list[int], work: Callable[[Any], int], model: Any) -> None:
    counts.append(work(model))


def rewriter_rule() -> Any:
    """onnxscript's rule for the literal chain."""
    import numpy as np
    import onnx_ir as ir
    from onnxscript import rewriter

    def pattern(op: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        gate = op.Sigmoid(op.Conv(op.Relu(op.Conv(op.GlobalAveragePool(x), w1, b1)), w2, b2))
        return op.Mul(x, gate)

    def replacement(op: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        ragged = -EXTENT % ROWS
        mean = op.AveragePool(
            x, kernel_shape=[ROWS, EXTENT], strides=[ROWS, EXTENT], pads=[0, 0, ragged, 0], count_include_pad=0
        )
        gate = op.Sigmoid(op.Conv(op.Relu(op.Conv(mean, w1, b1)), w2, b2))
        scales = op.Constant(value=ir.tensor(np.array([1, 1, ROWS, 1], np.float32)))
        spread = op.Resize(
            gate, None, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )
        starts, ends, axes = (op.Constant(value=ir.tensor(np.array([n], np.int64))) for n in (0, EXTENT, 2))
        return op.Mul(x, op.Slice(spread, starts, ends, axes))

    return rewriter.pattern.RewriteRuleSet([rewriter.pattern.RewriteRule(pattern, replacement)])


def seconds(job: Callable[[], object]) -> float:
    """How long the processor works on a job, which runs on one thread: other work on the machine hardly counts."""
    gc.collect()
    start = time.process_time()
    job()
    return time.process_time() - start


@dataclass(frozen=True)
class Turn:
    """Processor seconds of one turn; NaN for peers that were left out."""

    ours: float
    floor: float
    rewriter: float = math.nan
    reader: float = math.nan


def measure(nodes: int, runs: int, stated: bool, peers: bool) -> list[Turn]:
    """Ours, the floor, the rewriter and the reader in turns, after one that warms up."""
    from onnx import ModelProto

    data = chain(nodes, stated).SerializeToString()
    expected = max(1, nodes // NODES_PER_BLOCK)
    found = []
    for _ in range(runs + 1):
        model = ModelProto.FromString(data)
        counts: list[int] = []
        ours = seconds(partial(_count, counts, convert, model))
        assert counts == [expected], counts
        del model
        turn = Turn(ours, seconds(lambda: ModelProto.FromString(data).SerializeToString()))
        if peers:
            turn = replace(turn, rewriter=_rewriter(data, expected), reader=_reader(data))
        found.append(turn)
    return found[1:]


def _rewriter(data: bytes, expected: int) -> float:
    import onnx_ir
    from onnx import ModelProto

    rules, counts = rewriter_rule(), list[int]()
    read = onnx_ir.serde.deserialize_model(ModelProto.FromString(data))
    taken = seconds(partial(_count, counts, rules.apply_to_model, read))
    assert counts == [expected], counts
    return taken


def _reader(data: bytes) -> float:
    import onnx_ir

    with tempfile.TemporaryDirectory() as folder:
        source, copy = Path(folder, "source.onnx"), Path(folder, "copy.onnx")
        source.write_bytes(data)
        return seconds(lambda: onnx_ir.save(onnx_ir.load(source), copy))


def run(folder: Path, runs: int) -> list[Ratio]:
    """The ratios, for `python -m benchmarks`."""
    from benchmarks.measure import ROOT, compare

    found = []
    for size in SIZES:
        for stated in (True, False):
            repetitions = runs if size < SIZES[-1] else max(3, runs // 3)
            command = [sys.executable, "-m", "benchmarks.forms", "--json", "--runs", str(repetitions), str(size)]
            command += [] if stated else ["--unstated"]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            (rows,) = json.loads(done.stdout)
            how = "" if stated else ", types to infer"
            turns = [Turn(*row) for row in rows]
            for aim, what, peer in (
                (2.0, "parse and serialise", [turn.floor for turn in turns]),
                (0.2, "onnxscript's rewriter", [turn.rewriter for turn in turns]),
                (1.0, "onnx_ir reads and writes", [turn.reader for turn in turns]),
            ):
                pairs = [(1000 * turn.ours, 1000 * other) for turn, other in zip(turns, peer, strict=True)]
                found.append(compare(f"find and rewrite, {size:,} nodes{how}: {what}", aim, pairs, "ms"))
    return found


def main() -> int:
    """Print a line per size, or the raw seconds as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forms", description="Finding and rewriting, as ratios.")
    parser.add_argument("sizes", nargs="*", type=int, metavar="SIZE", default=list(SIZES), help="numbers of nodes")
    parser.add_argument("--runs", type=int, default=7, help="repetitions (default: 7)")
    parser.add_argument("--unstated", action="store_true", help="leave the types of values to inference")
    parser.add_argument("--no-peers", action="store_true", help="leave onnxscript and onnx_ir out")
    parser.add_argument("--json", action="store_true", help="print the seconds of every repetition")
    options = parser.parse_args()
    measured = []
    if not options.json:
        print(f"{'nodes':>9} {'ours':>10} {'per node':>9} {'parse+write':>12} {'rewriter':>10} {'onnx_ir':>10}")
    for size in options.sizes:
        turns = measure(size, options.runs, not options.unstated, not options.no_peers)
        measured.append([astuple(turn) for turn in turns])
        if not options.json:
            ours, *others = (1e3 * statistics.median(column) for column in zip(*map(astuple, turns), strict=True))
            per_node = f"{1e3 * ours / size:6.1f} µs"
            floor, rewriter, reader = (f"{value:7.1f} ms" for value in others)
            print(f"{size:9,} {ours:7.1f} ms {per_node} {floor:>12} {rewriter} {reader}", flush=True)
    if options.json:
        print(json.dumps(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
