"""A front of plans: what a smaller buffer costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tse_onnx.report.html.axes import steps, upright
from tse_onnx.report.html.figure import Figure, label, svg, text
from tse_onnx.report.size import size
from tse_onnx.tuning.result import Point, TuneResult

_LEFT, _WIDE, _HIGH, _TOP = 84, 520, 220, 34


def front_figure(found: TuneResult) -> Figure | None:
    """The points of the curve and the chosen one, by the part of the buffer that they save; None where none was
    measured."""
    points = [
        point for point in (*found.pareto, found.chosen) if point.measured is not None and math.isfinite(point.measured)
    ]
    before = found.sensitivity.before
    if not points or not before:
        return None
    ticks = steps(max(point.measured or 0.0 for point in points))
    bottom, scale = _TOP + _HIGH, _HIGH / ticks[-1]

    def spot(point: Point) -> tuple[float, float]:
        return _LEFT + _WIDE * (1 - point.bytes / before), bottom - (point.measured or 0.0) * scale

    parts = [upright(_LEFT, _LEFT + _WIDE, lambda loss: bottom - loss * scale, ticks, lambda loss: f"{loss:.3g}")]
    for percent in range(0, 101, 20):
        x = _LEFT + _WIDE * percent / 100
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}" class="axis"/>')
        parts.append(label(x, bottom + 20, f"{percent} %", kind="tick", anchor="middle"))
    parts.append(
        _line([spot(point) for point in sorted(found.pareto, key=lambda point: -point.bytes) if point in points])
    )
    for point in points:
        x, y = spot(point)
        kind = "chosen" if point.combination == found.chosen.combination else "point"
        said = f"{size(point.bytes)}, {found.sensitivity.loss} {point.measured or 0.0:.3g}"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="{kind}"><title>{text(said)}</title></circle>')
    parts.append(
        label(_LEFT, 18, f"{found.sensitivity.loss}, by the part of {size(before)} that is saved", kind="heading")
    )
    title = "What a smaller buffer costs"
    words = f"{title}: {len(points)} plans; the chosen one takes {size(found.chosen.bytes)} of {size(before)}."
    return Figure(title, words, svg(_LEFT + _WIDE + 30, bottom + 34, title, "".join(parts)))


def _line(spots: Sequence[tuple[float, float]]) -> str:
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in spots)}" class="line"/>'
