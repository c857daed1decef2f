"""A few lines of HTML for a notebook: what is said first of a result, and the beginning of its first table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tse_onnx.report.html.sheet import Line, Sheet
from tse_onnx.report.page import Table
from tse_onnx.report.view import View

_MOST = 12  # rows of a table


def fragment(view: View, lines: Sequence[str]) -> str:
    """The HTML of a view, which these `lines` introduce."""
    sheet = Sheet()
    view.print(sheet)
    said = [f"<div>{escape(line)}</div>" for line in lines]
    table = next((item for item in sheet.items if not isinstance(item, Line)), None)
    return "".join([*said, *([] if table is None else [_table(table)])])


def _table(table: Table) -> str:
    rows = [_row(cells, "td", table.right) for cells, _ in table.rows[:_MOST]]
    more = len(table.rows) - _MOST
    rest = f"<div>{more} more row{'s' * (more != 1)}: <code>summary()</code> has all.</div>" if more > 0 else ""
    heads = _row(table.headings, "th", table.right)
    return f"<table><thead>{heads}</thead><tbody>{''.join(rows)}</tbody></table>{rest}"


def _row(cells: Sequence[str], tag: str, right: Sequence[int]) -> str:
    made = (
        f'<{tag} style="text-align:{"right" if number in right else "left"}">{escape(cell)}</{tag}>'
        for number, cell in enumerate(cells)
    )
    return f"<tr>{''.join(made)}</tr>"
