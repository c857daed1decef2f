"""A network as the simulation runs it: stages and stores by number, tokens that are rows or pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

from tse_onnx.streaming.network.machine import PER_READER, PIXEL, Machine
from tse_onnx.streaming.network.needs.rows import Need
from tse_onnx.streaming.network.network import Network, Stage, Tensor


@dataclass(frozen=True, eq=False)
class Link:
    """What one stage reads from one store, in tokens: see `Need`. `row` counts the tokens of one output row."""

    need: Need
    row: int = 1

    @cached_property
    def absorbed_by(self) -> tuple[int, ...]:
        """Tokens to absorb before each output token can be made."""
        came = list(accumulate(use >= 0 for use in self.need.last_use))
        return tuple(came[ready] if ready >= 0 else 0 for ready in self.need.ready)

    @cached_property
    def absorbable(self) -> tuple[int, ...]:
        """Tokens that fit in the accumulator row while each output token is the next to be made."""
        upto, row = self.absorbed_by, self.row
        return tuple(upto[min(len(upto) - 1, made - made % row + row - 1)] for made in range(len(upto)))

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The tokens that are absorbed, in their order."""
        return tuple(token for token, use in enumerate(self.need.last_use) if use >= 0)


@dataclass(frozen=True)
class Store:
    """Where the tokens of a tensor wait: for all of its readers, or for those of one node."""

    tensor: str
    tokens: int
    reader: int | None = None


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Stages by number with what they read and where they write; `sources` are the stores that the world fills.

    `reads[s]` lists (store, link), `writes[s]` the stores of stage s's tensor, `count[s]` its tokens; `links[t]` lists
    (stage, link) per store; `priority[s]` is small for a stage that fires first: the deepest.
    """

    stores: tuple[Store, ...]
    reads: tuple[tuple[tuple[int, Link], ...], ...]
    writes: tuple[tuple[int, ...], ...]
    count: tuple[int, ...]
    absorbs: tuple[bool, ...]
    sources: tuple[tuple[tuple[int, ...], int], ...]
    stages: tuple[int, ...]
    depth: tuple[int, ...]

    @cached_property
    def links(self) -> tuple[tuple[tuple[int, Link], ...], ...]:
        """(stage, link) of each store."""
        found: list[list[tuple[int, Link]]] = [[] for _ in self.stores]
        for stage, reads in enumerate(self.reads):
            for store, link in reads:
                found[store].append((stage, link))
        return tuple(map(tuple, found))

    @cached_property
    def makers(self) -> tuple[int, ...]:
        """The stage that fills each store; −1 for the world."""
        found = [-1] * len(self.stores)
        for stage, writes in enumerate(self.writes):
            for store in writes:
                found[store] = stage
        return tuple(found)

    @cached_property
    def uses(self) -> tuple[tuple[int, ...], ...]:
        """For each store, by how many readers each token is awaited."""
        found = []
        for store, links in enumerate(self.links):
            counts = [0] * self.stores[store].tokens
            for _, link in links:
                for token, use in enumerate(link.need.last_use):
                    counts[token] += use >= 0
            found.append(tuple(counts))
        return tuple(found)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Stages as they are asked to fire: the deepest first, of equally deep ones the later in the graph."""
        return tuple(sorted(range(len(self.reads)), key=lambda stage: (-self.depth[stage], -stage)))

    def part(self, stages: Sequence[int]) -> tuple[Pipeline, tuple[int, ...]]:
        """The pipeline of some stages alone, what others make given by the world; and the numbers that its stores have
        in this one."""
        inside = set(stages)
        stores = sorted({store for stage in stages for store in (*self.writes[stage], *dict(self.reads[stage]))})
        number = {store: position for position, store in enumerate(stores)}
        outside: dict[int, list[int]] = {}
        given: list[tuple[tuple[int, ...], int]] = []
        for store in stores:
            maker = self.makers[store]
            if maker not in inside and maker >= 0:
                outside.setdefault(maker, []).append(number[store])
        given.extend((tuple(each), self.count[maker]) for maker, each in outside.items())
        for group, count in self.sources:
            kept = tuple(number[store] for store in group if store in number)
            if kept:
                given.append((kept, count))
        made = Pipeline(
            tuple(self.stores[store] for store in stores),
            tuple(tuple((number[store], link) for store, link in self.reads[stage]) for stage in stages),
            tuple(tuple(number[store] for store in self.writes[stage]) for stage in stages),
            tuple(self.count[stage] for stage in stages),
            tuple(self.absorbs[stage] for stage in stages),
            tuple(given),
            tuple(self.stages[stage] for stage in stages),
            tuple(self.depth[stage] for stage in stages),
        )
        return made, tuple(stores)


