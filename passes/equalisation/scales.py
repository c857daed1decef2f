"""Which scales are exchanged, as data: those that give each channel the same range before and behind.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", and Meller et al. 2019,
"Same, Same But Different": a channel whose numbers range to r in one layer and to q in the next is multiplied by
s = √(q / r) in the first and divided by it in the second, which makes √(r q) of both. Where pairs share a layer they
are done in turn until nothing moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import numpy_helper

from tse_onnx.passes.equalisation.pairs import pairs
from tse_onnx.passes.equalisation.places import Left, Pair
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.scope import Scope

_MOST, _STEADY, _ROUNDS = 2.0**16, 1e-4, 200
_HARDLY = 0.01
"""The largest scale; what is no change, as a share, of a scale in a round and, as a power of two, of a pair in all."""

Ranges = Mapping[str, np.ndarray]
"""For values that were watched, the largest magnitude of each channel [C]."""


@dataclass(frozen=True)
class Spread:
    """How many times the range of its middle channel the largest range is: of what the firsts of a pair give, and of
    what the seconds have for it."""

    firsts: float
    seconds: float


@dataclass(frozen=True)
class Equalised:
    """A pair and the `scales` [C] that it exchanges: the firsts' channels are multiplied by them, the seconds' divided.

    `before` and `after` are the spreads of their ranges.
    """

    pair: Pair
    scales: np.ndarray = field(repr=False)
    before: Spread
    after: Spread


@dataclass(frozen=True)
class Equalisation:
    """What becomes of the layers of a graph."""

    changed: tuple[Equalised, ...]
    left: tuple[Left, ...]


def equalisation(scope: Scope, powers_of_two: bool = False, watched: Ranges | None = None) -> Equalisation:
    """The scales that the layers of a graph exchange. Powers of two alone change no bit of what they compute.

    A first layer's ranges are those of its weights and biases, or of what was `watched` of the values that the second
    ones read.
    """
    found, left = pairs(scope)
    state = _Ranges(scope.index, found, watched or {})
    before = [state.of(pair) for pair in found]
    total: list[np.ndarray] = [np.ones(pair.channels) for pair in found]
    for _ in range(_ROUNDS):
        moved = 0.0
        for number, pair in enumerate(found):
            scales = _evening(*state.of(pair))
            scales = np.clip(total[number] * scales, 1 / _MOST, _MOST) / total[number]
            state.scale(pair, scales)
            total[number] *= scales
            moved = max(moved, float(np.abs(scales - 1).max()))
        if moved < _STEADY:
            break
    if powers_of_two:
        for number, pair in enumerate(found):
            rounded = 2.0 ** np.round(np.log2(total[number]))
            state.scale(pair, rounded / total[number])
            total[number] = rounded
    changed = []
    for pair, scales, ranges in zip(found, total, before, strict=True):
        if np.abs(np.log2(scales)).max() > _HARDLY:
            changed.append(Equalised(pair, scales, _spread(*ranges), _spread(*state.of(pair))))
        else:
            left = (*left, Left(pair.firsts, "its channels have the same range as those that read them already"))
    return Equalisation(tuple(changed), left)


def _evening(firsts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """What makes both ranges of a channel equal, relative to the mean channel; 1 where a channel is dead."""
    scales, live = np.ones(len(firsts)), (firsts > 0) & (seconds > 0)
    if live.any():
        logs = (np.log(seconds[live]) - np.log(firsts[live])) / 2
        scales[live] = np.exp(logs - logs.mean())
    return scales


def _spread(firsts: np.ndarray, seconds: np.ndarray) -> Spread:
    return Spread(_largest_to_middle(firsts), _largest_to_middle(seconds))


def _largest_to_middle(ranges: np.ndarray) -> float:
    live = ranges[ranges > 0]
    return float(live.max() / np.median(live)) if live.size else 1.0


class _Ranges:
    """The ranges of the channels of pairs, as they become."""

    def __init__(self, index: GraphIndex, found: Sequence[Pair], watched: Ranges) -> None:
        self._magnitudes: dict[str, np.ndarray] = {}
        axes: dict[str, int] = {}
        for place in (place for pair in found for place in pair.places):
            axes[place.tensor] = max(axes.get(place.tensor, 1), place.axis)
        for name, axis in axes.items():
            numbers = np.abs(numpy_helper.to_array(index.initializers[name]).astype(np.float64))
            alike = tuple(range(axis + 1, numbers.ndim))  # the pixels of a kernel
            self._magnitudes[name] = numbers.max(axis=alike, keepdims=True, initial=0)
        self._watched = {pair: self._seen(pair, watched) for pair in found}

    def of(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Those of a pair's firsts and seconds, each [C]."""
        seen = self._watched[pair]
        firsts = self._largest(pair, 1) if seen is None else seen
        return firsts, self._largest(pair, -1)

    def scale(self, pair: Pair, scales: np.ndarray) -> None:
        """What they are with further scales."""
        for place in pair.places:
            numbers = self._magnitudes[place.tensor]
            self._magnitudes[place.tensor] = numbers * place.spread(scales, numbers.shape)
        seen = self._watched[pair]
        if seen is not None:
            self._watched[pair] = seen * scales

    def _largest(self, pair: Pair, power: int) -> np.ndarray:
        found = np.zeros(pair.channels)
        for place in pair.places:
            if place.power == power:
                found = np.maximum(found, place.ranges(self._magnitudes[place.tensor]))
        return found

    @staticmethod
    def _seen(pair: Pair, watched: Ranges) -> np.ndarray | None:
        seen = [watched[value] for value in pair.read if value in watched]
        return np.max(seen, axis=0) if seen else None
