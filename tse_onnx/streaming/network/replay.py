"""Stages that make the map of a recomputed block twice: which of them could be one, used twice.

A recomputed block has nodes in two copies, with the same weights: the first feeds the squeeze, the second the scale.
The second copy starts when the first is done, so that a machine may go over the same stage again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from onnx import NodeProto

from tse_onnx.errors import ModelError
from tse_onnx.passes.names import MADE_FOR
from tse_onnx.streaming.network.machine import SHARED, Machine
from tse_onnx.streaming.network.network import Network


@dataclass(frozen=True)
class Replay:
    """A recomputed block: the value that is `held`, and `original[stage]`, the stage of which each of its stages is a
    copy, in the order of the graph. Nothing but the block's own record tells it from nodes that happen to be equal."""

    block: str
    held: str
    original: Mapping[int, int]


@dataclass(frozen=True)
class Sharing:
    """What is used twice: `original[copy]` is the stage that makes what stage `copy` does, and before what it makes
    itself; `base[tensor]` the tensor of that stage, in whose store the copy's is."""

    network: Network
    original: Mapping[int, int]

    @cached_property
    def base(self) -> Mapping[str, str]:
        """See above."""
        stages = self.network.stages
        return {stages[copy].output: stages[stage].output for copy, stage in self.original.items()}

    @cached_property
    def twice(self) -> frozenset[str]:
        """The tensors whose stores hold those of a copy first."""
        return frozenset(self.base.values())

    def home(self, name: str) -> str:
        """The tensor in whose store the rows of one are."""
        return self.base.get(name, name)

    def node(self, stage: int) -> int:
        """The position of the node that reads for a stage."""
        return self.network.stages[self.original.get(stage, stage)].position


def sharing_of(network: Network, machine: Machine) -> Sharing:
    """What a machine uses twice: nothing, where a replay is separate."""
    replays = replays_of(network) if machine.replay == SHARED else ()
    return Sharing(network, {copy: stage for replay in replays for copy, stage in replay.original.items()})


def replays_of(network: Network) -> tuple[Replay, ...]:
    """The recomputed blocks of a network whose copies can be made by the stages of the originals."""
    made: dict[str, list[int]] = {}
    for number, stage in enumerate(network.stages):
        for entry in stage.node.metadata_props:
            if entry.key == MADE_FOR:
                made.setdefault(entry.value, []).append(number)
    held = _held(network.stages[number].node for numbers in made.values() for number in numbers)
    found = (Replay(block, value, _originals(network, made[block])) for block, value in held.items())
    return tuple(replay for replay in found if replay.original)


def _held(nodes: Iterable[NodeProto]) -> Mapping[str, str]:
    """For each recomputed block that these nodes of converted blocks remember, the value that it holds."""
    held: dict[str, str] = {}
    for node in nodes:
        # To read records is a long way to import, for a network without any.
        from tse_onnx.passes.blocks.recompute import Recompute
        from tse_onnx.passes.edit.record import record_of

        try:
            record = record_of(node)
        except ModelError:  # damaged: then it is like any other graph
            continue
        if record is not None and isinstance(record.choice, Recompute):
            held[record.block] = record.choice.held or ""
    return held


def _originals(network: Network, made: list[int]) -> dict[int, int]:
    """For each stage of `made` that is a copy of another, and reads what that reads or copies of it, that stage.

    A stage that absorbs takes a row once for all, and is no such copy; nor is what follows it.
    """
    alias: dict[str, str] = {}
    found: dict[int, int] = {}
    for number in made:
        copy = network.stages[number]
        if copy.absorbs or not copy.inputs:
            continue
        reads = [alias.get(name, name) for name in copy.node.input]
        for other in network.readers[alias.get(copy.inputs[0], copy.inputs[0])]:
            stage = network.stages[other]
            if other not in made and list(stage.node.input) == reads and _alike(copy.node, stage.node) \
                    and _slot(copy.node, copy.output) == _slot(stage.node, stage.output):  # fmt: skip
                alias[copy.output] = stage.output
                found[number] = other
                break
    return found


def _alike(one: NodeProto, other: NodeProto) -> bool:
    """Whether two nodes that read the same make the same."""
    return (one.op_type, one.domain, list(one.attribute)) == (other.op_type, other.domain, list(other.attribute))


def _slot(node: NodeProto, output: str) -> int:
    return list(node.output).index(output)
