"""How far long work is, for people who wait at a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

Progress = Callable[[int, int], None]
Stages = Callable[[str, float, float], None]


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Progress | None]:
    """A bar with the time left on standard error, where that is a terminal."""
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


@contextlib.contextmanager
def stages_bar() -> Iterator[Stages | None]:
    """The same for work in several stages, each with a name and parts that are not counted in whole numbers."""
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task, now = bar.add_task("starting", total=None), ""

        def show(what: str, done: float, total: float) -> None:
            nonlocal now
            if what != now:
                now = what
                bar.reset(task, description=what)
            bar.update(task, completed=done, total=total or None)

        yield show
