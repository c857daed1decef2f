"""The numbers that are trained: what each descriptor of a running squeeze is multiplied by, and what is added to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tse_onnx.errors import ModelError
from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.tiling import RUNNING, Calibration, Running, Tiling
from tse_onnx.passes.forms.squeeze import MEAN
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting

Tensors = dict[str, Tensor]

_DIGITS = 6
"""Digits of a number in the plan: more would only make it longer."""


@dataclass(frozen=True)
class Knob:
    """The slopes of one block, a tensor [1, 1, descriptors…], and its offsets [1, channels, descriptors…], by which its
    means are scaled and moved.

    They are trained as what is added to those that the plan gives, so that the last descriptor, which is the mean of
    all rows, stays what it is.
    """

    block: str
    value: str
    tiling: Tiling
    cover: Running
    slopes: Tensor
    offsets: Tensor
    free: Tensor

    @classmethod
    def of(cls, block: Convertible, choice: Choice | None) -> Knob | None:
        """The knob of a block with this choice, None where there is nothing to train."""
        if not isinstance(choice, Tiling) or choice.squeeze != RUNNING or block.anatomy.squeeze.statistic != MEAN:
            return None
        cover = choice.cover([extent or 0 for extent in block.extents])
        if not isinstance(cover, Running) or cover.covers_map or block.channels is None:
            return None
        slopes, offsets = np.ones(cover.count), np.zeros((cover.count, block.channels))
        if cover.calibration is not None:
            slopes, offsets = np.array(cover.calibration.slopes), np.array(cover.calibration.offsets)
        free = np.arange(cover.count) < cover.count - 1
        tensors = [
            torch.tensor(one.T.reshape(1, -1, *cover.grid), dtype=torch.float32) for one in (slopes, offsets, free)
        ]
        return cls(block.name, block.anatomy.squeeze.output, choice, cover, *tensors)

    @property
    def plain(self) -> Tiling:
        """The same running squeeze without a calibration: what the knob turns."""
        return replace(self.tiling, calibration=None)

    @property
    def numbers(self) -> int:
        """How many numbers are trained."""
        return (self.cover.count - 1) * (1 + int(self.offsets.shape[1]))

    def start(self) -> Tensors:
        """What is trained, at first: nothing is added."""
        return {self._slopes: torch.zeros_like(self.slopes), self._offsets: torch.zeros_like(self.offsets)}

    def sizes(self, deviation: float) -> dict[str, float]:
        """How large the numbers are, by which they are moved; `deviation` is how far the block's mean moves from sample
        to sample, of which an offset may be a part even where there is none yet."""
        return {
            self._slopes: float(self.slopes.square().mean().sqrt()) or 1.0,
            self._offsets: max(float(self.offsets.square().mean().sqrt()), 0.3 * deviation),
        }

    def turned(self, state: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """What becomes of the block's means."""
        slopes, offsets = self._now(state)
        return partial(torch.addcmul, offsets, slopes)

    def calibration(self, state: Mapping[str, Tensor]) -> Calibration:
        """The numbers as a plan has them. Raises `ModelError` where they are none."""
        slopes, offsets = (
            one.detach().double().numpy().reshape(one.shape[1], self.cover.count).T for one in self._now(state)
        )
        if not (np.isfinite(slopes).all() and np.isfinite(offsets).all()):
            raise ModelError(
                f"the numbers of {quoted(self.block)} grew without bound: take a smaller {setting('rate')}"
            )
        return Calibration(_short(slopes[:, 0]), tuple(map(_short, offsets)))

    def _now(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return (
            self.slopes + self.free * state[self._slopes],
            self.offsets + self.free * state[self._offsets],
        )

    @property
    def _slopes(self) -> str:
        return f"{self.block}|slopes"

    @property
    def _offsets(self) -> str:
        return f"{self.block}|offsets"


def _short(row: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{number:.{_DIGITS}g}") for number in row)
