"""What goes into a model in one run, and what it is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

Feed = Mapping[str, np.ndarray]
"""An array [samples, ...] for each input of the model."""


class Content(Protocol):
    """What samples are made of, by number."""

    def feed(self, chosen: Sequence[int]) -> Feed:
        """One batch: an array [samples, ...] for each input of the model. Raises `DataError`."""

    def identity(self, chosen: Sequence[int]) -> Iterable[bytes]:
        """What these samples are, in pieces: two sequences of samples are equal where these are."""
