"""A network ready to run: what each stage takes, and when each row may go, found out once for any number of runs.

It shares with the model which tensor's rows lie where, and in which order stages are asked. Everything else is its own:
which rows a stage takes, when a row may go, what fits. A row that is not taken raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tse_onnx.data.feed import Feed
from tse_onnx.streaming.execute.kernels.kernel import Absorber, Kernel
from tse_onnx.streaming.execute.layout import Key, Layout, Place, Step
from tse_onnx.streaming.execute.numbers import ROOM, Numbers, Seen, row_bytes
from tse_onnx.streaming.execute.run import Progress, Run, Streamed
from tse_onnx.streaming.network.network import Network
from tse_onnx.streaming.network.replay import Sharing


class Streamer:
    """A network that can be run row by row, any number of times."""

    def __init__(
        self, network: Network, kernels: Sequence[Kernel | None], absorbers: Sequence[Absorber | None], *,
        private: bool, sharing: Sharing,
    ) -> None:  # fmt: skip
        """`private`: every reading node has a store of its own; `sharing` says which stages are used twice."""
        self._tensors = network.tensors
        takes = [
            [kernel.takes(row) for row in range(network.tensors[stage.output].row_count)] if kernel is not None else []
            for stage, kernel in zip(network.stages, kernels, strict=True)
        ]
        serves = [
            [absorber.serves(row) for row in range(network.tensors[stage.inputs[0]].row_count)]
            if absorber is not None else []
            for stage, absorber in zip(network.stages, absorbers, strict=True)
        ]  # fmt: skip
        nodes = [sharing.node(number) if private else None for number in range(len(network.stages))]
        places = _places(network, takes, serves, nodes, sharing)
        self.layout = Layout(
            _steps(network, places, takes, serves, nodes, sharing, kernels, absorbers), places,
            {tensor.name: tensor.row_count for tensor in network.sources},
        )  # fmt: skip

    def at_once(self) -> dict[Key, int]:
        """The most rows of a store that one firing takes together: fewer can never do."""
        found: dict[Key, int] = {}
        for step in self.layout.steps:
            for takes in step.takes:
                for place, rows in takes:
                    key = self.layout.places[place].key
                    found[key] = max(found.get(key, 1), len(rows))
        return found

    def run(
        self,
        capacities: Mapping[Key, int] | None = None,
        feed: Feed | None = None,
        progress: Progress | None = None,
        seen: Seen | None = None,
        room: int = ROOM,
    ) -> Streamed:
        """Stream `feed`, or tokens without numbers, through stores of these capacities, or of any; `seen` is shown the
        rows that stages make, and strips of `room` bytes are computed at once."""
        numbers = None if feed is None else Numbers(self.layout, self._tensors, feed, seen, room)
        return Run(self.layout, capacities, progress, numbers).to_end()


Takes = Sequence[Sequence[Mapping[str, Sequence[int]]]]
"""By stage and row of its output, the rows that it takes."""
Serves = Sequence[Sequence[int | None]]
"""By stage and row of its input, the row of its output that it is absorbed for."""


def _places(
    network: Network, takes: Takes, serves: Serves, nodes: Sequence[int | None], sharing: Sharing
) -> list[Place]:
    """The stores of every tensor, with the last firing that takes each of their rows; by stage the node that it reads
    for, where every one has a store of its own."""
    last: dict[Key, dict[int, list[int]]] = {}
    for name in network.tensors:
        for node in [nodes[each] for each in network.readers[name]] or [None]:
            last[name, node] = {}
    for number, stage in enumerate(network.stages):
        for name in stage.inputs:
            rows = [-1] * network.tensors[name].row_count
            for row, served in enumerate(serves[number]):
                rows[row] = -1 if served is None else served
            for made, taken in enumerate(takes[number]):
                for row in taken.get(name, ()):
                    rows[row] = made
            last[name, nodes[number]][number] = rows
    makers: dict[str, list[int]] = {}
    for number, stage in enumerate(network.stages):
        makers.setdefault(sharing.home(stage.output), []).append(number)
    return [
        Place(
            name, (sharing.home(name), node), tuple(makers.get(sharing.home(name), ())), tuple(readers),
            [sum(rows[row] >= 0 for rows in readers.values()) for row in range(network.tensors[name].row_count)],
            readers, row_bytes(network.tensors[name]),
        )
        for (name, node), readers in last.items()
    ]  # fmt: skip


def _steps(
    network: Network, places: Sequence[Place], takes: Takes, serves: Serves, nodes: Sequence[int | None],
    sharing: Sharing, kernels: Sequence[Kernel | None], absorbers: Sequence[Absorber | None],
) -> list[Step]:  # fmt: skip
    number_of = {(place.tensor, place.key[1]): number for number, place in enumerate(places)}
    writes: dict[str, list[int]] = {}
    for number, place in enumerate(places):
        writes.setdefault(place.tensor, []).append(number)
    copies = {stage: copy for copy, stage in sharing.original.items()}
    made = []
    for number, stage in enumerate(network.stages):
        reads = {name: number_of[name, nodes[number]] for name in stage.inputs}
        height = network.tensors[stage.output].row_count
        used = sharing.original.get(number, number)
        made.append(
            Step(
                stage.label, stage.output, height, (-network.stages[used].depth, -used), kernels[number],
                absorbers[number], reads, tuple(writes[stage.output]),
                [tuple((reads[name], rows) for name, rows in taken.items()) for taken in takes[number]],
                [
                    tuple((reads[name], each) for name, rows in taken.items() for each in set(rows)
                          if places[reads[name]].last[number][each] == row)
                    for row, taken in enumerate(takes[number])
                ],
                serves[number],
                _counts(serves[number], height) if absorbers[number] is not None else [],
                copies.get(number), (used,) if used != number else (),
            )
        )  # fmt: skip
    return made


def _counts(serves: Sequence[int | None], height: int) -> list[int]:
    """How many rows go into each row of the output."""
    found = [0] * height
    for served in serves:
        if served is not None:
            found[served] += 1
    return found
