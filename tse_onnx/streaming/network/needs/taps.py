"""Which rows a Resize reads, for every mode and coordinate transform of the ONNX specification.

Coordinates are computed in single precision in the order that the specification writes them down, as runtimes do, so
that a coordinate on the border between two rows falls to the same side.
"""

from __future__ import annotations

import math

import numpy as np

from tse_onnx.streaming.network.needs.unfit import Unfit

F = np.float32

_CUBIC = -0.75


def taps(
    size: int,
    count: int,
    *,
    mode: str,
    transform: str,
    nearest: str = "round_prefer_floor",
    scale: float | None = None,
    roi: tuple[float, float] = (0.0, 1.0),
    antialias: bool = False,
    cubic: float = _CUBIC,
    exclude_outside: bool = False,
) -> tuple[tuple[int, ...], ...]:
    """The rows, of `size`, that each of `count` output rows depends on. A neighbour of weight zero is none of them.

    `scale` is what the model states, or None where it states sizes.
    """
    if scale is not None and not (math.isfinite(scale) and F(scale) > 0):
        raise Unfit(f"a scale of {scale}")
    factor = F(count) / F(size) if scale is None else F(scale)
    if factor == 1 and count == size and transform != "tf_crop_and_resize":
        return tuple((row,) for row in range(size))
    found: list[tuple[int, ...]] = []
    for row in range(count):
        at = float(_source(F(row), factor, size, count, transform, roi))
        if not math.isfinite(at):
            raise Unfit(f"row {row} lies nowhere")
        if transform == "tf_crop_and_resize" and not 0 <= at <= size - 1:
            found.append(())  # the extrapolation value
        elif mode == "nearest":
            found.append((min(size - 1, max(0, _round(at, nearest))),))
        else:
            found.append(_weighted(at, size, mode, float(factor), antialias, cubic, exclude_outside))
    return tuple(found)


def _source(row: F, factor: F, size: int, count: int, transform: str, roi: tuple[float, float]) -> F:
    if transform == "asymmetric":
        return row / factor
    if transform == "align_corners":
        return F(0) if count == 1 else row * F(size - 1) / F(count - 1)
    if transform == "pytorch_half_pixel":
        return (row + F(0.5)) / factor - F(0.5) if count > 1 else F(0)
    if transform == "tf_half_pixel_for_nn":
        return (row + F(0.5)) / factor
    if transform == "half_pixel_symmetric":
        adjustment = F(count) / (factor * F(size))
        offset = F(size) / F(2) * (F(1) - adjustment)
        return offset + (row + F(0.5)) / factor - F(0.5)
    if transform == "tf_crop_and_resize":
        start, end = F(roi[0]), F(roi[1])
        if count > 1:
            return start * F(size - 1) + row * (end - start) * F(size - 1) / F(count - 1)
        return F(0.5) * (start + end) * F(size - 1)
    return (row + F(0.5)) / factor - F(0.5)  # half_pixel


def _round(at: float, nearest: str) -> int:
    if nearest == "floor":
        return math.floor(at)
    if nearest == "ceil":
        return math.ceil(at)
    if nearest == "round_prefer_ceil":
        return math.floor(at + 0.5)
    return math.ceil(at - 0.5)


def _weighted(
    at: float, size: int, mode: str, factor: float, antialias: bool, cubic: float, exclude: bool
) -> tuple[int, ...]:
    stretch = 1 / factor if antialias and factor < 1 else 1.0
    reach = (1 if mode == "linear" else 2) * stretch
    if mode == "linear" and not antialias:
        at = min(max(at, 0.0), float(size - 1))
    rows = set()
    for neighbour in range(math.floor(at - reach), math.ceil(at + reach) + 1):
        distance = abs(neighbour - at) / stretch
        weight = max(0.0, 1 - distance) if mode == "linear" else _cubic(distance, cubic)
        if abs(weight) > 1e-6 and (0 <= neighbour < size or not (exclude or antialias)):
            rows.add(min(size - 1, max(0, neighbour)))
    return tuple(sorted(rows))


def _cubic(x: float, a: float) -> float:
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x < 2:
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return 0.0
