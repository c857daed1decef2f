"""The training itself: steps on views, and after each epoch a look at samples that are not trained on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tse_onnx.data.samples import Samples
from tse_onnx.distillation.checkpoint import Checkpoint, Progress
from tse_onnx.distillation.knobs import Tensors
from tse_onnx.distillation.objective import PLAIN, Objective, Weighing
from tse_onnx.distillation.pair import Pair
from tse_onnx.distillation.result import Epoch
from tse_onnx.distillation.views import Labels, Views
from tse_onnx.errors import TseError, UsageError

_log = logging.getLogger(__name__)

_STOP_VIEWS = 3
"""Views of each of the samples to stop by, beside the sample itself."""


class Schedule(Protocol):
    """How long a training goes on, and how far numbers move in it: `epochs` of `steps` steps, each on `step` views, at
    a `rate` that falls; after `patience` epochs in a row that are no better than the best it ends."""

    @property
    def epochs(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def rate(self) -> float: ...
    @property
    def patience(self) -> int: ...
    def say(self, what: str, done: float, total: float) -> None:
        """Tell the caller how far the work is."""


@dataclass(frozen=True)
class Trained:
    """What came out: the best state that was seen, and how it came about."""

    state: Tensors
    best: int
    start: float
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True)
class _Batch:
    """What is run at once, and its labels if there are any."""

    feed: Tensors
    labels: Labels | None


class Trainer:
    """Trains the knobs and weights of a pair on views of `samples`, until those of `stop` say that it is enough.

    Where several processes train together, each has its part of every batch, and all come to the same numbers. Raises
    `UsageError` where a batch cannot be divided among them.
    """

    def __init__(
        self,
        pair: Pair,
        samples: Samples,
        stop: Samples,
        schedule: Schedule,
        seed: int,
        weighing: Weighing = PLAIN,
        varied: bool = True,
    ) -> None:
        self._pair, self._schedule, self._place = pair, schedule, pair.place
        if schedule.step % self._place.world:
            raise UsageError(f"{schedule.step} views in a step cannot be shared by {self._place.world} processes alike")
        self._views = Views(samples, seed, varied)
        looked_at = Views(stop, seed, varied)
        size = schedule.step
        self._stop = [
            _Batch(looked_at.plain(start, size), looked_at.plain_labels(start, size))
            for start in range(0, stop.count, size)
        ]
        for number in range(-(-_STOP_VIEWS * stop.count // size) if varied else 0):
            drawn = looked_at.drawn(number, size)
            self._stop.append(_Batch(looked_at.made(drawn), looked_at.labels(drawn)))
        pair.widen(self._views.batch(0, 2 * samples.batch))
        first = self._views.batch(0, size)
        self._objective: Objective = pair.objective(first, weighing)
        self._sizes = _sizes(pair, first)
        self._scaler = torch.amp.GradScaler(self._place.device.type, enabled=self._place.autocast is torch.float16)
        self._moving = False

    def trained(self, checkpoint: Checkpoint | None = None) -> Trained:
        """Train from the start, or from where the checkpoint is; there it is kept after each epoch, and where the
        training is interrupted."""
        progress = (checkpoint.load() if checkpoint is not None else None) or self._begun()
        device = self._place.device
        state = {name: tensor.to(device, copy=True).requires_grad_() for name, tensor in progress.state.items()}
        optimiser = torch.optim.Adam([{"params": [state[name]], "lr": 0.0} for name in state])
        if progress.optimiser:
            optimiser.load_state_dict(progress.optimiser)
            self._scaler.load_state_dict(progress.scaler)

        def keep() -> None:
            progress.state, progress.optimiser = _copied(state), optimiser.state_dict()
            progress.scaler = self._scaler.state_dict()
            if checkpoint is not None and self._place.first:
                checkpoint.save(progress)

        while (number := len(progress.epochs)) < self._schedule.epochs and not self._over(progress):
            try:
                self._epoch(number, progress, state, optimiser)
            except TseError:
                raise
            except BaseException:
                if not self._moving:  # in the middle of a step it would be neither what it was nor what it will be
                    keep()
                raise
            loss = progress.total / self._schedule.steps
            stop_loss = self._stop_loss(state)
            progress.epochs.append(Epoch(number + 1, loss, stop_loss))
            progress.steps, progress.total = 0, 0.0
            _log.info("epoch %d: loss %.5f, %.5f on the samples to stop by", number + 1, loss, stop_loss)
            if stop_loss < _least(progress):
                progress.best, progress.best_state = number + 1, _copied(state)
            keep()
        return Trained(progress.best_state, progress.best, progress.start, tuple(progress.epochs))

    def _begun(self) -> Progress:
        state = {name: one for knob in self._pair.knobs for name, one in knob.start().items()}
        state |= self._pair.weights.begun()
        return Progress(state, {}, _copied(state), 0, self._stop_loss(state), [])

    def _epoch(self, number: int, progress: Progress, state: Tensors, optimiser: torch.optim.Optimizer) -> None:
        """What is left of an epoch. The numbers move less and less, as half a cosine falls."""
        schedule = self._schedule
        whole = schedule.epochs * schedule.steps
        while progress.steps < schedule.steps:
            step = number * schedule.steps + progress.steps
            schedule.say("training", step, whole)
            fall = 0.5 * (1 + math.cos(math.pi * step / whole))
            for group, name in zip(optimiser.param_groups, state, strict=True):
                group["lr"] = schedule.rate * self._sizes[name] * fall
            loss = self._loss(self._part(step), state)
            optimiser.zero_grad()
            self._scaler.scale(loss).backward()
            self._place.average(state.values())
            self._moving = True
            self._scaler.step(optimiser)
            self._scaler.update()
            progress.total += float(self._place.mean(loss.detach()))
            progress.steps += 1
            self._moving = False

    def _part(self, step: int) -> _Batch:
        """What this process has of a batch."""
        size, rank = self._schedule.step // self._place.world, self._place.rank
        drawn = self._views.drawn(step, self._schedule.step).part(slice(rank * size, (rank + 1) * size))
        return _Batch(self._views.made(drawn), self._views.labels(drawn))

    def _loss(self, batch: _Batch, state: Mapping[str, Tensor]) -> Tensor:
        return self._objective(self._pair.original(batch.feed), self._pair.changed(batch.feed, state), batch.labels)

    def _stop_loss(self, state: Mapping[str, Tensor]) -> float:
        with torch.no_grad():
            losses = [float(self._loss(batch, state)) for batch in self._stop]
        return sum(losses) / len(losses)

    def _over(self, progress: Progress) -> bool:
        return len(progress.epochs) - progress.best >= self._schedule.patience


def _sizes(pair: Pair, feed: Tensors) -> dict[str, float]:
    seen, sizes = pair.original(feed), pair.weights.sizes()
    for knob in pair.knobs:
        sizes |= knob.sizes(float(seen[knob.value].std(0).square().mean().sqrt()))
    return sizes


def _least(progress: Progress) -> float:
    return progress.epochs[progress.best - 1].stop_loss if progress.best else progress.start


def _copied(state: Mapping[str, Tensor]) -> Tensors:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
