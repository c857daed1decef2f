"""Views of samples to train on: crops of them, and mixtures of two.

A handful of images would be learnt by heart. What their crops and mixtures show of the network is as good as more of
them, because nothing is compared with labels: the original says what is right of whatever it is shown.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tse_onnx.data.samples import Samples
from tse_onnx.distillation.operators.tensors import tensor_of

Feed = dict[str, Tensor]

_SMALLEST = 0.7
"""The least part of a map's area that a crop has."""
_MIXED = 0.25
"""The part of the views that are mixtures. Half of them, and smaller crops, made the views nearer and the samples
themselves no nearer: too much of what is trained is then for views."""
_KEPT_BYTES = 512 * 2**20


class Views:
    """An endless supply of views of `samples`, the same for the same seed.

    Where an input holds no fractions (indices, say), nothing is cropped or mixed: the views are the samples.
    """

    def __init__(self, samples: Samples, seed: int) -> None:
        self._samples = replace(samples, batch=1, fixed=False)
        self._seed = seed
        self._kept: dict[int, Feed] = {}
        self._room = _KEPT_BYTES
        self._continuous = all(one.is_floating_point() for one in self._sample(0).values())

    def batch(self, number: int, size: int) -> Feed:
        """The batch with this number: `size` views, whatever was asked for before."""
        random = np.random.default_rng([self._seed, number])
        views = self._crops(random, size)
        if not self._continuous:
            return views
        others = self._crops(random, size)
        shares = np.where(random.random(size) < _MIXED, random.random(size), 1.0).astype(np.float32)
        return {name: _mixed(view, others[name], torch.from_numpy(shares)) for name, view in views.items()}

    def plain(self, start: int, size: int) -> Feed:
        """The samples from one on, as they are; fewer at the end."""
        return _together([self._sample(number) for number in range(start, min(start + size, self._samples.count))])

    def _crops(self, random: np.random.Generator, size: int) -> Feed:
        chosen = random.integers(self._samples.count, size=size)
        boxes = [_box(random) for _ in range(size)]
        picked = _together([self._sample(int(number)) for number in chosen])
        return {name: _cropped(one, boxes) if self._continuous else one for name, one in picked.items()}

    def _sample(self, number: int) -> Feed:
        """A sample, which is read once if there is room to keep it."""
        if number in self._kept:
            return self._kept[number]
        (feed,) = self._samples.subset([number]).feeds()
        found = {name: tensor_of(array) for name, array in feed.items()}
        self._room -= sum(one.numel() * one.element_size() for one in found.values())
        if self._room >= 0:
            self._kept[number] = found
        return found


def _together(samples: list[Feed]) -> Feed:
    return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}


Box = tuple[float, float, float, float]


def _box(random: np.random.Generator) -> Box:
    """Top, left, height and width of a crop, as parts of the map."""
    area, aspect = random.uniform(_SMALLEST, 1.0), np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
    height, width = min(np.sqrt(area * aspect), 1.0), min(np.sqrt(area / aspect), 1.0)
    return float(random.uniform(0, 1 - height)), float(random.uniform(0, 1 - width)), float(height), float(width)


def _cropped(batch: Tensor, boxes: list[Box]) -> Tensor:
    """Maps [N, C, H, W] cropped and brought to their size again; anything else as it is."""
    if batch.ndim != 4:
        return batch
    last = batch.shape[1] not in (1, 3) and batch.shape[3] in (1, 3)
    maps = batch.permute(0, 3, 1, 2) if last else batch
    height, width = maps.shape[2:]
    cropped = []
    for one, (top, left, high, wide) in zip(maps, boxes, strict=True):
        rows, columns = max(1, round(high * height)), max(1, round(wide * width))
        first, start = min(round(top * height), height - rows), min(round(left * width), width - columns)
        part = one[None, :, first : first + rows, start : start + columns]
        cropped.append(functional.interpolate(part, (height, width), mode="bilinear", antialias=True))
    made = torch.cat(cropped)
    return made.permute(0, 2, 3, 1) if last else made


def _mixed(one: Tensor, other: Tensor, shares: Tensor) -> Tensor:
    parts = shares.to(one.dtype).reshape(-1, *[1] * (one.ndim - 1))
    return parts * one + (1 - parts) * other
