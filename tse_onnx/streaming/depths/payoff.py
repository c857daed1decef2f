"""Whether it pays, on a machine, to make the map of a block twice."""

from __future__ import annotations

from dataclasses import replace

from tse_onnx.streaming.depths.building import pipeline_of
from tse_onnx.streaming.depths.held import Sums
from tse_onnx.streaming.depths.least import segments
from tse_onnx.streaming.depths.model import held_for
from tse_onnx.streaming.depths.result import Dataflow, Payoff
from tse_onnx.streaming.network.network import Network, Stage
from tse_onnx.streaming.network.replay import Replay, replays_of


def weighed(network: Network, dataflow: Dataflow) -> Dataflow:
    """The figures of a network with what each of its recomputed blocks is worth."""
    replays = replays_of(network)
    if not replays:
        return dataflow
    pipeline = pipeline_of(network, dataflow.machine)
    piece_of = {stage: number for number, stages in enumerate(segments(pipeline)) for stage in stages}
    made = {network.stages[stage].output: piece_of[number]
            for number, members in enumerate(pipeline.members) for stage in members}  # fmt: skip
    total = dataflow.totals["min"]
    payoffs = []
    for replay in replays:
        names = {network.stages[stage].output for stage in (*replay.original, *replay.original.values())}
        touched = names | {network.stages[reader].output for name in names for reader in network.readers[name]}
        pieces = {made[name] for name in touched if name in made}
        names = {name for name, piece in made.items() if piece in pieces}
        # A tensor belongs to the piece that reads it; what waits from frame to frame to none.
        held = [buffer.min for buffer, links in zip(dataflow.buffers, pipeline.links, strict=False)
                if any(piece_of[stage] in pieces for stage, _ in links)]  # fmt: skip
        other = held_for(_kept(network, replay), dataflow.machine, names)
        before = Sums(
            total.elements + other.elements - sum(each.elements for each in held),
            total.bytes + other.bytes - sum(each.bytes for each in held),
        )
        payoffs.append(Payoff(replay.block, replay.held, before, total))
    return replace(dataflow, payoffs=tuple(payoffs))


def _kept(network: Network, replay: Replay) -> Network:
    """The network without the copies of one block: the squeeze reads what the scale does."""
    base = {network.stages[copy].output: network.stages[stage].output for copy, stage in replay.original.items()}
    stages = tuple(
        _reading(stage, tuple(base.get(name, name) for name in stage.inputs))
        for number, stage in enumerate(network.stages)
        if number not in replay.original
    )
    return network.with_stages(stages)


def _reading(stage: Stage, inputs: tuple[str, ...]) -> Stage:
    return stage if inputs == stage.inputs else replace(stage, inputs=inputs)
