"""Work on many things in several processes, of which any may die or not come to an end."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
_FORK = multiprocessing.get_context("fork")


class Lost(Exception):
    """A process died at its work, or was killed because it took too long."""


class _Worker(Generic[Item]):
    """A process, and what it works on until when."""

    def __init__(self, work: Callable[[Item], Any]) -> None:
        self.pipe, there = _FORK.Pipe()
        self._process = _FORK.Process(target=_serve, args=(there, work), daemon=True)
        self._process.start()
        there.close()

    def give(self, item: Item, seconds: float) -> None:
        self.item, self.until = item, monotonic() + seconds
        self.pipe.send(item)

    def found(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            self._process.join()
            return Lost(f"its process ended with {self._process.exitcode}")

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def worked(work: Callable[[Item], Any], items: Sequence[Item], jobs: int, seconds: float) -> Iterator[tuple[Item, Any]]:
    """What `work` made of each item, as it comes, or `Lost` where a process died or took more than so many seconds.

    Processes are forked, so that they have what this one has imported and made.
    """
    waiting = iter(items)
    running: dict[Connection, _Worker[Item]] = {}

    def go_on(worker: _Worker[Item]) -> None:
        for item in waiting:
            worker.give(item, seconds)
            running[worker.pipe] = worker
            return
        worker.end()

    try:
        for _ in range(min(jobs, len(items))):
            go_on(_Worker(work))
        while running:
            soonest = min(worker.until for worker in running.values())
            ready = wait(list(running), max(soonest - monotonic(), 0.0))
            late = [pipe for pipe, worker in running.items() if pipe not in ready and worker.until <= monotonic()]
            for pipe in (*ready, *late):
                worker = running.pop(pipe)
                found = Lost(f"not done after {seconds:g} seconds") if pipe in late else worker.found()
                yield worker.item, found
                if isinstance(found, Lost):
                    worker.end()
                    worker = _Worker(work)
                go_on(worker)
    finally:
        for worker in running.values():
            worker.end()


def _serve(pipe: Connection, work: Callable[[Item], Any]) -> None:
    while True:
        pipe.send(work(pipe.recv()))
