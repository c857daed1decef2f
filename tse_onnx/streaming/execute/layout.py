"""What a run is of: stages, and the places between them, as data that a run does not change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tse_onnx.streaming.execute.kernels.kernel import Absorber, Kernel

Key = tuple[str, int | None]
"""A store: the tensor, and the node that it is for where every reading node has one of its own."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where the rows of a tensor are stored, of so many `bytes` each: by number of a reading stage the `last` firing
    that takes each row, −1 for none, and how many of the `readers` have a row `awaited`. `key` says in which room,
    which the rows of a copy share with those of its original; `makers` are the stages that fill it."""

    tensor: str
    key: Key
    makers: tuple[int, ...]
    readers: tuple[int, ...]
    awaited: Sequence[int]
    last: Mapping[int, Sequence[int]]
    bytes: int


@dataclass(frozen=True, eq=False)
class Step:
    """A stage, and its places by number: for each row of its output what it `takes`, and what it `drops` afterwards;
    where it absorbs, the row that each row of its input `serves`, and how many are `wanted` for each. Of a stage
    that is used twice the `copy` has to be done first, and what comes `again` follows."""

    label: str
    output: str
    height: int
    priority: tuple[int, int]
    kernel: Kernel | None
    absorber: Absorber | None
    reads: Mapping[str, int]
    writes: tuple[int, ...]
    takes: Sequence[Sequence[tuple[int, Sequence[int]]]]
    drops: Sequence[Sequence[tuple[int, int]]]
    serves: Sequence[int | None]
    wanted: Sequence[int]
    copy: int | None = None
    again: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Layout:
    """What is run: stages and places, which speak of each other by number, and the rows of each tensor that the world
    gives."""

    steps: Sequence[Step]
    places: Sequence[Place]
    heights: Mapping[str, int]
