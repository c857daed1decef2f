"""The dataflow model and the executor, as ratios:  python -m benchmarks.dataflow

* model time against the number of nodes, and against the rows of the input: 1 is linear, 2 is twice as slow a node;
* the whole certificate of a network against its figures, where a skip connection spans every eight nodes;
* a network run row by row against onnxruntime's own run with one thread, with its numbers in strips or made with each
  firing, its whole certificate against the same, and the memory that its stores took.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

import models
import tse_onnx
from tse_onnx.runtime.session import Session
from tse_onnx.streaming.execute.certificate import certify, predicted, streamer_of
from tse_onnx.streaming.execute.numbers import row_bytes
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.read import network_of


def blocks(count: int, height: int) -> ModelProto:
    """A chain of `count` residual blocks of ten nodes, each with squeeze-and-excite, on a map of `height` rows."""
    nodes, x = [], "x"
    for number in range(count):
        name = [f"{part}{number}" for part in ("e", "a", "d", "b", "m", "r", "q", "p", "g", "s", "y")]
        e, a, d, b, m, r, q, p, g, s, y = name
        nodes += [
            helper.make_node("Conv", [x, "point"], [e]),
            helper.make_node("Relu", [e], [a]),
            helper.make_node("Conv", [a, "depth"], [d], group=4, pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [d], [b]),
            helper.make_node("GlobalAveragePool", [b], [m]),
            helper.make_node("Conv", [m, "point"], [r]),
            helper.make_node("Relu", [r], [q]),
            helper.make_node("Conv", [q, "point"], [p]),
            helper.make_node("Sigmoid", [p], [g]),
            helper.make_node("Mul", [b, g], [s]),
            helper.make_node("Add", [x, s], [y]),
        ]
        x = y
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, height, 8])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 4, height, 8])],
        [
            numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "point"),
            numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "depth"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def skips(count: int, every: int = 8, height: int = 14) -> ModelProto:
    """A chain of `count` nodes, half of them convolutions, in which a skip connection spans each `every` nodes."""
    nodes, x, base = [], "x", "x"
    for number in range(1, count + 1):
        y = f"y{number}"
        if number % every == 0:
            nodes.append(helper.make_node("Add", [base, x], [y]))
            base = y
        elif number % 2:
            nodes.append(helper.make_node("Conv", [x, "mean"], [y], group=4, pads=[1, 1, 1, 1]))
        else:
            nodes.append(helper.make_node("Relu", [x], [y]))
        x = y
    graph = helper.make_graph(
        nodes,
        "skips",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, height, 8])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 4, height, 8])],
        [numpy_helper.from_array(np.full((4, 1, 3, 3), 1 / 9, np.float32), "mean")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _modelled(model: ModelProto) -> None:
    tse_onnx.stream(model)


def seconds(work: Callable[[], object], runs: int = 3) -> float:
    """The least time of the processor for some runs: the machine may have other work."""
    found = []
    for _ in range(runs):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


def linear() -> None:
    """Time for ten times the nodes, and for ten times the rows."""
    small, large = blocks(91, 14), blocks(910, 14)
    few, many = seconds(lambda: tse_onnx.stream(small)), seconds(lambda: tse_onnx.stream(large), 1)
    nodes = f"{len(small.graph.node):6} to {len(large.graph.node):6} nodes of 14 rows"
    print(f"{nodes}: time per node × {many / few / 10:5.2f}   ({many:.2f} s)")
    tall = skips(16, height=32768)
    few, many = (seconds(partial(_modelled, each)) for each in (skips(16, height=4096), tall))
    print(f"{4096:6} to {32768:6} rows of 16 nodes: time per row × {many / few / 8:5.2f}   ({many:.2f} s)")
    low, tall = blocks(5, 410), blocks(5, 4096)
    few, many = seconds(lambda: tse_onnx.stream(low)), seconds(lambda: tse_onnx.stream(tall))
    print(f"{410:6} to {4096:6} rows of 55 nodes: time per row × {many / few / 9.99:5.2f}   ({many:.2f} s)")


def proved(counts: tuple[int, ...]) -> None:
    """The whole certificate against the figures, of networks with skip connections."""
    for count in counts:
        model = skips(count)
        figures = seconds(partial(_modelled, model), 1)
        network = network_of(model)
        feed = {"x": np.random.default_rng(0).standard_normal(network.tensors["x"].dims).astype(np.float32)}
        proof = seconds(partial(certify, model, network, feed), 1)
        print(f"{count:6} nodes, a skip every 8: certificate / figures {proof / figures:5.1f}   ({proof:.2f} s)")


def bundled(names: tuple[str, ...]) -> None:
    """The model's time, and the run in the least room, in strips and firing by firing, against onnxruntime's."""
    for name in names:
        model = models.load(name)
        modelled = seconds(partial(_modelled, model))
        network = network_of(model)
        feed = {network.sources[0].name: models.images(name)}
        streamer, (_, least) = streamer_of(model, network), predicted(network, Machine())
        session = Session(model, threads=1)
        floor = seconds(partial(session.run, feed, session.outputs), 15)
        strips = seconds(partial(streamer.run, least, feed), 5)
        firings = seconds(partial(streamer.run, least, feed, room=0))
        run = streamer.run(least, feed)
        whole = seconds(partial(certify, model, network, feed))
        bound = sum(rows * row_bytes(network.tensors[tensor]) for (tensor, _), rows in least.items())
        print(
            f"{name:36} model {modelled:6.3f} s   run / onnxruntime {strips / floor:5.1f}   ({strips:.3f} s)"
            f"   firing by firing {firings / floor:5.1f}   certificate {whole / floor:5.1f}"
            f"   stored at most {run.peak_bytes:,} of {bound:,} bytes"
        )


def main() -> int:
    """Print all of it; a name or more as arguments take the place of the usual networks."""
    names = tuple(sys.argv[1:]) or (
        "efficientnet_b0_torchscript_17", "mobilenetv3_large_dynamo_20", "regnety_800mf_dynamo_18",
        "seresnet50_torchscript_17",
    )  # fmt: skip
    linear()
    proved((1000, 10_000))
    bundled(names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
