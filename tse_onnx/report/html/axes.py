"""Axes of a chart: numbers that people would write beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from tse_onnx.report.html.figure import label


def steps(top: float, count: int = 4) -> list[float]:
    """Round numbers from 0 to at least `top`, about so many."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 2.5, 5, 10) if power * times >= rough * 0.999)
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]


def binary_steps(top: float, count: int = 4) -> list[float]:
    """The same in bytes: round in the unit that people read them in."""
    unit = 1024.0 ** max(0, min(3, math.floor(math.log(max(top, 1), 1024))))
    return [step * unit for step in steps(top / unit, count)]


def upright(
    left: float, right: float, at: Callable[[float], float], ticks: list[float], said: Callable[[float], str]
) -> str:
    """Lines across a chart at each tick of its upright axis, and what they are."""
    return "".join(_upright(left, right, at, ticks, said))


def _upright(
    left: float, right: float, at: Callable[[float], float], ticks: list[float], said: Callable[[float], str]
) -> Iterator[str]:
    for tick in ticks:
        y = at(tick)
        yield f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        yield label(left - 6, y + 4, said(tick), kind="tick", anchor="end")
