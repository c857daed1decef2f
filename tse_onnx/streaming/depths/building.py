"""A network on a machine, as a pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

from tse_onnx.passes.graph.operators import operator
from tse_onnx.streaming.depths.fusion import fused, quantisers_fused
from tse_onnx.streaming.depths.pipeline import Link, Pipeline, Store
from tse_onnx.streaming.network.machine import FUSED, PER_READER, PIXEL, ROW, Machine
from tse_onnx.streaming.network.needs.rows import Need, everything
from tse_onnx.streaming.network.network import Network, Stage, Tensor
from tse_onnx.streaming.network.replay import sharing_of

_RESIZES = ("Resize", "Upsample")


def tokens_of(tensor: Tensor, grain: str) -> int:
    """Rows or pixels that a tensor comes in."""
    return tensor.row_count * (tensor.column_count if grain == PIXEL else 1)


def pipeline_of(network: Network, machine: Machine) -> Pipeline:
    """The pipeline of a network on a machine."""
    pipeline = every_node(network, machine)
    if machine.fusion:
        return fused(network, pipeline, joins=machine.joins == FUSED)
    return quantisers_fused(network, pipeline)


def every_node(network: Network, machine: Machine) -> Pipeline:
    """The pipeline of a network on a machine that has a stage for each node, whatever the machine says."""
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
            tuple((stage,) for stage in self._stages),
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
