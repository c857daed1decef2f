"""How long verification may take, and native code that can be stopped."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tse_onnx.errors import CheckFailed

T = TypeVar("T")

_GRACE = 3.0
"""Seconds that native code has to return once it was told to stop."""
_running: set[threading.Event] = set()


class Deadline:
    """The end of the time that verification has: `seconds` from now, or never."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._end = time.monotonic() + self._seconds
        self._worker: _Worker | None = None

    def check(self) -> None:
        """Raise `CheckFailed` where the time is over: what was not proved by then is not proved."""
        if time.monotonic() > self._end:
            raise CheckFailed(
                f"verification was not done within its time limit of {self._seconds:g} s, so nothing is proved; "
                "a longer limit, fewer samples or more threads may do"
            )

    def awaited(self, work: Callable[[], T], stop: Callable[[], object]) -> T:
        """The result of `work`, native code in which Python sees no signal: it runs in a thread of its own.

        An interrupt, and the end of the time, call `stop`, which should make `work` return early. They are raised once
        it has returned, or after some seconds: nothing stops a single operator, or the folding of constants.
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
                _running.discard(done)
                done.set()

        worker = self._worker or _Worker()
        self._worker = None
        try:
            _running.add(done)
            worker.calls.put(run)
            while not done.wait(
                min(1.0, max(0.0, self._end - time.monotonic()))
            ):  # some systems interrupt no long wait
                self.check()
        except BaseException:
            stop()
            done.wait(_GRACE)
            raise
        self._worker = worker
        if errors:
            raise errors[0]
        return results[0]


class _Worker:
    """A thread that makes one call after another. It is the same for all sessions that share a deadline: memory that
    one thread gives back is not there for the next one."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self.calls,), daemon=True).start()

    def __del__(self) -> None:
        self.calls.put(None)


def _serve(calls: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        del call  # with the model that it holds


def abandoned() -> bool:
    """Whether native code still runs that nobody waits for: the interpreter cannot end in an orderly way then."""
    return bool(_running)
