"""A page of GitHub-flavoured Markdown: tables and paragraphs to paste into a pull request."""

from __future__ import annotations

import re
import sys

from tse_onnx.report.page import Table

# What the syntax gives a meaning: anywhere (an underscore has none before a letter), and at the beginning of a line.
_ANYWHERE = re.compile(r"([\\`*{}\[\]<>|~&$]|_(?![^\W_]))")
_AT_THE_START = re.compile(r"^(\d*)([#+=.)-])")
_INDENT = "  "


class Markdown:
    """A page on which names out of a model stay as they are: whatever the syntax gives a meaning is escaped."""

    is_terminal = False

    def __init__(self, stderr: bool = False) -> None:
        self._stderr = stderr

    def print(self, what: object, style: str = "", **_: object) -> None:
        """Print a table, or a line as a paragraph; one that is indented is an item of a list."""
        text = _table(what) if isinstance(what, Table) else _line(str(what), style)
        if text:
            print(f"{text}\n", file=sys.stderr if self._stderr else sys.stdout)


def _line(text: str, style: str) -> str:
    said = _AT_THE_START.sub(r"\1\\\2", _escaped(text))
    return f"- {said}" if text.startswith(_INDENT) else _styled(said, style)


def _table(table: Table) -> str:
    rows = [
        [_escaped(heading) for heading in table.headings],
        ["---:" if number in table.right else "---" for number in range(len(table.headings))],
        *([_styled(_escaped(cell), style) for cell in cells] for cells, style in table.rows),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _escaped(text: str) -> str:
    return _ANYWHERE.sub(r"\\\1", " ".join(text.split()))


def _styled(text: str, style: str) -> str:
    return f"**{text}**" if text and style == "bold" else text
