"""A network before and after a conversion."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from onnx import ModelProto

from tse_onnx.decision.inputs import bind
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.graph.types import Dim, Types
from tse_onnx.streaming.depths.held import Sums
from tse_onnx.streaming.depths.model import measured
from tse_onnx.streaming.depths.occupancy import Occupancy, bounded, occupancy, settled
from tse_onnx.streaming.depths.payoff import weighed
from tse_onnx.streaming.depths.result import Dataflow
from tse_onnx.streaming.depths.total import total
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.machines import MachineLike, machine_of, need_stages
from tse_onnx.streaming.network.network import Network
from tse_onnx.streaming.network.read import network_of


@dataclass(frozen=True)
class Comparison:
    """What a network holds on a machine before and after a conversion, where maps stream along a spatial `axis`. It is
    counted when it is asked for."""

    title: str
    machine: Machine
    networks: tuple[Network, Network] = field(repr=False)
    axis: int = 0

    @cached_property
    def least(self) -> tuple[Sums, Sums]:
        """The least that it runs with, the `min` of both, without what `before` and `after` say beside it."""
        before, after = (total(network, self.machine, "min") for network in self.networks)
        return before, after

    @cached_property
    def before(self) -> Dataflow:
        """Every figure of the original."""
        return self._figures(self.networks[0])

    @cached_property
    def after(self) -> Dataflow:
        """Every figure of what became of it."""
        return self._figures(self.networks[1])

    def _figures(self, network: Network) -> Dataflow:
        return weighed(network, measured(network, self.machine, self.title))

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
    """The figures of `model` and of `converted`, which a pass made of it; `types` are those of the model's main graph
    with these input shapes, where somebody has asked for them before, `trusted` values of `converted` whose sizes are
    known to be sound; `axis` is the spatial axis that both stream along. Raises what `tse_onnx.stream` raises."""
    source = open_model(model)
    bound = bind(source, input_shapes or {})
    networks = (
        network_of(source.model, bound, types=types, axis=axis),
        network_of(converted, bound, trusted=trusted, axis=axis),
    )
    chosen = machine_of(machine)
    need_stages(chosen, *networks)
    return Comparison(source.title, chosen, networks, axis)
