"""What training makes small: how far the changed network is from the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tse_onnx.runtime.scores import looks_like_classes

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Objective:
    """The divergence of class probabilities, the error of the outputs, and that of the layers, added up.

    `classes` are the outputs that are logits, `probabilities` those that are what a softmax made; `outputs` are all
    that hold fractions, `layers` values inside the network. An error is relative to the energy of the original's
    values.
    """

    classes: Sequence[str]
    probabilities: Sequence[str]
    outputs: Sequence[str]
    layers: Sequence[str]
    output_weight: float = 0.5
    layer_weight: float = 0.5

    @classmethod
    def of(cls, original: Tensors, layers: Sequence[str], outputs: Sequence[str]) -> Objective:
        """What fits a network that makes `original` of a batch."""
        numbers = [name for name in outputs if original[name].is_floating_point()]
        classes = [name for name in numbers if looks_like_classes(original[name].numpy())]
        shares = [name for name in classes if _probable(original[name])]
        logits = [name for name in classes if name not in shares]
        return cls(logits, shares, numbers, [name for name in layers if original[name].is_floating_point()])

    def __call__(self, original: Tensors, changed: Tensors) -> Tensor:
        """The loss of one batch."""
        total = sum((_kl(_log_softmax(original[name]), _log_softmax(changed[name])) for name in self.classes), _zero())
        for name in self.probabilities:
            total = total + _kl(_log(original[name]), _log(changed[name]))
        total = total + self.output_weight * _mean_error(original, changed, self.outputs)
        return total + self.layer_weight * _mean_error(original, changed, self.layers)


def _probable(values: Tensor) -> bool:
    """Whether the rows are probabilities already, as a softmax makes them."""
    rows = values.flatten(1)
    return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() <= 1e-2).all())


def _mean_error(original: Tensors, changed: Tensors, names: Sequence[str]) -> Tensor:
    errors = [_error(original[name], changed[name]) for name in names]
    return sum(errors, _zero()) / max(len(errors), 1)


def _error(original: Tensor, changed: Tensor) -> Tensor:
    energy = original.square().mean()
    return (changed - original).square().mean() / energy.clamp_min(torch.finfo(energy.dtype).tiny)


def _kl(original: Tensor, changed: Tensor) -> Tensor:
    return (original.exp() * (original - changed)).sum(1).mean()


def _log_softmax(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits.flatten(1), 1)


def _log(shares: Tensor) -> Tensor:
    return shares.flatten(1).clamp_min(torch.finfo(shares.dtype).tiny).log()


def _zero() -> Tensor:
    return torch.zeros(())
