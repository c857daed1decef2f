"""What training makes small: how far the changed network is from the original, and from labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from tse_onnx.distillation.losses import Loss, LossLike, Mean, divergence, log_shares, loss_of, probable, relative
from tse_onnx.distillation.views import Labels
from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.scores import looks_like_classes

Tensors = Mapping[str, Tensor]


def _alone(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True)
class Weighing:
    """How the parts of a loss are weighed: the error of the outputs and that of the layers beside the divergence of
    classes, and what share labels have of the whole. `losses` are those of outputs for which another one is wanted, by
    name."""

    outputs: float = 0.5
    layers: float = 0.5
    labels: float = 0.0
    losses: Mapping[str, LossLike] = field(default_factory=dict)


PLAIN = Weighing()


@dataclass(frozen=True)
class Objective:
    """The divergence of class probabilities, the error of the outputs, and that of the layers, added up.

    `classes` are the outputs that are logits, `probabilities` those that are what a softmax made; `outputs` are all
    that hold fractions, `layers` values inside the network. An error is relative to the energy of the original's
    values. `own` are the losses of outputs that the user chose; these are in none of the others. `labelled` is the
    output that labels are the classes of, `shares` whether that holds probabilities.
    """

    classes: Sequence[str]
    probabilities: Sequence[str]
    outputs: Sequence[str]
    layers: Sequence[str]
    own: Mapping[str, Loss | None] = field(default_factory=dict)
    labelled: str = ""
    shares: bool = False
    weighing: Weighing = PLAIN
    mean: Mean = _alone

    @classmethod
    def of(
        cls,
        original: Tensors,
        layers: Sequence[str],
        outputs: Sequence[str],
        weighing: Weighing = PLAIN,
        mean: Mean = _alone,
    ) -> Objective:
        """What fits a network that makes `original` of a batch. Raises `UsageError` where a loss is for no output, and
        where there are to be labels and no output looks like classes."""
        numbers = [name for name in outputs if original[name].is_floating_point()]
        for name in weighing.losses:
            if name not in numbers:
                has = ", ".join(map(quoted, numbers)) or "none"
                raise UsageError(f"a loss is for an output that holds fractions: {quoted(name)} is none of {has}")
        own = {name: loss_of(loss, mean) for name, loss in weighing.losses.items()}
        table = [name for name in numbers if looks_like_classes(original[name].detach().float().cpu().numpy())]
        if weighing.labels and not table:
            raise UsageError("there are labels to train by, but no output of the model looks like classes")
        labelled = max(table, key=lambda name: original[name].shape[1]) if weighing.labels else ""
        numbers = [name for name in numbers if name not in own]
        classes = [name for name in table if name not in own]
        shares = [name for name in table if probable(original[name].flatten(1), 1)]
        logits = [name for name in classes if name not in shares]
        inside = [name for name in layers if original[name].is_floating_point()]
        soft = [name for name in classes if name in shares]
        return cls(logits, soft, numbers, inside, own, labelled, labelled in shares, weighing, mean)

    def __call__(self, original: Tensors, changed: Tensors, labels: Labels | None = None) -> Tensor:
        """The loss of one batch."""
        weighing = self.weighing
        if weighing.labels == 1:
            return self._by_labels(changed, labels)
        total = sum((divergence(*_flat(original, changed, name)) for name in self.classes), _zero())
        for name in self.probabilities:
            total = total + divergence(*_flat(original, changed, name))
        for name, loss in self.own.items():
            if loss is not None:
                total = total + loss(original[name], changed[name])
        total = total + weighing.outputs * self._mean_error(original, changed, self.outputs)
        total = total + weighing.layers * self._mean_error(original, changed, self.layers)
        if not weighing.labels:
            return total
        return (1 - weighing.labels) * total + weighing.labels * self._by_labels(changed, labels)

    def _mean_error(self, original: Tensors, changed: Tensors, names: Sequence[str]) -> Tensor:
        error = partial(relative, mean=self.mean)
        return sum((error(original[name], changed[name]) for name in names), _zero()) / max(len(names), 1)

    def _by_labels(self, changed: Tensors, labels: Labels | None) -> Tensor:
        """The cross-entropy of the classes that are right."""
        assert labels is not None
        logs = log_shares(changed[self.labelled].flatten(1), 1, self.shares)
        return -labels.expected(logs).mean()


def _flat(original: Tensors, changed: Tensors, name: str) -> tuple[Tensor, Tensor]:
    return original[name].flatten(1), changed[name].flatten(1)


def _zero() -> Tensor:
    return torch.zeros(())
