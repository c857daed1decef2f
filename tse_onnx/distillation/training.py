"""The training itself: steps on views, and after each epoch a look at samples that are not trained on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tse_onnx.data.samples import Samples
from tse_onnx.distillation.checkpoint import Checkpoint, Progress
from tse_onnx.distillation.knobs import Tensors
from tse_onnx.distillation.objective import Objective
from tse_onnx.distillation.pair import Pair
from tse_onnx.distillation.result import Epoch
from tse_onnx.distillation.settings import Settings
from tse_onnx.distillation.views import Views

_log = logging.getLogger(__name__)

_PATIENCE = 2
"""After so many epochs in a row that are no better than the best, training stops."""
_STOP_VIEWS = 3
"""Views of each of the samples to stop by, beside the sample itself."""


@dataclass(frozen=True)
class Trained:
    """What came out: the best state that was seen, and how it came about."""

    state: Tensors
    best: int
    start: float
    epochs: tuple[Epoch, ...]


class Trainer:
    """Trains the knobs of a pair on views of `samples`, until those of `stop` say that it is enough."""

    def __init__(self, pair: Pair, samples: Samples, stop: Samples, settings: Settings, seed: int) -> None:
        self._pair, self._settings = pair, settings
        self._views = Views(samples, seed)
        looked_at = Views(stop, seed)
        self._stop = [looked_at.plain(start, settings.step) for start in range(0, stop.count, settings.step)]
        count = -(-_STOP_VIEWS * stop.count // settings.step)
        self._stop += [looked_at.batch(number, settings.step) for number in range(count)]
        pair.widen(self._views.batch(0, 2 * samples.batch))
        first = self._views.batch(0, settings.step)
        self._objective: Objective = pair.objective(first)
        self._sizes = _sizes(pair, first)

    def trained(self, checkpoint: Checkpoint | None = None) -> Trained:
        """Train from the start, or from where the checkpoint is."""
        progress = (checkpoint.load() if checkpoint is not None else None) or self._begun()
        state = {name: tensor.clone().requires_grad_() for name, tensor in progress.state.items()}
        optimiser = torch.optim.Adam([{"params": [state[name]], "lr": 0.0} for name in state])
        if progress.optimiser:
            optimiser.load_state_dict(progress.optimiser)
        while (number := len(progress.epochs)) < self._settings.epochs and not _over(progress):
            loss = self._epoch(number, state, optimiser)
            stop_loss = self._stop_loss(state)
            progress.epochs.append(Epoch(number + 1, loss, stop_loss))
            _log.info("epoch %d: loss %.5f, %.5f on the samples to stop by", number + 1, loss, stop_loss)
            if stop_loss < _least(progress):
                progress.best, progress.best_state = number + 1, _copied(state)
            progress.state, progress.optimiser = _copied(state), optimiser.state_dict()
            if checkpoint is not None:
                checkpoint.save(progress)
        return Trained(progress.best_state, progress.best, progress.start, tuple(progress.epochs))

    def _begun(self) -> Progress:
        state = {name: one for knob in self._pair.knobs for name, one in knob.start().items()}
        state |= self._pair.weights.begun()
        return Progress(state, {}, _copied(state), 0, self._stop_loss(state), [])

    def _epoch(self, number: int, state: Tensors, optimiser: torch.optim.Optimizer) -> float:
        """One epoch; the mean loss of its steps. The numbers move less and less, as half a cosine falls."""
        settings, total = self._settings, 0.0
        for step in range(number * settings.steps, (number + 1) * settings.steps):
            settings.say("training", step, settings.epochs * settings.steps)
            fall = 0.5 * (1 + math.cos(math.pi * step / (settings.epochs * settings.steps)))
            for group, name in zip(optimiser.param_groups, state, strict=True):
                group["lr"] = settings.rate * self._sizes[name] * fall
            feed = self._views.batch(step, settings.step)
            loss = self._objective(self._pair.original(feed), self._pair.changed(feed, state))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
        return total / settings.steps

    def _stop_loss(self, state: Mapping[str, Tensor]) -> float:
        losses = list[float]()
        with torch.no_grad():
            for feed in self._stop:
                losses.append(float(self._objective(self._pair.original(feed), self._pair.changed(feed, state))))
        return sum(losses) / len(losses)


def _sizes(pair: Pair, feed: Tensors) -> dict[str, float]:
    seen, sizes = pair.original(feed), pair.weights.sizes()
    for knob in pair.knobs:
        sizes |= knob.sizes(float(seen[knob.value].std(0).square().mean().sqrt()))
    return sizes


def _least(progress: Progress) -> float:
    return progress.epochs[progress.best - 1].stop_loss if progress.best else progress.start


def _over(progress: Progress) -> bool:
    return len(progress.epochs) - progress.best >= _PATIENCE


def _copied(state: Mapping[str, Tensor]) -> Tensors:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
