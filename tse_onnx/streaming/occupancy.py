"""What is held while the input comes in: the figures of the model against the input row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tse_onnx.streaming.machine import PIXEL
from tse_onnx.streaming.network import Network
from tse_onnx.streaming.pipeline import pipeline_of
from tse_onnx.streaming.result import KINDS, Dataflow
from tse_onnx.streaming.simulate import simulate


@dataclass(frozen=True)
class Occupancy:
    """`held[kind][r]` are the bytes that tensors of that kind held, each at its peak, while input row r was worked on;
    `tensors` has the same for each buffer that ever holds more than a row, by its name."""

    rows: int
    held: Mapping[str, tuple[int, ...]]
    tensors: Mapping[str, tuple[int, ...]]

    @property
    def peak(self) -> int:
        """The most bytes at one input row."""
        return max(map(sum, zip(*self.held.values(), strict=True)))


def occupancy(network: Network, dataflow: Dataflow) -> Occupancy:
    """Run the pipeline without bounds and record what it holds, row by row of its largest input."""
    machine = dataflow.machine
    pipeline = pipeline_of(network, machine)
    run = simulate(pipeline, record=True)
    step = len(run.timeline) // dataflow.height if machine.grain == PIXEL else 1
    held = {kind: [0] * dataflow.height for kind in KINDS}
    tensors = {}
    for number, buffer in enumerate(dataflow.buffers):
        token = buffer.min.bytes / buffer.min.depth
        line = []
        for row in range(dataflow.height):
            most = max(each[number] for each in run.timeline[row * step : (row + 1) * step])
            line.append(round(most * token))
            held[buffer.kind][row] += line[-1]
        if buffer.asap.depth > 1:
            tensors[buffer.name] = tuple(line)
    return Occupancy(dataflow.height, {kind: tuple(each) for kind, each in held.items()}, tensors)
