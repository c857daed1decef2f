"""A network before and after a conversion."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from onnx import ModelProto

from tse_onnx.decision.analysis import bind
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.graph.types import Dim, Types
from tse_onnx.streaming.depths.model import measured
from tse_onnx.streaming.depths.occupancy import Occupancy, bounded, occupancy, settled
from tse_onnx.streaming.depths.payoff import weighed
from tse_onnx.streaming.depths.result import Dataflow
from tse_onnx.streaming.network.machines import MachineLike, machine_of
from tse_onnx.streaming.network.network import Network
from tse_onnx.streaming.network.read import network_of


@dataclass(frozen=True)
class Comparison:
    """What a network holds before and after a conversion, where maps stream along a spatial `axis`."""

    before: Dataflow
    after: Dataflow
    networks: tuple[Network, Network] = field(repr=False)
    axis: int = 0

    def timelines(self, images: int | None = None) -> tuple[Occupancy, Occupancy]:
        """What both hold against time, over so many images, or as many as the slower of them needs to settle. Raises
        `UsageError` where so many have too many rows."""
        both = tuple(zip(self.networks, (self.before, self.after), strict=True))
        if images is None:
            images = max(settled(each.latency, each.rows) for each in (occupancy(*one) for one in both))
        else:
            images = bounded(images, self.before.height)
        before, after = (occupancy(*one, images) for one in both)
        return before, after


def compare(
    model: ModelLike,
    converted: ModelProto,
    *,
    input_shapes: Mapping[str, tuple[Dim, ...]] | None = None,
    machine: MachineLike | None = None,
    types: Types | None = None,
    trusted: Collection[str] = (),
    axis: int = 0,
) -> Comparison:
    """The figures of `model` and of what became of it; `types` are those of the model's main graph with these input
    shapes, where somebody has asked for them before, `trusted` values of `converted` whose sizes are known to be sound;
    `axis` is the spatial axis that both stream along. Raises what `tse_onnx.dataflow` raises."""
    machine = machine_of(machine)
    source, result = open_model(model), open_model(converted)
    networks = (
        network_of(source.model, bind(source, input_shapes or {}), types=types, axis=axis),
        network_of(result.model, bind(result, input_shapes or {}), trusted=trusted, axis=axis),
    )
    before, after = (weighed(network, measured(network, machine, source.title)) for network in networks)
    return Comparison(before, after, networks, axis)
