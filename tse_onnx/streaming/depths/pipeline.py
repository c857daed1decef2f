"""A network as the simulation runs it: stages and stores by number, tokens that are rows or pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from tse_onnx.streaming.network.needs.rows import Need


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
    (stage, link) per store; `stages[s]` is the network's stage, and `members[s]` all that are one with it, itself the
    last.
    """

    stores: tuple[Store, ...]
    reads: tuple[tuple[tuple[int, Link], ...], ...]
    writes: tuple[tuple[int, ...], ...]
    count: tuple[int, ...]
    absorbs: tuple[bool, ...]
    sources: tuple[tuple[tuple[int, ...], int], ...]
    stages: tuple[int, ...]
    depth: tuple[int, ...]
    members: tuple[tuple[int, ...], ...] = ()

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
