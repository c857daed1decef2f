"""Where texts go in a picture: inside the band that they name, or beside it, and never upon each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Heights = np.ndarray[Any, np.dtype[np.float64]]


def spot(lower: Heights, upper: Heights, width: int, height: float) -> tuple[float, float] | None:
    """The middle of a box of `width` columns and so much `height` that lies inside a band, which goes from `lower` to
    `upper` in each column: column and height, where there is most room. None where the box fits nowhere."""
    if width > len(lower):
        return None
    floor = sliding_window_view(lower, width).max(axis=1)
    ceiling = sliding_window_view(upper, width).min(axis=1)
    room = ceiling - floor
    if room.max() < height:
        return None
    # Of the places with about as much room the one in the middle: a text right at the end of a band looks cut off.
    good = np.flatnonzero(room >= max(height, 0.9 * room.max()))
    start = int(good[len(good) // 2])
    return start + width / 2, float(floor[start] + ceiling[start]) / 2


def spread(wanted: Sequence[float], apart: float, highest: float) -> list[float]:
    """Heights as near to those that are `wanted`, which ascend, as they can be when they are so far `apart`, from 0 to
    `highest` where there is room for all."""
    places: list[float] = []
    for height in wanted:
        places.append(max(height, places[-1] + apart if places else 0.0))
    top = highest
    for number in reversed(range(len(places))):
        places[number] = min(places[number], top)
        top = places[number] - apart
    return places
