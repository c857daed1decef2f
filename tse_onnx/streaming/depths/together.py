"""What the stores of a pipeline hold together at the least, whatever the schedule.

The rows between a fork and the join that waits for both of its branches may wait in any of the stores on their way, so
that no store has to hold them, and yet together they do. At the moment in which a stage makes a token, what must have
been made is known, and so is what cannot have been; all between is free. Of all such states, the one that holds least
is a smallest cut: no schedule passes that moment with less.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from tse_onnx.streaming.depths.flow import SINK, SOURCE, FlowGraph
from tse_onnx.streaming.depths.pipeline import Pipeline

_MOST_EVENTS = 50_000
"""Free events in the cuts of one pipeline, after which the best bound so far has to do: about a second."""


def together(
    pipeline: Pipeline, floor: Sequence[int], width: Sequence[int], enough: int
) -> tuple[int, tuple[int, ...]]:
    """Elements that all stores need together at the least, where store t holds `floor[t]` tokens of `width[t]` elements
    whatever happens; and the tokens of each in a state that holds no more. The search ends where `enough` is reached,
    which is known to do."""
    lines = _Lines(pipeline, floor, width)
    base = sum(room * each for room, each in zip(floor, width, strict=True))
    best, left = (0, tuple(floor)), _MOST_EVENTS
    moments = [_Moment(lines, stage, token) for stage, token in _joins(pipeline)]
    for moment in sorted(moments, key=lambda each: -each.at_most):
        left -= moment.free
        if moment.at_most <= best[0] or base + best[0] >= enough or left < 0:
            break
        best = max(best, moment.beyond_floors(), key=lambda found: found[0])
    return base + best[0], best[1]


def _joins(pipeline: Pipeline) -> list[tuple[int, int]]:
    """Where branches meet: stages that read several stores, with a first, a middle and a last token."""
    return [
        (stage, token)
        for stage, reads in enumerate(pipeline.reads)
        if len(reads) > 1
        for token in sorted({0, pipeline.count[stage] // 2, pipeline.count[stage] - 1})
    ]


@dataclass(frozen=True)
class _Holding:
    """What a store holds: tokens `used`, made in this order by the events of line `maker`; each reader, a line, has
    released n + 1 of them after its event `released[n]`, −1 where it never needs them."""

    store: int
    maker: int
    used: Sequence[int]
    readers: tuple[tuple[int, Sequence[int]], ...]


class _Lines:
    """Everything that happens, as lines of events in a fixed order: what each stage makes, then what each input gives,
    then what each stage absorbs.

    `count[line]` are its events. `after[line]` lists other lines with the last of their events that each of its own
    needs, −1 where it needs none; none of these lists falls.
    """

    def __init__(self, pipeline: Pipeline, floor: Sequence[int], width: Sequence[int]) -> None:
        stages = len(pipeline.reads)
        makers = list(pipeline.makers)
        self.count = [*pipeline.count, *(count for _, count in pipeline.sources)]
        for source, (group, _) in enumerate(pipeline.sources):
            for store in group:
                makers[store] = stages + source
        self.after: list[list[tuple[int, Sequence[int]]]] = [[] for _ in self.count]
        absorbers: dict[int, int] = {}
        for stage, reads in enumerate(pipeline.reads):
            if not pipeline.absorbs[stage]:
                self.after[stage] = [(makers[store], link.need.ready) for store, link in reads]
                continue
            ((store, link),) = reads
            absorbers[stage] = line = len(self.count)
            self.count.append(len(link.order))
            self.after[stage].append((line, [came - 1 for came in link.absorbed_by]))
            room = [bisect_right(link.absorbable, event) - 1 for event in range(len(link.order))]
            self.after.append([(makers[store], link.order), (stage, room)])
        self.floor, self.width = floor, width
        self.holdings = tuple(
            _holding(pipeline, store, makers[store], absorbers)
            for store, links in enumerate(pipeline.links)
            if links and width[store]
        )


def _holding(pipeline: Pipeline, store: int, maker: int, absorbers: dict[int, int]) -> _Holding:
    used = [token for token, uses in enumerate(pipeline.uses[store]) if uses]
    readers = []
    for stage, link in pipeline.links[store]:
        if stage in absorbers:
            releases = [-1] * (len(used) - len(link.order)) + list(range(len(link.order)))
            readers.append((absorbers[stage], releases))
        else:
            readers.append((stage, sorted(link.need.last_use[token] for token in used)))
    return _Holding(store, maker, used, tuple(readers))


class _Moment:
    """The moment in which a stage makes a token: it is stored, and what it is made of still is.

    `must[line]` events have happened in every state of that moment, and at most `may[line]`; `free` counts those
    between. `at_most` is what the state of the fewest events holds beyond the floors.
    """

    def __init__(self, lines: _Lines, stage: int, token: int) -> None:
        self._lines, self._stage, self._token = lines, stage, token
        self._must = [0] * len(lines.count)
        self._may = list(lines.count)
        self._settle(stage, token)
        self.free = sum(self._may) - sum(self._must)
        self.at_most = sum(
            lines.width[each.store] * max(0, self._held(each, self._must) - lines.floor[each.store])
            for each in lines.holdings
        )

    def _settle(self, stage: int, token: int) -> None:
        must, may, after = self._must, self._may, self._lines.after
        must[stage] = may[stage] = token
        for line, needs in after[stage]:
            must[line] = max(must[line], needs[token] + 1)
        changed = True
        while changed:
            changed = False
            for line in reversed(range(len(after))):
                for other, needs in after[line]:
                    if must[line] and needs[must[line] - 1] >= must[other]:
                        must[other] = needs[must[line] - 1] + 1
                        changed = True
        changed = True
        while changed:
            changed = False
            for line, others in enumerate(after):
                for other, needs in others:
                    if may[line] and needs[may[line] - 1] >= may[other]:
                        may[line] = bisect_left(needs, may[other])
                        changed = True

    def _held(self, holding: _Holding, happened: Sequence[int]) -> int:
        """Tokens in a store, where so many events of each line have happened."""
        made = bisect_left(holding.used, happened[holding.maker] + (holding.maker == self._stage))
        return made - min(made, *(bisect_left(released, happened[line]) for line, released in holding.readers))

    def beyond_floors(self) -> tuple[int, tuple[int, ...]]:
        """The least that the stores hold beyond their floors, in elements, over all states of the moment; and the
        tokens that they hold in such a state, their floors at the least."""
        graph, lines = FlowGraph(), self._lines
        first: list[int] = []
        for must, may in zip(self._must, self._may, strict=True):
            first.append(graph.node() if may > must else 0)
            for _ in range(must + 1, may):
                graph.node()

        # The source's side is what has happened by then.
        def at(line: int, event: int) -> int:
            if event < self._must[line]:
                return SOURCE
            return first[line] + event - self._must[line] if event < self._may[line] else SINK

        for line, others in enumerate(lines.after):
            for event in range(self._must[line], self._may[line]):
                # What happened before has happened, too: the event before would do, but ways would be as long as lines.
                back = 1
                while event - back >= self._must[line] and (event - self._must[line]) % back == 0:
                    graph.edge(at(line, event), at(line, event - back))
                    back *= 2
                for other, needs in others:
                    if needs[event] >= self._must[other]:
                        graph.edge(at(line, event), at(other, needs[event]))
        certain = 0
        for holding in lines.holdings:
            floor, width = lines.floor[holding.store], lines.width[holding.store]
            for number in range(floor, len(holding.used)):
                # One token more than the floor is held, if this one is made and the one `floor` before is not released.
                token = holding.used[number]
                mine = holding.maker == self._stage and token == self._token
                made = SOURCE if mine else at(holding.maker, token)
                if made == SINK:
                    break
                held_by = {
                    at(line, released[number - floor])
                    for line, released in holding.readers
                    if released[number - floor] >= self._must[line]
                }
                if not held_by:
                    continue
                if SINK in held_by:
                    gone = SINK
                elif len(held_by) == 1:
                    (gone,) = held_by
                else:
                    gone = graph.node()
                    for reader in held_by:
                        graph.edge(gone, reader)
                if made == SOURCE and gone == SINK:
                    certain += width
                else:
                    graph.edge(made, gone, width)
        beyond, side = graph.largest()
        happened = [
            must + sum(side[at(line, event)] for event in range(must, self._may[line]))
            for line, must in enumerate(self._must)
        ]
        held = list(lines.floor)
        for holding in lines.holdings:
            held[holding.store] = max(held[holding.store], self._held(holding, happened))
        return certain + beyond, tuple(held)
