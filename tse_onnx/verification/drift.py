"""How far the outputs of a converted model are from the original's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tse_onnx.verification.result import Drift


class DriftMeter:
    """Adds up the differences of every output, batch by batch, so that no more than one batch is held."""

    def __init__(self, outputs: Sequence[str]) -> None:
        self._sums = {name: _Sum() for name in outputs}

    def add(self, original: Mapping[str, np.ndarray], converted: Mapping[str, np.ndarray]) -> None:
        """Take one batch into account."""
        for name, total in self._sums.items():
            total.add(original[name], converted[name])

    def result(self) -> tuple[Drift, ...]:
        """The drift of every output that holds numbers."""
        return tuple(total.result(name) for name, total in self._sums.items() if total.numeric)


class _Sum:
    def __init__(self) -> None:
        self.numeric = True
        self._largest = self._signal = self._noise = 0.0
        self._agreed = self._rows = 0
        self._logits = True

    def add(self, original: object, converted: object) -> None:
        if not (isinstance(original, np.ndarray) and isinstance(converted, np.ndarray)):
            self.numeric = False  # a sequence, a map, an optional without value
            return
        if original.dtype.kind not in "fiubV":  # V: bfloat16 and its kin
            self.numeric = False
            return
        if original.shape != converted.shape:
            self._largest = float("inf")
            return
        reference, other = original.astype(np.float64), converted.astype(np.float64)
        # Where both are infinite or not a number alike, nothing has drifted.
        same = (reference == other) | (np.isnan(reference) & np.isnan(other))
        with np.errstate(invalid="ignore", over="ignore"):
            difference = np.where(same, 0.0, other - reference)
            if np.isfinite(difference).all():
                self._largest = max(self._largest, float(np.max(np.abs(difference), initial=0.0)))
                self._noise += float(np.sum(np.square(difference)))
            else:
                self._largest = self._noise = float("inf")
            self._signal += float(np.sum(np.square(reference[np.isfinite(reference)])))
        self._logits &= original.dtype.kind in "fV" and original.ndim == 2 and original.shape[1] > 1
        if self._logits:
            self._agreed += int(np.sum(reference.argmax(1) == other.argmax(1)))
            self._rows += len(reference)

    def result(self, name: str) -> Drift:
        """What was added up, for the output called `name`."""
        ratio = None if self._noise == 0 else _decibels(self._signal, self._noise)
        agreement = self._agreed / self._rows if self._logits and self._rows else None
        return Drift(name, self._largest, ratio, agreement)


def _decibels(signal: float, noise: float) -> float:
    """10 · log10(signal / noise), minus infinity for noise without bound or no signal at all."""
    return 10 * math.log10(signal / noise) if signal > 0 and math.isfinite(noise) else -math.inf
