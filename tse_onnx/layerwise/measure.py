"""Changes of a network, measured one at a time, each behind the cut before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from onnx import ModelProto

from tse_onnx.layerwise.energy import Energy
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.runtime.cuts import Cuts, Stretch, Values


@dataclass(frozen=True)
class Change:
    """A part of the network that is changed in some ways, each of which has a name.

    `at` is the place in the order of execution where its first node runs; `made` are the values by which all that is
    behind knows of the change; `watched` are those that it is judged by on the spot, each by its name in the network
    and once it is changed.
    """

    name: str
    at: int
    ways: Mapping[str, Edit] = field(repr=False)
    made: tuple[str, ...]
    watched: tuple[tuple[str, str], ...]


@dataclass
class Loss:
    """What a change loses: at each output of the network, and on the spot."""

    outputs: dict[str, Energy]
    local: Energy


Key = tuple[str, str]
"""The name of a change, and that of a way."""


class Measuring:
    """Measures changes, part of the samples by part, and adds up what they lose."""

    def __init__(self, cuts: Cuts, header: ModelProto, changes: Sequence[Change], outputs: Sequence[str]) -> None:
        self._cuts, self._header, self._outputs = cuts, header, tuple(outputs)
        self._changes = sorted(changes, key=lambda change: change.at)
        self.losses: dict[Key, Loss] = {
            (change.name, way): Loss({name: Energy() for name in outputs}, Energy())
            for change in self._changes
            for way in change.ways
        }

    def add(self, starts: Sequence[Values], references: Sequence[Values]) -> Iterator[Change]:
        """Take batches into account: what the network is fed with, and what it makes of that. Each change as it is
        measured."""
        values = list(starts)
        for change in self._changes:
            names, watched = self._cuts.before(change.at), [name for name, _ in change.watched]
            wanted = [name for name in dict.fromkeys((*names, *watched)) if name not in values[0]]
            forward, natural = self._cuts.opened(values[0], wanted), list[Values]()
            for number, held in enumerate(values):
                known = {**held, **forward.run(held)}
                values[number] = {name: known[name] for name in names}
                natural.append({name: known[name] for name in watched})
            self._measure(change, values, natural, references)
            yield change

    def _measure(
        self, change: Change, values: Sequence[Values], natural: Sequence[Values], references: Sequence[Values]
    ) -> None:
        """Measure a change behind the `values` at the cut before it; `natural` is what it is judged by on the spot."""
        reached = self._cuts.reached(position for edit in change.ways.values() for position in edit.nodes)
        bearing = [name for name in self._outputs if name in reached]
        behind: Stretch | None = None
        for way, edit in change.ways.items():
            part = self._cuts.opened(values[0], self._wanted(change), edit, self._header)
            loss = self.losses[change.name, way]
            for held, was, reference in zip(values, natural, references, strict=True):
                made = part.run(held)
                for name, changed in change.watched:
                    loss.local.add(was[name], made[changed])
                known = {**held, **made}
                if behind is None:
                    rest = [name for name in bearing if name not in made]
                    behind = self._cuts.opened(known, rest, edit, self._header)
                outputs = {**made, **behind.run(known)}
                for name, energy in loss.outputs.items():
                    energy.add(reference[name], outputs[name] if name in bearing else reference[name])

    def _wanted(self, change: Change) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*change.made, *(name for _, name in change.watched))))
