"""One total of a network, without what `measured` finds out beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tse_onnx.streaming.depths.building import pipeline_of
from tse_onnx.streaming.depths.held import Held, Sums, carried, held_of, token_elements
from tse_onnx.streaming.depths.least import least
from tse_onnx.streaming.depths.pipeline import Pipeline
from tse_onnx.streaming.depths.schedule import depths
from tse_onnx.streaming.depths.simulate import simulate
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.network import Network


def total(network: Network, machine: Machine, figure: str) -> Sums:
    """`measured(...).totals[figure]` for a key of `COUNTED`."""
    pipeline = pipeline_of(network, machine)
    found = COUNTED[figure](network, machine, pipeline)
    held = [
        held_of(network.tensors[store.tensor], machine, depth)
        for store, depth in zip(pipeline.stores, found, strict=True)
    ] + carried(network, machine)
    return Sums(sum(each.elements for each in held), sum(each.bytes for each in held))


def _asap(network: Network, machine: Machine, pipeline: Pipeline) -> Sequence[int]:
    return simulate(pipeline).peaks


def _min(network: Network, machine: Machine, pipeline: Pipeline) -> Sequence[int]:
    width = [token_elements(network.tensors[store.tensor], machine) for store in pipeline.stores]
    return least(pipeline, None, width).capacities


COUNTED: Mapping[str, Callable[[Network, Machine, Pipeline], Sequence[int]]] = {
    "asap": _asap, "min": _min, "no_stall": depths,
}  # fmt: skip
"""By figure, how many tokens each store of a network holds on a machine."""


def held_at_least(network: Network, machine: Machine | None = None) -> Mapping[str, Held]:
    """What each tensor holds at `min`, by its name, all of its readers together; on the ideal machine if None."""
    return held_by_tensor(network, machine or Machine(), "min")


def held_by_tensor(network: Network, machine: Machine, figure: str) -> Mapping[str, Held]:
    """What each tensor holds at a key of `COUNTED`, by its name, all of its readers together."""
    pipeline, held = pipeline_of(network, machine), dict[str, Held]()
    for store, depth in zip(pipeline.stores, COUNTED[figure](network, machine, pipeline), strict=True):
        tensor = network.tensors[store.tensor]
        here, before = held_of(tensor, machine, depth), held.get(tensor.name, Held(0, 0, 0, 0))
        held[tensor.name] = Held(
            max(here.rows, before.rows), max(here.depth, before.depth),
            here.elements + before.elements, here.bytes + before.bytes,
        )  # fmt: skip
    return held
