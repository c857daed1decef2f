"""Weights of the network while they are trained."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tse_onnx.errors import ModelError
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """Tensors by the names of their initializers, as the original has them. `places` says how each lies in the changed
    model: its dimensions there, and whether its first two axes have changed places. `share` is how far they move in a
    step, relative to their size, to how far slopes and offsets do."""

    start: Mapping[str, Tensor]
    places: Mapping[str, tuple[torch.Size, bool]]
    share: float = 1.0

    @classmethod
    def of(
        cls,
        names: Iterable[str],
        original: Mapping[str, Tensor],
        changed: Mapping[str, Tensor],
        share: float = 1.0,
        spare: Collection[str] = (),
    ) -> Weights:
        """Those with these names, in models with these constants. Raises `ModelError` where one is not found again; one
        that is `spare` is then left out."""
        places = {name: place_of(original[name], changed.get(name)) for name in names}
        found = {name: place for name, place in places.items() if place is not None}
        if lost := next((name for name in places if name not in found and name not in spare), None):
            raise ModelError(
                f"the weights {quoted(lost)} are not found again in the converted model: they cannot be trained"
            )
        return cls({name: original[name] for name in found}, found, share)

    @property
    def numbers(self) -> int:
        """How many numbers they are."""
        return sum(one.numel() for one in self.start.values())

    def begun(self) -> Tensors:
        """What is trained, at first."""
        return {_key(name): one.clone() for name, one in self.start.items()}

    def sizes(self) -> dict[str, float]:
        """How large they are, by which they are moved."""
        return {_key(name): self.share * (float(one.square().mean().sqrt()) or 1.0) for name, one in self.start.items()}

    def laid(self, state: Mapping[str, Tensor]) -> Tensors:
        """The tensors as the changed model has them."""
        found: Tensors = {}
        for name, (shape, transposed) in self.places.items():
            now = state[_key(name)]
            found[name] = (now.transpose(0, 1) if transposed else now).reshape(shape)
        return found

    def arrays(self, state: Mapping[str, Tensor], rate: str = "rate") -> dict[str, np.ndarray]:
        """The numbers as the model has them. Raises `ModelError` where they are none: `rate` is what bounds them."""
        found = {name: state[_key(name)].detach().cpu().numpy() for name in self.start}
        for name, array in found.items():
            if not np.isfinite(array).all():
                raise ModelError(f"the weights {quoted(name)} grew without bound: take a smaller {setting(rate)}")
        return found


def place_of(original: Tensor, changed: Tensor | None) -> tuple[torch.Size, bool] | None:
    """How a tensor of the original lies in the changed model, None where that has other numbers."""
    if changed is not None and changed.numel() == original.numel():
        if torch.equal(original.reshape(-1), changed.reshape(-1)):
            return changed.shape, False
        if original.ndim > 1 and torch.equal(original.transpose(0, 1).reshape(-1), changed.reshape(-1)):
            return changed.shape, True
    return None


def _key(name: str) -> str:
    return f"{name}|weights"
