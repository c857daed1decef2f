"""Networks that stream, written as ONNX text, and the model's run of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, numpy_helper, parser

from tse_onnx.streaming.depths.building import pipeline_of
from tse_onnx.streaming.depths.least import Least, least
from tse_onnx.streaming.depths.pipeline import Pipeline
from tse_onnx.streaming.depths.simulate import Run, simulate
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.network import Network
from tse_onnx.streaming.network.read import network_of

CONV3 = "Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"
SE = """
    d = GlobalAveragePool({0})
    r = Conv(d, reduce)
    q = Relu(r)
    e = Conv(q, expand)
    g = Sigmoid(e)
    s = Mul({0}, g)
"""
SE_WEIGHTS = {"reduce": (2, 4, 1, 1), "expand": (4, 2, 1, 1)}


def stream_model(
    body: str,
    shape: Sequence[int] | str,
    weights: Mapping[str, object] | None = None,
    *,
    outputs: Sequence[str] = ("y",),
    inputs: str = "",
    opset: int = 17,
    imports: str = "",
) -> ModelProto:
    """A model of the nodes in `body` on input `x`; a weight is an array, or a shape to fill with seeded noise."""
    dims = shape if isinstance(shape, str) else ", ".join(map(str, shape))
    inputs = inputs or f"float[{dims}] x"
    made = ", ".join(f"float[a] {name}" for name in outputs)
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}{imports}]>\nnet ({inputs}) => ({made}) {{\n{body}\n}}'
    )
    random = np.random.default_rng(0)
    for name, value in (weights or {}).items():
        array = random.standard_normal(value).astype(np.float32) if isinstance(value, tuple) else np.asarray(value)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


@dataclass(frozen=True)
class Streamed:
    """A model with the run of its pipeline and its minimal capacities."""

    network: Network
    pipeline: Pipeline
    run: Run
    least: Least

    def peaks(self) -> dict[str, int]:
        """Peak rows by tensor."""
        return dict(zip((store.tensor for store in self.pipeline.stores), self.run.peaks, strict=True))

    def minimum(self) -> dict[str, int]:
        """Minimal rows by tensor."""
        return dict(zip((store.tensor for store in self.pipeline.stores), self.least.capacities, strict=True))

    @property
    def elements(self) -> int:
        """What the minimal capacities come to."""
        return self._of(self.least.capacities)

    @property
    def floors(self) -> int:
        """What the floors of all tensors come to."""
        return self._of(self.least.floor)

    @property
    def bound(self) -> int:
        """What no schedule goes below."""
        beyond = (
            together - self._of([rows * (store in stores) for store, rows in enumerate(self.least.floor)])
            for stores, together in self.least.pieces
        )
        return self.floors + sum(beyond)

    def _of(self, rows: Sequence[int]) -> int:
        tensors = self.network.tensors
        return sum(each * tensors[store.tensor].row_elements
                   for each, store in zip(rows, self.pipeline.stores, strict=True))  # fmt: skip


def streamed(model: ModelProto, machine: Machine | None = None) -> Streamed:
    """Run the model's pipeline."""
    network = network_of(model)
    pipeline = pipeline_of(network, machine or Machine())
    run = simulate(pipeline)
    width = [network.tensors[store.tensor].row_elements for store in pipeline.stores]
    return Streamed(network, pipeline, run, least(pipeline, run.peaks, width))


def completes(found: Streamed, **capacities: int) -> bool:
    """Whether the pipeline completes with the minimal capacities, save those given by tensor."""
    limits = [capacities.get(store.tensor, rows)
              for store, rows in zip(found.pipeline.stores, found.least.capacities, strict=True)]  # fmt: skip
    return simulate(found.pipeline, limits).completed


def assert_tight(found: Streamed) -> None:
    """The minimal capacities complete, and one row less of any tensor halts the pipeline."""
    capacities = found.least.capacities
    assert simulate(found.pipeline, capacities).completed
    for store, rows in enumerate(capacities):
        fewer = [capacity - (store == number) for number, capacity in enumerate(capacities)]
        assert not simulate(found.pipeline, fewer).completed, (found.pipeline.stores[store].tensor, rows)
