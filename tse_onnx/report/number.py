"""Numbers without a unit, as people read them: the same digits and the same minus sign in every table and sentence."""

from __future__ import annotations

import math

MINUS = "−"


def number(value: float) -> str:
    """Three significant digits, as many as a figure on some hundred samples bears."""
    if not value or not math.isfinite(value):
        return f"{value:g}".replace("-", MINUS)
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", MINUS)
    return f"{value:.3g}".replace("e-0", "e-").replace("-", MINUS)


def percent(part: float | None) -> str:
    """A part of a whole; nothing where it is not known."""
    return "" if part is None else f"{_one(100 * part)} %"


def decibels(ratio: float | None) -> str:
    """A signal-to-noise ratio; None is no noise at all."""
    if ratio is None:
        return "equal"
    return f"{_one(ratio)} dB" if math.isfinite(ratio) else "none"


def points(value: float) -> str:
    """Percentage points with a sign, none where that is nothing."""
    shown = _one(value)
    return shown if shown.startswith(MINUS) or shown == "0.0" else f"+{shown}"


def _one(value: float) -> str:
    shown = f"{value:.1f}".replace("-", MINUS)
    return "0.0" if shown == f"{MINUS}0.0" else shown
