"""A network as the simulation runs it: stages and stores by number, tokens that are rows or pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

from tse_onnx.passes.graph.operators import operator
from tse_onnx.streaming.network.machine import PER_READER, PIXEL, ROW, Machine
from tse_onnx.streaming.network.needs.rows import Need, everything
from tse_onnx.streaming.network.network import Network, Stage, Tensor
from tse_onnx.streaming.network.replay import sharing_of


@dataclass(frozen=True, eq=False)
class Link:
    """What one stage reads from one store, in tokens: see `Need`. `row` counts the tokens of one output row; `runs` are
    the needs of each time that the stage goes over the store, where it does so more than once or the store is filled
    more than once."""

    need: Need
    row: int = 1
    runs: tuple[Need, ...] = ()

    @property
    def window(self) -> int:
        """The most tokens that one run needs at once."""
        return max(need.window for need in self.runs or (self.need,))

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
    """Where the tokens of a tensor wait: for all of its readers, or for those of one node. With two `runs` half of the
    tokens are those of a copy, which the same stage makes first."""

    tensor: str
    tokens: int
    reader: int | None = None
    runs: int = 1


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
    def readers(self) -> dict[str, tuple[int, ...]]:
        """The stages that read each tensor, from whichever of its stores."""
        found: dict[str, set[int]] = {store.tensor: set() for store in self.stores}
        for store, links in zip(self.stores, self.links, strict=True):
            found[store.tensor].update(stage for stage, _ in links)
        return {name: tuple(sorted(stages)) for name, stages in found.items()}

    @cached_property
    def runs(self) -> tuple[int, ...]:
        """How often each stage goes over an image."""
        return tuple(max([1, *(self.stores[store].runs for store in writes)]) for writes in self.writes)

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


_RESIZES = ("Resize", "Upsample")


def tokens_of(tensor: Tensor, grain: str) -> int:
    """Rows or pixels that a tensor comes in."""
    return tensor.row_count * (tensor.column_count if grain == PIXEL else 1)


def pipeline_of(network: Network, machine: Machine) -> Pipeline:
    """The pipeline of a network on a machine."""
    return _Builder(network, machine).build()


class _Builder:
    """Numbers the stages and stores of a network on a machine.

    A stage that is used twice makes the tokens of its copy first, then its own: two runs, in one store.
    """

    def __init__(self, network: Network, machine: Machine) -> None:
        self._network, self._machine = network, machine
        self._sharing = sharing_of(network, machine)
        self._copies = {stage: copy for copy, stage in self._sharing.original.items()}
        self._stages = [number for number in range(len(network.stages)) if number not in self._sharing.original]
        self._stores: list[Store] = []
        self._homes: dict[str, dict[int | None, int]] = {}

    def build(self) -> Pipeline:
        network = self._network
        self._add_stores()
        return Pipeline(
            tuple(self._stores),
            tuple(tuple(self._reads(stage)) for stage in self._stages),
            tuple(tuple(self._homes[network.stages[stage].output].values()) for stage in self._stages),
            tuple(self._made(network.stages[stage].output) for stage in self._stages),
            tuple(self._absorbs(network.stages[stage]) for stage in self._stages),
            tuple((tuple(self._homes[each.name].values()), self._tokens(each.name)) for each in network.sources),
            tuple(self._stages),
            tuple(network.stages[stage].depth for stage in self._stages),
        )

    def _add_stores(self) -> None:
        sharing = self._sharing
        readers: dict[str, dict[int | None, None]] = {}
        for name, stages in self._network.readers.items():
            readers.setdefault(sharing.home(name), {}).update(dict.fromkeys(map(sharing.node, stages)))
        for name in self._network.tensors:
            if sharing.home(name) != name:
                continue
            nodes: Iterable[int | None] = (None,)
            if self._machine.storage == PER_READER:
                nodes = readers[name] or (None,)
            self._homes[name] = {}
            for node in nodes:
                self._homes[name][node] = len(self._stores)
                self._stores.append(Store(name, self._made(name), node, 1 + (name in sharing.twice)))

    def _tokens(self, name: str) -> int:
        return tokens_of(self._network.tensors[name], self._machine.grain)

    def _made(self, name: str) -> int:
        return self._tokens(name) * (1 + (name in self._sharing.twice))

    def _reads(self, number: int) -> list[tuple[int, Link]]:
        """What a stage reads, in one run or in two."""
        network, sharing = self._network, self._sharing
        runs = [network.stages[each] for each in (self._copies.get(number), number) if each is not None]
        count = self._tokens(runs[0].output)
        row = network.tensors[runs[0].output].column_count if self._machine.grain == PIXEL else 1
        links = []
        for slot in range(len(runs[0].inputs)):
            parts: dict[int, list[_Part]] = {}
            for run, stage in enumerate(runs):
                name = stage.inputs[slot]
                home = self._homes[sharing.home(name)]
                store = home.get(sharing.node(number), home.get(None, -1))
                read = self._tokens(name) if name in sharing.twice else 0
                parts.setdefault(store, []).append(_Part(self._need(stage, slot), read, count * run))
            for store, each in parts.items():
                if len(runs) == 1 and self._stores[store].runs == 1:
                    links.append((store, Link(each[0].need, row)))
                else:
                    need = _Replayed(self._stores[store].tokens, (), tuple(each), count * len(runs))
                    links.append((store, Link(need, row, tuple(part.need for part in each))))
        return links

    def _need(self, stage: Stage, slot: int) -> Need:
        if self._machine.grain != PIXEL:
            return stage.needs[slot]
        across = self._network.column_need(stage, slot)
        if self._machine.resize == ROW and operator(stage.node) in _RESIZES:
            across = everything(across.size, len(across.rows))
        return _raster(stage.needs[slot], across)

    def _absorbs(self, stage: Stage) -> bool:
        if not stage.absorbs or self._machine.grain != PIXEL:
            return stage.absorbs
        need = self._network.column_need(stage, 0)
        return need.disjoint or len(need.rows) == 1


@dataclass(frozen=True)
class _Part:
    """What one run of a stage needs: its tokens begin at `made`, those of the store that it reads at `read`."""

    need: Need
    read: int
    made: int


@dataclass(frozen=True, eq=False)
class _Replayed(Need):
    """The needs of `count` tokens that are made in several runs, or that read one of two runs."""

    parts: tuple[_Part, ...]
    count: int

    @cached_property
    def ready(self) -> tuple[int, ...]:
        found = [-1] * self.count
        for part in self.parts:
            for token, upto in enumerate(part.need.ready, part.made):
                found[token] = upto + part.read if upto >= 0 else -1
        return tuple(accumulate(found, max))

    @cached_property
    def last_use(self) -> tuple[int, ...]:
        found = [-1] * self.size
        for part in self.parts:
            for token, use in enumerate(part.need.last_use, part.read):
                found[token] = max(found[token], use + part.made if use >= 0 else -1)
        return tuple(found)


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
