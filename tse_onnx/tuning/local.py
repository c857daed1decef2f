"""Measure in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tse_onnx.tuning.batches import Batches
from tse_onnx.tuning.choices import Combination
from tse_onnx.tuning.losses import Loss
from tse_onnx.tuning.network import Network
from tse_onnx.tuning.work import Measured, References, carried_out, in_streams, largest_part


class Here:
    """Carries work out one measurement after the other, with no more batches under way than `memory` bytes allow."""

    def __init__(self, network: Network, loss: Loss, batches: Batches, memory: int) -> None:
        self._network, self._loss, self._batches, self._memory = network, loss, batches, memory
        self._references = References(network, loss)

    def measure(self, wanted: Mapping[Combination, frozenset[int]]) -> Iterator[Measured]:
        """Measure every combination on its batches."""
        numbers = sorted(frozenset[int]().union(*wanted.values()))
        names = {name for combination in wanted for name, _ in combination}
        step = largest_part(self._network, sorted(names), self._memory, self._batches.size)
        whole = any(in_streams(self._network, combination) for combination in wanted)
        for part in self._batches.parts(numbers, step, whole):
            batches = self._batches.read(part)
            yield from carried_out(self._references, self._network, self._loss, batches, wanted)

    def close(self) -> None:
        """Nothing is left open."""
