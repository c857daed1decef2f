"""A page that keeps what is printed on it, for a document: the same lines and tables that people see in a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from tse_onnx.report.page import Table


@dataclass(frozen=True)
class Line:
    """A line of text, with its style."""

    text: str
    style: str = ""


class Sheet:
    """Collects lines and tables, in order."""

    is_terminal = False

    def __init__(self) -> None:
        self.items: list[Line | Table] = []

    def print(self, what: object, style: str = "", **_: object) -> None:
        """Keep a table or a line; an empty line is none."""
        if isinstance(what, Table):
            self.items.append(what)
        elif text := str(what).strip():
            self.items.append(Line(text, style))
