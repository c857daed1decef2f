"""Views of samples to train on: crops of them, and mixtures of two.

A handful of images would be learnt by heart. What their crops and mixtures show of the network is as good as more of
them, because nothing is compared with labels: the original says what is right of whatever it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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


Box = tuple[float, float, float, float]
"""Top, left, height and width of a crop, as parts of the map."""


@dataclass(frozen=True)
class Crops:
    """Samples by their numbers, and the box that each is cropped to."""

    numbers: Sequence[int]
    boxes: Sequence[Box]

    def part(self, chosen: slice) -> Crops:
        """Some of them."""
        return Crops(self.numbers[chosen], self.boxes[chosen])


@dataclass(frozen=True)
class Drawn:
    """What the views of one batch are made of: crops, of which each has a share [views] of its view, where the rest is
    another crop. Without `others` the views are crops alone."""

    crops: Crops
    others: Crops | None = None
    shares: np.ndarray | None = None

    def part(self, chosen: slice) -> Drawn:
        """Some of the views."""
        if self.others is None or self.shares is None:
            return Drawn(self.crops.part(chosen))
        return Drawn(self.crops.part(chosen), self.others.part(chosen), self.shares[chosen])


@dataclass(frozen=True)
class Labels:
    """The class of each view [views], and where views are mixtures that of what the rest of it is, with the share of
    the first."""

    first: Tensor
    second: Tensor
    shares: Tensor

    def expected(self, logs: Tensor) -> Tensor:
        """The mean over a view's labels of what `logs` [views, classes] have for them [views]."""
        first, second = (logs.gather(1, one[:, None].to(logs.device))[:, 0] for one in (self.first, self.second))
        shares = self.shares.to(logs.device)
        return shares * first + (1 - shares) * second


class Views:
    """An endless supply of views of `samples`, the same for the same seed.

    Where an input holds no fractions (indices, say), nothing is cropped or mixed: the views are the samples. So it is
    where views are not `varied`.
    """

    def __init__(self, samples: Samples, seed: int, varied: bool = True) -> None:
        self._samples = replace(samples, batch=1, fixed=False)
        self._seed = seed
        self._kept: dict[int, Feed] = {}
        self._room = _KEPT_BYTES
        self._continuous = varied and all(one.is_floating_point() for one in self._sample(0).values())

    def batch(self, number: int, size: int) -> Feed:
        """The batch with this number: `size` views, whatever was asked for before."""
        return self.made(self.drawn(number, size))

    def drawn(self, number: int, size: int) -> Drawn:
        """What that batch is made of."""
        random = np.random.default_rng([self._seed, number])
        crops = self._crops(random, size)
        if not self._continuous:
            return Drawn(crops)
        others = self._crops(random, size)
        shares = np.where(random.random(size) < _MIXED, random.random(size), 1.0).astype(np.float32)
        return Drawn(crops, others, shares)

    def made(self, drawn: Drawn) -> Feed:
        """The views themselves."""
        views = self._cropped(drawn.crops)
        if drawn.others is None or drawn.shares is None:
            return views
        others = self._cropped(drawn.others)
        return {name: _mixed(view, others[name], torch.from_numpy(drawn.shares)) for name, view in views.items()}

    def labels(self, drawn: Drawn) -> Labels | None:
        """The classes of these views, where the samples have labels."""
        classes = self._samples.labels
        if classes is None:
            return None
        others, shares = drawn.others or drawn.crops, drawn.shares
        first, second = (torch.from_numpy(classes[list(one.numbers)]) for one in (drawn.crops, others))
        return Labels(first, second, torch.ones(len(first)) if shares is None else torch.from_numpy(shares))

    def plain(self, start: int, size: int) -> Feed:
        """The samples from one on, as they are; fewer at the end."""
        return _together([self._sample(number) for number in self._numbers(start, size)])

    def plain_labels(self, start: int, size: int) -> Labels | None:
        """The classes of these, where the samples have labels."""
        return self.labels(Drawn(Crops(list(self._numbers(start, size)), ())))

    def _numbers(self, start: int, size: int) -> range:
        return range(start, min(start + size, self._samples.count))

    def _crops(self, random: np.random.Generator, size: int) -> Crops:
        chosen = random.integers(self._samples.count, size=size)
        return Crops(chosen.tolist(), [_box(random) for _ in range(size)])

    def _cropped(self, crops: Crops) -> Feed:
        picked = _together([self._sample(number) for number in crops.numbers])
        return {name: _cropped(one, crops.boxes) if self._continuous else one for name, one in picked.items()}

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


def _box(random: np.random.Generator) -> Box:
    area, aspect = random.uniform(_SMALLEST, 1.0), np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
    height, width = min(np.sqrt(area * aspect), 1.0), min(np.sqrt(area / aspect), 1.0)
    return float(random.uniform(0, 1 - height)), float(random.uniform(0, 1 - width)), float(height), float(width)


def _cropped(batch: Tensor, boxes: Sequence[Box]) -> Tensor:
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
