"""Where a run is: the rows that its places hold, and how far its stages are."""

from __future__ import annotations

from dataclasses import dataclass, field

from tse_onnx.streaming.execute.layout import Place, Step


@dataclass(slots=True)
class Room:
    """What places with one key have together during a run, in rows."""

    capacity: int
    held: int = 0
    peak: int = 0


@dataclass(slots=True)
class Store:
    """A place during a run: the rows that are there, and how many stages wait for each."""

    place: Place
    room: Room
    rows: set[int] = field(default_factory=set)
    waiting: dict[int, int] = field(default_factory=dict)
    came: int = 0

    @property
    def full(self) -> bool:
        """Whether no further row fits."""
        return self.room.held >= self.room.capacity


@dataclass(slots=True)
class Actor:
    """A stage during a run: the rows that it has `made` and, where it absorbs, `taken`, and those still `wanted`."""

    step: Step
    wanted: list[int]
    made: int = 0
    taken: int = 0
