"""What an interrupted run leaves, for whoever interrupts it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def keeping(kept: Callable[[], str | None]) -> Iterator[None]:
    """Where a run is interrupted, say what is `kept` of it by then, and that it was not for nothing."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if what := kept():
            error.args = (f"{what}, and the same command goes on from there",)
        raise


def kept_in(checkpoint: Path | None) -> str | None:
    """What is kept of a training in a checkpoint, None where there is none yet."""
    there = checkpoint is not None and checkpoint.exists()
    return f"the training so far is kept in {checkpoint}" if there else None
