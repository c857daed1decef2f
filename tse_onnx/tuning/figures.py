"""What a combination buffers, by one of the figures that a budget may be for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from tse_onnx.conversion.rewrite import rewrite, style_of
from tse_onnx.conversion.verdict import GATE, MIN, Change, Verdict, telling
from tse_onnx.decision.analysis import analyse
from tse_onnx.decision.decide import decide
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.preparation import Preparation
from tse_onnx.errors import ModelError, UsageError
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.graph.types import described
from tse_onnx.runtime.scores import Score
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.tuning.choices import Combination
from tse_onnx.tuning.network import Network

ASAP = "asap"
FIGURES: Mapping[str, str] = {
    GATE: "what the scales of the blocks hold back: the paper's metric",
    ASAP: "what the whole network holds where each row is made as soon as it can be",
    MIN: "the least that the whole network runs with",
}


Keep = Callable[[Combination, Callable[[], int]], int]
"""Gives what a combination was counted as earlier, else counts it, and keeps that."""


class Figure(Protocol):
    """A figure of a network: bytes, for one image."""

    def of(self, combination: Combination) -> int:
        """What the network buffers with these choices made."""


def figure_of(
    name: str,
    network: Network,
    machine: Machine,
    input_shapes: InputShapes | None = None,
    axis: int = 0,
    keep: Keep | None = None,
) -> Figure:
    """The figure called `name`, of maps that stream through a machine along a spatial `axis`; what takes time to count
    is counted by way of `keep`.

    Raises `UsageError` for a name that there is not, `ModelError` where the dataflow model cannot take the network.
    """
    if name == GATE:
        return GateFigure(network, machine.bits)
    if name in (ASAP, MIN):
        return StreamFigure(network, name, machine, input_shapes, axis, keep)
    raise UsageError(f"there is no figure {name!r}; there are {', '.join(FIGURES)}")


def verdict_on(
    combination: Combination, scales: Figure, least: Figure, machine: Machine, scores: Sequence[Score], samples: str
) -> Verdict:
    """What a combination comes to by its scores on `samples`; `scales` and `least` are the figures `gate` and `min` of
    its network on `machine`."""
    accuracy = telling(scores)
    try:
        whole = _change(least, combination)
    except ModelError:  # the blocks' own figure needs less
        return Verdict(_change(scales, combination), accuracy=accuracy, samples=samples)
    return Verdict(_change(scales, combination), whole, machine, accuracy, samples)


def _change(figure: Figure, combination: Combination) -> Change:
    return Change(figure.of(()), figure.of(combination))


class GateFigure:
    """The paper's metric, summed over the blocks."""

    def __init__(self, network: Network, bits: int | None) -> None:
        self._network, self._bits = network, bits

    def of(self, combination: Combination) -> int:
        """What the scales hold back."""
        choices = dict(combination)
        counted = (self._network.counted(block, choices.get(block.name)) for block in self._network.analysis.blocks)
        return sum(
            -(-block.after * (self._bits or block.bits_after or block.bits or 32) // 8)
            for block in counted
            if block.after is not None
        )


class StreamFigure:
    """A total of the dataflow model over all tensors of the network."""

    def __init__(
        self,
        network: Network,
        name: str,
        machine: Machine,
        input_shapes: InputShapes | None,
        axis: int,
        keep: Keep | None = None,
    ) -> None:
        self._name, self._machine, self._axis = name, machine, axis
        self._keep: Keep = keep or (lambda combination, count: count())
        # The model counts rows, so the network may be a copy without its weights, which is quicker to change.
        self._source = replace(network.source, model=described(network.source.model))
        self._analysis = analyse(
            self._source, input_shapes, frozenset(block.kind for block in network.blocks) or {"se"}
        )
        self._whole = network.analysis
        self._known: dict[Combination, int] = {}
        if machine.latencies or machine.rates:
            from tse_onnx.streaming.network.machines import need_stages
            from tse_onnx.streaming.network.read import network_of

            need_stages(machine, network_of(self._source.model, self._analysis.bound, axis=axis))

    def of(self, combination: Combination) -> int:
        """What the whole network holds."""
        if combination not in self._known:
            self._known[combination] = self._keep(combination, partial(self._counted, combination))
        return self._known[combination]

    def _counted(self, combination: Combination) -> int:
        from tse_onnx.streaming.depths.total import total
        from tse_onnx.streaming.network.read import network_of

        # A frozen gate goes into the weights behind it, which have to be there for that.
        frozen = any(isinstance(choice, Frozen) for _, choice in combination)
        analysis, plan = self._whole if frozen else self._analysis, Plan(None, dict(combination))
        made = Preparation(analysis, analysis, decide(analysis.parts, plan, self._source.opset), plan)
        changed, _ = rewrite(made, style_of(), owned=False)
        changed_network = network_of(changed, analysis.bound, axis=self._axis)
        return total(changed_network, self._machine, self._name).bytes
