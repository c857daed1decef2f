"""How much of a value is noise: sums of squares, batch by batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class Energy:
    """The energy of a value and of what it differs by, over all samples so far."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, was: np.ndarray, now: np.ndarray) -> None:
        """Take a batch into account. What is no number is noise without bound, but where it was none before."""
        if was.shape != now.shape:
            self.noise = math.inf
            return
        with np.errstate(invalid="ignore", over="ignore"):
            difference = now - was
            noise = _squares(difference)
            if not math.isfinite(noise):
                same = (was == now) | (np.isnan(was) & np.isnan(now))
                noise = _squares(np.where(same, 0, difference))
            signal = _squares(was)
            if not math.isfinite(signal):
                signal = _squares(np.where(np.isfinite(was), was, 0))
        self.signal += signal
        self.noise += noise if math.isfinite(noise) else math.inf

    @property
    def ratio(self) -> float:
        """Noise to signal; without any signal zero or infinite."""
        if not self.noise:
            return 0.0
        return self.noise / self.signal if self.signal else math.inf


def _squares(array: np.ndarray) -> float:
    numbers = np.ascontiguousarray(array).reshape(-1)
    return float(np.einsum("i,i->", numbers, numbers, dtype=np.float64))
