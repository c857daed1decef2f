"""The refusal of a rule: what a model says of a node does not go together.

It is an exception of its own because any other that a rule raises is a fault of the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Unfit(Exception):
    """A node's attributes, constants and shapes do not fit each other; the text says in what."""


def at(values: Sequence[_T], position: int, what: str) -> _T:
    """The entry of what a model states, `what` being its name. Raises `Unfit` where there is none."""
    if not -len(values) <= position < len(values):
        raise Unfit(f"{what} has no entry {position}")
    return values[position]
