"""The user's own metric: a function of what a model makes of the samples, for tasks that are no classification."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tse_onnx.data.samples import Samples
from tse_onnx.errors import UsageError

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Predicted:
    """What a model makes of one batch: its `outputs` and what it was fed with, `feed`, both by name, and for each
    sample its name (the file, or the place in the array as text) and its class, where it has one."""

    outputs: Outputs
    feed: Outputs
    names: tuple[str, ...]
    labels: np.ndarray | None


Metric = Callable[[Iterable[Predicted]], float]
"""Takes the batches of all samples in order, once, and gives one number: mAP, mIoU, PSNR."""


@dataclass(frozen=True)
class Measured:
    """What a metric, called `name`, makes of the original and of the other models in order."""

    name: str
    original: float
    models: tuple[float, ...]


class Runs(Protocol):
    """A model that is opened."""

    def __call__(self, feed: Outputs) -> Outputs: ...


def measured(metric: Metric, original: Runs, others: Sequence[Runs], samples: Samples) -> Measured:
    """A metric of each model, which runs on all samples anew for it. Raises `UsageError` where it gives no number."""
    name = getattr(metric, "__name__", type(metric).__name__)
    found = []
    for run in (original, *others):
        value = metric(_predicted(run, samples))
        try:
            found.append(float(value))
        except (TypeError, ValueError) as error:
            raise UsageError(f"a metric gives one number, and {name} gave a {type(value).__name__}") from error
    return Measured(name, found[0], tuple(found[1:]))


def _predicted(run: Runs, samples: Samples) -> Iterator[Predicted]:
    done = 0
    for feed in samples.feeds():
        span = slice(done, min(done + samples.batch, samples.count))
        labels = None if samples.labels is None else samples.labels[span]
        yield Predicted(run(feed), feed, samples.names[span], labels)
        done = span.stop
