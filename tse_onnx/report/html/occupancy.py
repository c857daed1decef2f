"""What a network holds against time, as areas: before and after on the same axes."""

from __future__ import annotations

from collections.abc import Sequence

from tse_onnx.report.html.axes import binary_steps, upright
from tse_onnx.report.html.figure import Figure, label, svg
from tse_onnx.report.kinds import KIND_NAMES
from tse_onnx.report.size import size
from tse_onnx.streaming.depths.occupancy import Occupancy
from tse_onnx.streaming.depths.result import GATE, LINE, SKIP, STREAM

_ORDER = (STREAM, LINE, SKIP, GATE)  # from the bottom: what no conversion changes first
_COLUMNS = 320  # more than can be seen
_LEFT, _WIDE, _HIGH, _TOP, _BELOW, _BETWEEN = 84, 420, 200, 34, 48, 30


def occupancy_figure(titles: Sequence[str], held: Sequence[Occupancy], token: str) -> Figure:
    """A panel for each network, side by side."""
    top = max(max(each.peak, 1) for each in held)
    ticks = binary_steps(top)
    width = _LEFT + len(held) * (_WIDE + _BETWEEN)
    parts = []
    for number, (title, each) in enumerate(zip(titles, held, strict=True)):
        left = _LEFT + number * (_WIDE + _BETWEEN)
        parts.append(_panel(title, each, left, ticks, token, number == 0))
    x = float(_LEFT)
    for kind in reversed(_ORDER):
        parts.append(f'<rect x="{x:.0f}" y="{_TOP + _HIGH + 34}" width="12" height="12" class="{kind}"/>')
        parts.append(label(x + 17, _TOP + _HIGH + 44, KIND_NAMES[kind]))
        x += 30 + 7.2 * len(KIND_NAMES[kind])
    peaks = ", then ".join(f"{title}: {size(each.peak)} at most" for title, each in zip(titles, held, strict=True))
    title = "What the whole network holds while images stream in"
    return Figure(title, f"{title}. {peaks}.", svg(width, _TOP + _HIGH + _BELOW + 10, title, "".join(parts)))


def _panel(title: str, held: Occupancy, left: float, ticks: Sequence[float], token: str, scaled: bool) -> str:
    count = len(next(iter(held.held.values())))
    bottom, scale = _TOP + _HIGH, _HIGH / ticks[-1]
    spots = sorted({round(number * (count - 1) / max(_COLUMNS - 1, 1)) for number in range(_COLUMNS)} | {count - 1})
    below = [0.0] * len(spots)
    parts = [upright(left, left + _WIDE, lambda value: bottom - value * scale, list(ticks), size if scaled else _blank)]
    for kind in _ORDER:
        values = held.held[kind]
        above = [low + values[spot] for low, spot in zip(below, spots, strict=True)]
        if any(values):
            parts.append(_area(kind, spots, below, above, left, count, bottom, scale))
        below = above
    images = count // held.rows
    parts.append(label(left, _TOP - 14, title, 56, "heading"))
    for image in range(images + 1):
        x = left + _WIDE * image / images
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}" class="axis"/>')
    said = (
        f"{images} images, one behind the other, {held.rows} {token}s each" if images > 1 else f"{held.rows} {token}s"
    )
    parts.append(label(left, bottom + 20, said, kind="tick"))
    parts.append(label(left + _WIDE, bottom + 20, f"at most {size(held.peak)}", kind="tick", anchor="end"))
    return "".join(parts)


def _blank(_: float) -> str:
    return ""


def _area(
    kind: str, spots: Sequence[int], below: Sequence[float], above: Sequence[float], left: float, count: int,
    bottom: float, scale: float,
) -> str:  # fmt: skip
    xs = [left + _WIDE * spot / max(count - 1, 1) for spot in spots]
    there = [f"{x:.1f},{bottom - value * scale:.1f}" for x, value in zip(xs, above, strict=True)]
    back = [f"{x:.1f},{bottom - value * scale:.1f}" for x, value in zip(reversed(xs), reversed(below), strict=True)]
    return f'<polygon points="{" ".join([*there, *back])}" class="{kind}"/>'
