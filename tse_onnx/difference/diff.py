"""What changed from one report to another, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tse_onnx.difference.told import (
    BYTES,
    COUNT,
    DECIBELS,
    NATS,
    PART,
    Numbers,
    PathLike,
    Told,
    ToldBlock,
    read_report,
    told,
)
from tse_onnx.shown import Shown

_UNITS = {"converted": COUNT, "macs_added": COUNT, "agreement": PART, "kl": NATS, "sqnr_db": DECIBELS}


@dataclass(frozen=True)
class FigureChange:
    """A figure of both reports, in `unit`s; None where one of them has none."""

    name: str
    unit: str
    a: float | None
    b: float | None

    @property
    def changed(self) -> bool:
        """Whether it is another one."""
        return self.a != self.b

    @property
    def change(self) -> float | None:
        """How much more it is in the second report, None where it is not in both."""
        return None if self.a is None or self.b is None else self.b - self.a


@dataclass(frozen=True)
class BlockChange:
    """A block that became something else, or holds something else; None where a report does not know it."""

    name: str
    a: ToldBlock | None
    b: ToldBlock | None


@dataclass(frozen=True, repr=False)
class Diff(Shown):
    """What changed from report `a` to report `b`.

    `verdict` has every figure of both (those that both have, where the reports are of different commands), `network`
    and `tensors` those that changed; `blocks` are those that did, of `compared` that both know. `notes` say what makes
    the reports hard to compare: other models, machines, samples.
    """

    a: Told
    b: Told
    verdict: tuple[FigureChange, ...]
    network: tuple[FigureChange, ...]
    tensors: tuple[FigureChange, ...]
    blocks: tuple[BlockChange, ...]
    compared: int
    notes: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return not (self.blocks or self.network or self.tensors or any(figure.changed for figure in self.verdict))


def diff(a: PathLike | Mapping[str, Any], b: PathLike | Mapping[str, Any]) -> Diff:
    """What changed from report `a` to report `b`: files that `convert`, `report`, `tune`, `distil` or `stream` wrote as
    JSON, or the objects in them. Raises `UsageError` where one is no such report."""
    one, other = (
        told(dict(report), side) if isinstance(report, Mapping) else read_report(report)
        for side, report in (("a", a), ("b", b))
    )
    alike = one.schema == other.schema
    return Diff(
        one,
        other,
        _figures(one.verdict, other.verdict, alike),
        _changed(one.network, other.network),
        tuple(sorted(_changed(one.tensors, other.tensors), key=_size, reverse=True)),
        _blocks(one, other, alike),
        len(one.blocks.keys() & other.blocks.keys()),
        tuple(_notes(one, other)),
    )


def _names(a: Iterable[str], b: Iterable[str], alike: bool) -> list[str]:
    """Those of both; between reports that are `alike` also those of one alone, for there it says something."""
    return list(dict.fromkeys([*a, *b])) if alike else [name for name in a if name in set(b)]


def _figures(a: Numbers, b: Numbers, alike: bool) -> tuple[FigureChange, ...]:
    return tuple(FigureChange(name, _UNITS.get(name, BYTES), a.get(name), b.get(name)) for name in _names(a, b, alike))


def _changed(a: Numbers, b: Numbers) -> tuple[FigureChange, ...]:
    """The figures that changed, where both reports have such figures at all."""
    return tuple(figure for figure in _figures(a, b, alike=True) if figure.changed) if a and b else ()


def _size(figure: FigureChange) -> float:
    return abs((figure.b or 0) - (figure.a or 0))


def _blocks(a: Told, b: Told, alike: bool) -> tuple[BlockChange, ...]:
    if not (a.blocks and b.blocks):
        return ()
    pairs = ((name, a.blocks.get(name), b.blocks.get(name)) for name in _names(a.blocks, b.blocks, alike))
    return tuple(BlockChange(name, one, other) for name, one, other in pairs if _differ(one, other))


def _differ(a: ToldBlock | None, b: ToldBlock | None) -> bool:
    """Whether a block changed, by what both reports say of it."""
    if a is None or b is None:
        return True
    if a.choice != b.choice:
        return True
    figures = ((a.bytes, b.bytes), (a.macs_added, b.macs_added))
    return any(one != other for one, other in figures if one is not None and other is not None)


def _notes(a: Told, b: Told) -> list[str]:
    notes = []
    if a.schema != b.schema:
        notes.append(f"A is a {_command(a)} and B a {_command(b)}: what only one of them has is not compared")
    if a.model is not None and b.model is not None and a.model != b.model:
        notes.append(f"A is of {a.model}, B of {b.model}")
    if a.version != b.version:
        notes.append(f"A is by tse-onnx {a.version}, B by {b.version}")
    if a.machine is not None and b.machine is not None and a.machine != b.machine:
        names = [*a.machine, *(name for name in b.machine if name not in a.machine)]
        settings = ((name, a.machine.get(name), b.machine.get(name)) for name in names)
        listed = ", ".join(f"{name} {one} and {other}" for name, one, other in settings if one != other)
        notes.append(f"the whole networks are counted on other machines: {listed}")
    if a.samples is not None and b.samples is not None and a.samples != b.samples:
        notes.append(f"the accuracies are of other samples: {a.samples}, and {b.samples}")
    return notes


def _command(report: Told) -> str:
    return report.schema.split("/")[1]
