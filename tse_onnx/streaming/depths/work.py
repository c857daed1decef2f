"""What stages have to do for an image, and how long a machine that says so takes for it.

A stage that multiplies has its multiply-accumulates, padding included and biases left out; any other the elements that
it reads or makes, whichever are more. Cycles are whole for each row or pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tse_onnx.passes.graph.macs import MULTIPLIES
from tse_onnx.streaming.depths.pipeline import Pipeline
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.network import Network, Stage


@dataclass(frozen=True)
class Work:
    """What a stage does for one image: multiply-accumulates, 0 where it multiplies nothing, and elements."""

    macs: int
    elements: int


def work_of(network: Network, stage: Stage) -> Work:
    """What a stage does for one image."""
    made = network.tensors[stage.output]
    read = [network.tensors[name].elements for name in stage.inputs]
    rule = MULTIPLIES.of(stage.node)
    macs = 0 if rule is None else rule(stage.node, lambda name: _dims(network, name))
    return Work(macs, max([1, made.elements, *read]))


def cycles_of(network: Network, machine: Machine, pipeline: Pipeline) -> tuple[int, ...] | None:
    """The cycles that each stage takes for a token that it makes, or absorbs; None where the machine does not say.

    Stages that are one work side by side: the slowest of them counts.
    """
    if machine.macs_per_cycle is None:
        return None
    found = []
    for stage, members in enumerate(pipeline.members):
        tokens = pipeline.count[stage] // pipeline.runs[stage]
        if pipeline.absorbs[stage]:
            ((_, link),) = pipeline.reads[stage]
            tokens = len(link.order)
        found.append(max(_cycles(network, machine, network.stages[each], max(1, tokens)) for each in members))
    return tuple(found)


def image_cycles(pipeline: Pipeline, cycles: Sequence[int]) -> tuple[int, ...]:
    """The cycles that each stage takes for an image."""
    return tuple(
        each * (len(pipeline.reads[stage][0][1].order) if pipeline.absorbs[stage] else pipeline.count[stage])
        for stage, each in enumerate(cycles)
    )


def _cycles(network: Network, machine: Machine, stage: Stage, tokens: int) -> int:
    work = work_of(network, stage)
    rate = machine.macs_per_cycle if work.macs else machine.elements_per_cycle or machine.macs_per_cycle
    return max(1, math.ceil((work.macs or work.elements) / (tokens * machine.rates.get(stage.node.name, rate or 1))))


def _dims(network: Network, name: str) -> tuple[int, ...] | None:
    if (tensor := network.tensors.get(name)) is not None:
        return tensor.dims
    return network.constants.kind(name)[0] if name in network.constants.names else None
