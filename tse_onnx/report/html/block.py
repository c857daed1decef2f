"""A block's picture: its map, how it is cut, and how much of it waits for a gate, before and after."""

from __future__ import annotations

from tse_onnx.decision.buffering import BlockBuffering
from tse_onnx.report.html.figure import Figure, label, svg

_WIDE, _HIGH, _TOP, _BETWEEN, _LEFT, _MOST_LINES = 150.0, 130.0, 26.0, 130.0, 10.0, 64


def block_figure(figures: BlockBuffering) -> Figure | None:
    """The picture of a block whose sizes are known; None of others."""
    block = figures.decision.block
    extents = [extent or 0 for extent in block.extents]
    if (
        figures.before is None
        or figures.after is None
        or not figures.before
        or len(extents) not in (1, 2)
        or not all(extents)
    ):
        return None
    height, width = extents[0], extents[1] if len(extents) > 1 else 1
    size = f"{height} rows of {width}" if len(extents) > 1 else f"{height} positions"
    done = figures.decision.status
    tile = [*(figures.tile or extents), 1][: len(extents)]
    rows, columns = tile[0], tile[1] if len(tile) > 1 else 1
    share = min(1.0, figures.after / figures.before)
    before = _map(_LEFT, height, width, height, width, 1.0)
    after = _map(_LEFT + _WIDE + _BETWEEN, height, width, rows, columns, share)
    notes = [
        label(_LEFT, 16, "before", kind="heading"),
        label(_LEFT, _TOP + _HIGH + 18, f"{figures.before:,} elements wait: all of the map", kind="tick"),
        label(_LEFT + _WIDE + _BETWEEN, 16, "after", kind="heading"),
        label(_LEFT + _WIDE + _BETWEEN, _TOP + _HIGH + 18, _waits(figures), kind="tick"),
    ]
    name = f"{block.name}: {done}"
    said = (
        f"A map of {size}, {figures.before:,} elements, waits for its gate before; after, {figures.after:,} elements."
    )
    body = "".join([before, after, *notes])
    return Figure(
        "Map, tile, and what waits", said, svg(2 * _WIDE + 2 * _BETWEEN, _TOP + _HIGH + 30, name, body), block.name
    )


def _waits(figures: BlockBuffering) -> str:
    choice = figures.decision.choice
    how = f", {choice.kind}" if choice is not None and figures.decision.form is not None else ""
    return f"{figures.after or 0:,} elements wait{how}"


def _map(left: float, height: int, width: int, rows: int, columns: int, share: float) -> str:
    """The map with the lines of its tiles; the part that waits is dark, from the top."""
    scale = min(_WIDE / width, _HIGH / height)
    wide, high = max(width * scale, 6.0), max(height * scale, 6.0)
    parts = [
        f'<rect x="{left:.1f}" y="{_TOP}" width="{wide:.1f}" height="{high:.1f}" class="map"/>',
        f'<rect x="{left:.1f}" y="{_TOP}" width="{wide:.1f}" height="{high * share:.1f}" class="gate"/>',
    ]
    if -(-height // max(rows, 1)) <= _MOST_LINES:
        for row in range(rows, height, max(rows, 1)):
            y = _TOP + high * row / height
            parts.append(f'<line x1="{left:.1f}" x2="{left + wide:.1f}" y1="{y:.1f}" y2="{y:.1f}" class="cut"/>')
    if columns and -(-width // columns) <= _MOST_LINES:
        for column in range(columns, width, columns):
            x = left + wide * column / width
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + high:.1f}" class="cut"/>')
    return "".join(parts)
