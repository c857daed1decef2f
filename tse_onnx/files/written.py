"""What a run has written for good, so that whoever interrupts it can be told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_NOTES: ContextVar[list[str] | None] = ContextVar("notes of what was written", default=None)


@contextlib.contextmanager
def noting() -> Iterator[list[str]]:
    """The titles of the outputs that get their names meanwhile and keep them, in a list that grows."""
    notes: list[str] = []
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def note(title: str) -> None:
    """An output was written for good."""
    notes = _NOTES.get()
    if notes is not None:
        notes.append(title)
