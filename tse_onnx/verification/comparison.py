"""What a block made against what it should have made, each channel of each tile on its own scale.

The tolerance of a channel is relative to the largest value that the reference has in it: a map may hold channels, tiles
and samples of any size side by side, and the small ones have to be right as well. What exceeds it is not wrong yet: a
gate whose excite cancels large numbers amplifies rounding. So the reference is computed again from an input that is
changed by as much as rounding does, and how far it moves is what the block bears on that input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tse_onnx.passes.graph.layout import OWN
from tse_onnx.verification.result import ratio_of

# Relative to the largest value of a channel: the descriptor is a sum of hundreds of values in another order.
_RELATIVE: dict[int, float] = {
    TensorProto.DOUBLE: 1e-9,
    TensorProto.FLOAT: 2e-5,
    TensorProto.FLOAT16: 1e-2,
    TensorProto.BFLOAT16: 6e-2,
}
# Where the way to the gate is quantised, the last bit of a mean decides now and then between two steps of a quantiser.
_QUANTISED = 2e-2
# Where a map is whole numbers, steps of its quantiser: the gate's last one, and that of the product.
_WHOLE = 2.0
# Below the smallest normal number rounding is absolute: so many of the smallest steps of the type.
_STEPS = 4
# How much farther than changes of a few roundings move the output it may be.
_FACTOR, _FACTOR_QUANTISED = 4.0, 2.0

Again = Callable[[], Iterable[np.ndarray]]
"""The reference once more, from inputs that are changed by as much as rounding does."""


def _relative(dtype: np.dtype[Any]) -> float:
    return _RELATIVE.get(onnx.helper.np_dtype_to_tensor_dtype(dtype), 2e-5)


def _least(dtype: np.dtype[Any], quantised: bool) -> float:
    if dtype.kind == "f":
        return _STEPS * float(np.finfo(dtype).smallest_subnormal)
    return _WHOLE if quantised else 0.0


class Comparison:
    """The worst channel of any tile, added up tile by tile: no more than a tile is held.

    `axes` has a letter for each axis of the tiles; N, R and C tell the groups of values that share a scale.
    """

    def __init__(self, axes: str, dtype: np.dtype[Any], quantised: bool) -> None:
        self.error = self.tolerance = 0.0
        """Those of the channel that is closest to its tolerance, or farthest beyond it."""
        self.elements = self.not_finite = 0
        self._ratio = 0.0
        self._within = tuple(axis for axis, letter in enumerate(axes) if letter not in OWN)
        self._relative = max(_relative(dtype), _QUANTISED if quantised else 0.0) if dtype.kind == "f" else 0.0
        self._factor = _FACTOR_QUANTISED if quantised else _FACTOR
        self._least = _least(dtype, quantised)

    def add(self, values: np.ndarray, reference: np.ndarray, again: Again) -> tuple[np.ndarray, np.ndarray]:
        """Take a tile into account; the tolerance and the largest value of each of its channels.

        What is not finite has to be the same in both.
        """
        one, two = _widened(values), _widened(reference)
        self.elements += two.size
        if one.shape != two.shape:
            self.fail()
            return np.zeros(0), np.zeros(0)
        with np.errstate(invalid="ignore", over="ignore"):
            error, magnitude = self._largest(one - two), self._largest(two)
            if not (np.isfinite(error).all() and np.isfinite(magnitude).all()):
                error, magnitude = self._not_finite(one, two)
            tolerance = self._relative * magnitude.astype(np.float64) + self._least
            if not (error <= tolerance).all() and not np.isnan(error).any():
                tolerance = self._amplified(error, tolerance, two, again)
        self._worst(error, tolerance)
        return tolerance, magnitude

    def fail(self) -> None:
        """Something was not compared at all."""
        self._note(float("inf"), 0.0)

    def _largest(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(np.max(np.abs(values), axis=self._within, initial=0.0))

    def _not_finite(self, one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        finite = np.isfinite(two)
        self.not_finite += int(np.count_nonzero(~finite))
        same = (one == two) | (np.isnan(one) & np.isnan(two))
        return self._largest(np.where(same, 0, one - two)), self._largest(np.where(finite, two, 0))

    def _amplified(self, error: np.ndarray, tolerance: np.ndarray, reference: np.ndarray, again: Again) -> np.ndarray:
        """The tolerance of each channel, raised as far as rounding moves it, until that explains the error.

        What becomes no number, or stops being one, says nothing about rounding.
        """
        for other in again():
            moved = self._largest(np.where(np.isfinite(reference), _widened(other) - reference, 0))
            tolerance = np.maximum(tolerance, self._factor * np.where(np.isfinite(moved), moved, 0))
            if (error <= tolerance).all():
                break
        return tolerance

    def _worst(self, error: np.ndarray, tolerance: np.ndarray) -> None:
        if not error.size:
            return
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(error == 0, 0.0, error / tolerance)
        place = int(np.argmax(np.where(np.isnan(ratio), np.inf, ratio)))
        self._note(float(error.flat[place]), float(tolerance.flat[place]))

    def _note(self, error: float, tolerance: float) -> None:
        ratio = ratio_of(error, tolerance)
        if ratio >= self._ratio:
            self._ratio, self.error, self.tolerance = ratio, error, tolerance


def _widened(values: np.ndarray) -> np.ndarray:
    """In a type whose rounding is far below the tolerance."""
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
