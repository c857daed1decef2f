"""What a report is printed on: a terminal, drawn by rich, or plain text where nobody looks at it.

Importing rich takes longer than converting a model, so a pipe, a file or a job's log does without.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tse_onnx.passes.reasons import printable

if TYPE_CHECKING:
    import rich.table
    from rich.console import Console, ConsoleOptions, RenderResult


# Columns of a plain table stand this far apart.
_GAP = "  "
_UNBOUNDED = 1_000_000
_MARKS = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("?", "yellow")}


class Page(Protocol):
    """What takes lines and tables: rich's console, and whatever else a report is printed on."""

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks at it, in so many columns."""

    def print(
        self,
        what: object,
        /,
        *,
        style: str = "",
        markup: bool = False,
        highlight: bool = False,
        soft_wrap: bool = False,
    ) -> None:
        """Take a line or a table; how a terminal would show it counts there alone."""


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings, each with its style for rich; the columns numbered in `right` end on one line."""

    headings: Sequence[str]
    rows: Sequence[tuple[Sequence[str], str]]
    right: Sequence[int] = ()

    def __str__(self) -> str:
        lines = [self.headings, *(cells for cells, _ in self.rows)]
        widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
        return "\n".join(self._line(cells, widths) for cells in lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or, where the terminal is too narrow for it, its rows one below the other: no digit is cut off."""
        from rich.measure import Measurement
        from rich.text import Text

        table = self._drawn()
        if Measurement.get(console, options.update(max_width=_UNBOUNDED), table).maximum <= options.max_width:
            yield table
            return
        if self.headings[0]:  # which may be a title
            yield Text(self.headings[0], style="bold", overflow="fold")
        for cells, style in self.rows:
            for line in self._stacked(cells, options.max_width):
                yield Text(line, style=style, overflow="fold")

    def _stacked(self, cells: Sequence[str], width: int) -> Iterator[str]:
        """A row as lines: its first cell, then the others with their headings, as many to a line as there is room."""
        said = [f"{heading} {cell}".strip() for heading, cell in zip(self.headings[1:], cells[1:], strict=True) if cell]
        line = cells[0] or self.headings[0]
        for number, part in enumerate(said):
            if number and _width(line) + len(_GAP) + _width(part) <= width:
                line += _GAP + part
            else:
                yield line
                line = _GAP + part
        yield line

    def _drawn(self) -> rich.table.Table:
        import rich.table
        from rich.text import Text

        table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
        for number, heading in enumerate(self.headings):
            table.add_column(heading, justify="right" if number in self.right else "left", no_wrap=True)
        for cells, style in self.rows:
            table.add_row(*map(Text, cells), style=style)
        return table

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = []
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            space = " " * (width - _width(cell))
            padded.append(space + cell if number in self.right else cell + space)
        return _GAP.join(padded).rstrip()


class Plain:
    """A page of plain text: every line as long as it is, without style."""

    is_terminal = False

    def __init__(self, stderr: bool = False) -> None:
        self._stderr = stderr

    def print(self, what: object, **style: object) -> None:
        """Print a line or a table; how a terminal would show it is ignored."""
        print(what, file=sys.stderr if self._stderr else sys.stdout)


def page(stderr: bool = False) -> Page:
    """Where text for people goes: standard output or standard error.

    With NO_COLOR in the environment there are no escape sequences at all: bold and dim are of no use without colours.
    """
    stream = sys.stderr if stderr else sys.stdout
    if not (stream.isatty() or os.environ.get("FORCE_COLOR")):
        return Plain(stderr)
    try:
        from rich.console import Console
    except ImportError:  # doctor is to say so
        return Plain(stderr)

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1, which here means a failed check

    return Terminal(stderr=stderr, color_system=None if os.environ.get("NO_COLOR") else "auto")


def say(page: Page, text: str, style: str = "") -> None:
    """A line of text, fit for a terminal, as it is: no markup, no colours for numbers, no breaks in a pipe."""
    page.print(printable(text), style=style, markup=False, highlight=False, soft_wrap=not page.is_terminal)


def judge(page: Page, passed: bool | None, text: str) -> None:
    """A line about what was checked, with a mark that needs no colour; None is what could not be decided."""
    mark, style = _MARKS[passed]
    say(page, f"{mark} {text}", style)


def _width(text: str) -> int:
    """Columns that `text` takes on a screen."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) != 0 for letter in text)