def tokens_of(tensor: Tensor, grain: str) -> int:
    """Rows or pixels that a tensor comes in."""
    return tensor.row_count * (tensor.column_count if grain == PIXEL else 1)


def pipeline_of(network: Network, machine: Machine) -> Pipeline:
    """The pipeline of a network on a machine."""
    stores: list[Store] = []
    homes: dict[str, dict[int | None, int]] = {}
    for name, tensor in network.tensors.items():
        nodes: Iterable[int | None] = (None,)
        if machine.storage == PER_READER:
            nodes = dict.fromkeys(network.stages[stage].position for stage in network.readers[name]) or (None,)
        homes[name] = {}
        for node in nodes:
            homes[name][node] = len(stores)
            stores.append(Store(name, tokens_of(tensor, machine.grain), node))
    reads = []
    for stage in network.stages:
        links = []
        for number, name in enumerate(stage.inputs):
            home = homes[name]
            links.append((home.get(stage.position, home.get(None, -1)), _link(network, stage, number, machine.grain)))
        reads.append(tuple(links))
    return Pipeline(
        tuple(stores),
        tuple(reads),
        tuple(tuple(homes[stage.output].values()) for stage in network.stages),
        tuple(tokens_of(network.tensors[stage.output], machine.grain) for stage in network.stages),
        tuple(
            stage.absorbs and (machine.grain != PIXEL or _columns_absorb(network, stage)) for stage in network.stages
        ),
        tuple((tuple(homes[each.name].values()), tokens_of(each, machine.grain)) for each in network.sources),
        tuple(range(len(network.stages))),
        tuple(stage.depth for stage in network.stages),
    )


def _link(network: Network, stage: Stage, number: int, grain: str) -> Link:
    if grain != PIXEL:
        return Link(stage.needs[number])
    made = network.tensors[stage.output]
    return Link(_raster(stage.needs[number], network.column_need(stage, number)), made.column_count)


def _columns_absorb(network: Network, stage: Stage) -> bool:
    need = network.column_need(stage, 0)
    return need.disjoint or len(need.rows) == 1


@lru_cache(maxsize=1024)
def _raster(rows: Need, columns: Need) -> Need:
    """The need of pixels in raster order, from those of rows and of columns."""
    return _Raster(rows.size * columns.size, (), rows, columns)


@dataclass(frozen=True, eq=False)
class _Raster(Need):
    """The product of two needs: a pixel needs the pixels in its rows and in its columns."""

    down: Need
    across: Need

    @cached_property
    def ready(self) -> tuple[int, ...]:
        width = self.across.size
        return tuple(
            accumulate(
                (
                    -1 if not rows or not columns else max(rows) * width + max(columns)
                    for rows in self.down.rows
                    for columns in self.across.rows
                ),
                max,
            )
        )

    @cached_property
    def last_use(self) -> tuple[int, ...]:
        width = len(self.across.rows)
        return tuple(
            -1 if down < 0 or across < 0 else down * width + across
            for down in self.down.last_use
            for across in self.across.last_use
        )
