"""What a changed block costs: a number for each sample, which grows as the outputs leave the original's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tse_onnx.errors import DataError, UsageError
from tse_onnx.passes.settings import setting
from tse_onnx.runtime.scores import Outputs, holds_numbers, looks_like_classes, per_sample_kl, per_sample_noise

Loss = Callable[[Outputs, Outputs, "np.ndarray | None"], "np.ndarray | float"]
"""From the original's outputs, the changed network's and the labels of a batch to its losses [samples], or the mean."""

KL, NOISE, TOP1, AUTO = "kl", "noise", "top1", "auto"
LOSSES: Mapping[str, str] = {
    AUTO: "kl where an output looks like classes, else noise",
    KL: "divergence of the outputs from the original's, in nats",
    NOISE: "noise over signal, the mean over the outputs",
    TOP1: "fraction of the samples that are classified right no more, less those that are now; needs labels",
}


def loss_named(name: str, reference: Outputs, labels: np.ndarray | None) -> tuple[str, Loss]:
    """The loss called `name` and its own name, which differs for `auto`, for a network with outputs like `reference`.

    Raises `UsageError` for a name that there is not, `DataError` where the outputs or the labels are not such.
    """
    if name not in LOSSES:
        raise UsageError(f"there is no loss {name!r}; there are {', '.join(LOSSES)}")
    classes = [array for array in reference.values() if isinstance(array, np.ndarray) and looks_like_classes(array)]
    if name == AUTO:
        name = KL if classes else NOISE
    if name == NOISE and not any(map(holds_numbers, reference.values())):
        raise DataError("no output of the model holds numbers that a loss could be told from")
    if name in (KL, TOP1) and not classes:
        raise DataError(
            f"no output of the model looks like classes, so there is no {name}; use {setting('loss', NOISE)}"
        )
    if name == TOP1 and labels is None:
        raise DataError(f"{setting('loss', TOP1)} needs labels: a folder for each class, or {setting('labels')}")
    return name, {KL: _kl, NOISE: _noise, TOP1: _top1}[name]


def losses_of(loss: Loss, reference: Outputs, changed: Outputs, labels: np.ndarray | None, samples: int) -> list[float]:
    """The losses of a batch, one for each sample. Raises `UsageError` where a user's function gives something else."""
    found = np.asarray(loss(reference, changed, labels), np.float64)
    if found.ndim == 0:
        found = np.full(samples, float(found))
    if found.shape != (samples,):
        raise UsageError(f"the loss of {samples} samples is one number or {samples}, not of shape {list(found.shape)}")
    if np.isnan(found).any():
        raise UsageError("the loss of a sample is not a number")
    return [float(value) for value in found]


def _kl(reference: Outputs, changed: Outputs, labels: np.ndarray | None) -> np.ndarray:
    return per_sample_kl(reference, changed)


def _noise(reference: Outputs, changed: Outputs, labels: np.ndarray | None) -> np.ndarray:
    return per_sample_noise(reference, changed)


def _top1(reference: Outputs, changed: Outputs, labels: np.ndarray | None) -> np.ndarray:
    assert labels is not None
    name = next(name for name, array in reference.items() if looks_like_classes(array))
    was, now = (outputs[name].reshape(len(labels), -1).argmax(1) == labels for outputs in (reference, changed))
    lost: np.ndarray = was.astype(np.float64) - now.astype(np.float64)
    return lost
