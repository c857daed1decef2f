"""The least depth of each stream with which hls4ml's C++ does not come to a halt, beside the one that is exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.hls4ml.compiled import Compiled, compiled
from benchmarks.hls4ml.network import network
from benchmarks.hls4ml.translate import translate
from tse_onnx.streaming.handover import hls4ml_depths
from tse_onnx.streaming.network.read import network_of


@dataclass(frozen=True)
class Verdict:
    """A stream's depth in pixels: as it is exported, and the least that was found, the others as they are exported;
    None where not even a stream without an end is enough."""

    network: str
    stream: str
    exported: int
    found: int | None

    @property
    def equal(self) -> bool:
        """Whether the export is the least."""
        return self.exported == self.found


def judged(name: str, folder: Path) -> list[Verdict]:
    """The verdicts on all streams of a network, whose program is made in `folder`."""
    model = network(name)
    exported = hls4ml_depths(network_of(model))
    program = compiled(translate(model, folder), folder)
    depths = {stream: exported.get(stream, 1) for stream in program.streams}  # 1: layers that hls4ml adds, which pad
    return [Verdict(name, stream, depth, _least(program, depths, stream)) for stream, depth in depths.items()]


def _least(program: Compiled, depths: dict[str, int], stream: str) -> int | None:
    others = {name: depth for name, depth in depths.items() if name != stream}
    if not program.completes(others):
        return None
    low, high = 1, 1
    while not program.completes(others | {stream: high}):
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        if program.completes(others | {stream: middle}):
            high = middle
        else:
            low = middle + 1
    return high
