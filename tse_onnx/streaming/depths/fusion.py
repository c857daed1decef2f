"""Stages that are one in hardware: a layer with the elementwise operators behind it, which keep no row of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from tse_onnx.passes.graph.operators import operator
from tse_onnx.streaming.depths.pipeline import Link, Pipeline
from tse_onnx.streaming.network.needs.rowwise import ONE_OPERAND, QUANTISERS, SPREAD_OPERANDS
from tse_onnx.streaming.network.network import Network, Stage

_FOLLOWERS = frozenset({*ONE_OPERAND, *SPREAD_OPERANDS, *QUANTISERS, "BatchNormalization"})


def quantisers_fused(network: Network, pipeline: Pipeline) -> Pipeline:
    """The pipeline with each QuantizeLinear and DequantizeLinear in the stage that makes what it reads: they say in
    which type a value is held, and hold nothing themselves."""
    if not any(operator(stage.node) in QUANTISERS for stage in network.stages):
        return pipeline
    return fused(network, pipeline, joins=False, followers=frozenset(QUANTISERS))


def fused(
    network: Network, pipeline: Pipeline, *, joins: bool = True, followers: Collection[str] | None = None
) -> Pipeline:
    """The pipeline with each layer and what follows it as one stage, which is the last of them.

    A tensor is made and used in one step where everything that reads it is an elementwise operator of the same stage
    and takes token i for token i. A stage has one layer that is not elementwise at most, and nothing that absorbs or
    accumulates rows. In a machine with a store for each reader, one that stages of it read is that of its first node.
    Without `joins` an operator is of no stage that does not make all that it reads. `followers` are the operators that
    are taken for elementwise, by default all that are.
    """
    followers = _FOLLOWERS if followers is None else followers
    follows = [
        operator(_network_stage(network, pipeline, stage).node) in followers and not pipeline.absorbs[stage]
        for stage in range(len(pipeline.reads))
    ]
    origin = [0] * len(pipeline.reads) if joins else _origins(pipeline, follows)
    end = list(range(len(pipeline.reads)))  # the last stage of the one that each belongs to
    layers = [0 if follows[stage] else 1 for stage in end]
    inside: set[int] = set()  # stores that are none any more
    for stage in reversed(range(len(end))):
        links = [(reader, link) for store in pipeline.writes[stage] for reader, link in pipeline.links[store]]
        ends = {end[reader] for reader, _ in links}
        if len(ends) != 1 or pipeline.absorbs[stage] or _network_stage(network, pipeline, stage).accumulates:
            continue
        (last,) = ends
        if network.tensors[pipeline.stores[pipeline.writes[stage][0]].tensor].leaves:
            continue
        follow = all(follows[reader] and _same(link) and origin[reader] == origin[stage] for reader, link in links)
        if follow and layers[last] + layers[stage] <= 1:
            end[stage] = last
            layers[last] += layers[stage]
            inside.update(pipeline.writes[stage])
    return _joined(network, pipeline, end, inside)


def _origins(pipeline: Pipeline, follows: Sequence[bool]) -> list[int]:
    """For each stage the one from which all comes that it makes, by way of elementwise operators alone."""
    found: list[int] = []
    for stage, reads in enumerate(pipeline.reads):
        makers = {pipeline.makers[store] for store, _ in reads}
        above = {found[maker] if maker >= 0 else maker for maker in makers}
        mine = len(above) == 1 and min(above) >= 0 and follows[stage]
        found.append(above.pop() if mine else stage)
    return found


def _network_stage(network: Network, pipeline: Pipeline, stage: int) -> Stage:
    return network.stages[pipeline.stages[stage]]


def _same(link: Link) -> bool:
    """Whether token i is needed for token i alone."""
    tokens = tuple(range(link.need.size))
    return link.need.ready == tokens and link.need.last_use == tokens


def _joined(network: Network, pipeline: Pipeline, end: list[int], inside: set[int]) -> Pipeline:
    members: dict[int, list[int]] = {}
    for stage, last in enumerate(end):
        members.setdefault(last, []).append(stage)
    lasts = sorted(members)
    same = _one_for_each_reader(pipeline, [members[last] for last in lasts])
    kept = [store for store in range(len(pipeline.stores)) if store not in inside and same.get(store, store) == store]
    number = {store: new for new, store in enumerate(kept)}
    number |= {store: number[first] for store, first in same.items() if store not in inside}
    first = {member: network.stages[pipeline.stages[members[last][0]]].position for member, last in enumerate(end)}
    stores = [pipeline.stores[store] for store in kept]
    for new, store in enumerate(kept):
        if stores[new].reader is not None and pipeline.links[store]:
            stores[new] = replace(stores[new], reader=first[pipeline.links[store][0][0]])
    return replace(
        pipeline,
        stores=tuple(stores),
        reads=tuple(
            tuple((number[store], link) for stage in members[last] for store, link in pipeline.reads[stage]
                  if store in number)
            for last in lasts
        ),
        writes=tuple(_renamed(number, pipeline.writes[last]) for last in lasts),
        count=tuple(pipeline.count[last] for last in lasts),
        absorbs=tuple(pipeline.absorbs[last] for last in lasts),
        sources=tuple((_renamed(number, group), count) for group, count in pipeline.sources),
        stages=tuple(pipeline.stages[last] for last in lasts),
        depth=tuple(pipeline.depth[last] for last in lasts),
        members=tuple(tuple(pipeline.stages[stage] for stage in members[last]) for last in lasts),
    )  # fmt: skip


def _renamed(number: Mapping[int, int], stores: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(number[store] for store in stores))


def _one_for_each_reader(pipeline: Pipeline, groups: Sequence[Sequence[int]]) -> dict[int, int]:
    """Where every reader has a store of its own, those of one tensor that stages of one group read are one: for each
    the first of them."""
    same: dict[int, int] = {}
    for group in groups:
        first: dict[str, int] = {}
        for store in (store for stage in group for store, _ in pipeline.reads[stage]):
            if pipeline.stores[store].reader is not None:
                same[store] = first.setdefault(pipeline.stores[store].tensor, store)
    return same
