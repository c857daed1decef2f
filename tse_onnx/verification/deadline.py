"""How long verification may take, and native code that can be stopped."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tse_onnx.errors import CheckFailed

T = TypeVar("T")

_GRACE = 3.0
"""Seconds that native code has to return once it was told to stop."""
_running: set[threading.Thread] = set()


class Deadline:
    """The end of the time that verification has: `seconds` from now, or never."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._end = time.monotonic() + self._seconds

    def check(self) -> None:
        """Raise `CheckFailed` where the time is over: what was not proved by then is not proved."""
        if time.monotonic() > self._end:
            raise CheckFailed(
                f"verification was not done within its time limit of {self._seconds:g} s, so nothing is proved; "
                "a longer limit, fewer samples or more threads may do"
            )

    def remaining(self, at_most: float) -> float:
        """Seconds until the end, `at_most` that many."""
        return max(0.0, min(at_most, self._end - time.monotonic()))


def awaited(work: Callable[[], T], stop: Callable[[], object], deadline: Deadline) -> T:
    """The result of `work`, native code in which Python sees no signal: it runs in a thread of its own.

    An interrupt, and the end of the time, call `stop`, which should make `work` return early. They are raised once it
    has returned, or after some seconds: nothing stops a single operator, or the folding of constants.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            _running.discard(thread)
            done.set()

    thread = threading.Thread(target=run, daemon=True)
    _running.add(thread)
    try:
        thread.start()
        while not done.wait(deadline.remaining(at_most=1.0)):  # on some systems no signal ends a wait without a limit
            deadline.check()
    except BaseException:
        stop()
        done.wait(_GRACE)
        raise
    if errors:
        raise errors[0]
    return results[0]


def abandoned() -> bool:
    """Whether native code still runs that nobody waits for: the interpreter cannot end in an orderly way then."""
    return bool(_running)
