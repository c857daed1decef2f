"""How far one output is from the original's: what is made small of it, by name or as the user has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Union

import torch
from torch import Tensor

from tse_onnx.errors import UsageError

Mean = Callable[[Tensor], Tensor]
"""The mean of a value over all processes that train together."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes the original's output and that of the network that is trained, both for one batch; gives one number."""
LossLike = Union[str, Loss]

LOSSES = "kl, kl:AXIS, mse, l1, none"


def loss_of(named: LossLike, mean: Mean) -> Loss | None:
    """The loss by its name, None for an output that does not count: `kl` is the divergence KL(original ‖ trained) of
    classes along an axis, 1 if none is named; `mse` and `l1` are the squares and the sizes of the differences to those
    of the original's values. Raises `UsageError` for a name that there is not."""
    if not isinstance(named, str):
        return named
    if named in ("mse", "l1"):
        return partial(relative, mean=mean, power=2 if named == "mse" else 1)
    if named == "none":
        return None
    matched = re.fullmatch(r"kl(?::(-?[0-9]{1,2}))?", named)
    if matched is None:
        raise UsageError(f"there is no loss {named!r}; there is {LOSSES}")
    return partial(divergence, axis=int(matched[1] or 1))


def relative(original: Tensor, changed: Tensor, mean: Mean, power: int = 2) -> Tensor:
    """The energy of the difference over that of the original's values, of which the one over all processes counts."""
    energy = mean(_size(original, power).mean())
    return _size(changed - original, power).mean() / energy.clamp_min(torch.finfo(energy.dtype).tiny)


def _size(values: Tensor, power: int) -> Tensor:
    return values.square() if power == 2 else values.abs()


def divergence(original: Tensor, changed: Tensor, axis: int = 1) -> Tensor:
    """KL(original ‖ changed) of logits, or of what a softmax made of them, along an axis; the mean over all others."""
    if not -original.ndim <= axis < original.ndim:
        raise UsageError(f"an output of {original.ndim} axes has no axis {axis} along which there are classes")
    shares = probable(original, axis)
    p, q = log_shares(original, axis, shares), log_shares(changed, axis, shares)
    return (p.exp() * (p - q)).sum(axis).mean()


def probable(values: Tensor, axis: int) -> bool:
    """Whether values are probabilities along an axis already, as a softmax makes them."""
    return bool((values >= 0).all()) and bool(((values.sum(axis) - 1).abs() <= 1e-2).all())


def log_shares(values: Tensor, axis: int, probabilities: bool) -> Tensor:
    """The logarithms of probabilities, or of the softmax of logits."""
    if probabilities:
        return values.clamp_min(torch.finfo(values.dtype).tiny).log()
    return torch.log_softmax(values, axis)
