"""Stages that a machine has as one, for the executor: a firing makes a row of each, and the last of them is stored.

Which stages these are is the model's to say. That none of them takes another row than that is found out by running them
so: between them there is no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tse_onnx.streaming.depths.building import pipeline_of
from tse_onnx.streaming.execute.kernels.kernel import Kernel, Rows
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.network import Network, Stage
from tse_onnx.streaming.network.replay import Sharing, sharing_of


@dataclass(frozen=True)
class Grouped:
    """A network whose stages are the groups of a machine, by the numbers of their `members` in the network that it was;
    and which of them are used twice."""

    network: Network
    members: tuple[tuple[int, ...], ...]
    sharing: Sharing


def grouped(network: Network, machine: Machine) -> Grouped:
    """The stages of a network as a machine has them."""
    sharing = sharing_of(network, machine)
    copies = {stage: copy for copy, stage in sharing.original.items()}
    groups = list(pipeline_of(network, machine).members)
    if all(len(group) == 1 for group in groups):
        return Grouped(network, tuple((number,) for number in range(len(network.stages))), sharing)
    groups += [tuple(copies[stage] for stage in group) for group in groups if group[-1] in copies]
    groups.sort(key=lambda group: group[-1])
    number_of = {group[-1]: number for number, group in enumerate(groups)}
    made = network.with_stages([_stage(network, group) for group in groups])
    twice = {number_of[copy]: number_of[stage] for copy, stage in sharing.original.items() if copy in number_of}
    return Grouped(made, tuple(groups), Sharing(made, twice))


def _stage(network: Network, group: Sequence[int]) -> Stage:
    """A group as one stage, which reads for its first node; what it needs is known to its kernel alone."""
    *inside, last = (network.stages[number] for number in group)
    if not inside:
        return last
    made = {stage.output for stage in inside}
    reads = dict.fromkeys(name for stage in (*inside, last) for name in stage.inputs if name not in made)
    return replace(last, position=inside[0].position, inputs=tuple(reads), needs=(), column_needs=())


class Fused:
    """Kernels one behind the other, by the tensor that each makes: a row of each for a row of the last."""

    def __init__(self, kernels: Mapping[str, Kernel]) -> None:
        self._kernels = kernels

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        found: dict[str, dict[int, None]] = {}
        for kernel in self._kernels.values():
            for name, rows in kernel.takes(row).items():
                if name not in self._kernels:
                    found.setdefault(name, {}).update(dict.fromkeys(rows))
        return {name: tuple(rows) for name, rows in found.items()}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        made = np.zeros(0)
        known = dict(rows)
        for name, kernel in self._kernels.items():
            made = kernel.make(row, known)
            known[name] = {row: made}
        return made
