"""What layers and blocks lose, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tse_onnx.runtime.scores import Score, decibels
from tse_onnx.shown import Shown


@dataclass(frozen=True)
class Level:
    """A level of noise: the noise to signal, as a ratio of energies over all samples, of each output of the network
    [outputs], and on the spot, where the change is made: None for a change of the whole network."""

    outputs: tuple[float, ...]
    local: float | None = None

    @property
    def noise(self) -> float:
        """Noise to signal at the outputs: their mean."""
        return sum(self.outputs) / len(self.outputs)

    @property
    def sqnr_db(self) -> float | None:
        """The signal-to-noise ratio at the outputs in decibels: None without noise, minus infinity without bound."""
        return sqnr_of(self.noise)

    @property
    def local_sqnr_db(self) -> float | None:
        """The same on the spot."""
        return None if self.local is None else sqnr_of(self.local)


@dataclass(frozen=True)
class LayerNoise:
    """What a layer loses where it alone is quantised: its weights, its activations, both. None for `weights` and
    `activations` where it has not both."""

    node: str
    operator: str
    quantised: Level
    weights: Level | None
    activations: Level | None


@dataclass(frozen=True)
class BlockNoise:
    """What a block loses where it alone is changed: tiled, the layers between its squeeze and its gate quantised, both.
    None where there is no such change, or both meet in one node."""

    block: str
    tiling: str | None
    tiles: Level | None
    quantised: Level | None
    both: Level | None

    @property
    def levels(self) -> tuple[Level, ...]:
        """Those that there are."""
        return tuple(level for level in (self.tiles, self.quantised, self.both) if level is not None)


@dataclass(frozen=True)
class Joint:
    """What the network loses where all of it is changed in one way, and how far its outputs are then."""

    level: Level
    scores: tuple[Score, ...]


@dataclass(frozen=True, repr=False)
class Noise(Shown):
    """What each layer and each block of a network loses, the worst first.

    `quantised_by` says whose quantisers these are. `joint` is the network with all its layers quantised, `weights` and
    `activations` with these alone; `tiles` is all its blocks tiled, `both` that and quantised: None where nothing is
    tiled, or both meet in one node.
    """

    model: str
    quantised_by: str
    data: str
    samples: int
    outputs: tuple[str, ...]
    layers: tuple[LayerNoise, ...]
    blocks: tuple[BlockNoise, ...]
    joint: Joint
    weights: Joint
    activations: Joint
    tiles: Joint | None
    both: Joint | None

    @property
    def sum(self) -> float:
        """The noise of all layers alone, added up."""
        return sum(layer.quantised.noise for layer in self.layers)

    @property
    def sum_to_joint(self) -> float | None:
        """That sum to the noise of the network quantised as a whole; None where this is none, or without bound."""
        return ratio(self.sum, self.joint.level.noise)

    def share(self, level: Level) -> float | None:
        """A noise to that of the network quantised as a whole; None where this is none, or without bound."""
        return ratio(level.noise, self.joint.level.noise)

    def of_sum(self, level: Level) -> float | None:
        """A noise to the sum of those of all layers; None where this is none, or without bound."""
        return ratio(level.noise, self.sum)

    @property
    def ranking(self) -> tuple[str, ...]:
        """The names of the layers, the one that loses most first: what to keep in float."""
        return tuple(layer.node for layer in self.layers)


def sqnr_of(noise: float) -> float | None:
    """A noise to signal as decibels: None without noise, minus infinity without bound."""
    return None if noise == 0 else decibels(1.0, noise)


def energy_of(score: Score) -> float:
    """The noise to signal of a score, as a ratio of energies."""
    return 0.0 if score.sqnr_db is None else 10 ** (-score.sqnr_db / 10)


def ratio(part: float, whole: float) -> float | None:
    """One noise to another; None where that is none, or without bound."""
    return part / whole if whole and math.isfinite(whole) and math.isfinite(part) else None
