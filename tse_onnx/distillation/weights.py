"""The weights of excites while they are trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tse_onnx.distillation.excites import Excite
from tse_onnx.errors import ModelError
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting

Tensors = dict[str, Tensor]

_SHARE = 0.1
"""How far weights move to how far slopes and offsets do: a hundred times as many numbers fit what is seen of samples
rather than the samples."""


@dataclass(frozen=True)
class Weights:
    """Tensors by the names of their initializers, as the original has them. `places` says how each lies in the changed
    model: its dimensions there, and whether its first two axes have changed places."""

    start: Mapping[str, Tensor]
    places: Mapping[str, tuple[torch.Size, bool]]

    @classmethod
    def of(cls, excites: Iterable[Excite], original: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> Weights:
        """Those of the excites, in models with these constants. Raises `ModelError` where one is not found again."""
        names = [name for excite in excites for name in excite.weights]
        return cls(
            {name: original[name] for name in names},
            {name: _place(name, original[name], changed.get(name)) for name in names},
        )

    @property
    def numbers(self) -> int:
        """How many numbers they are."""
        return sum(one.numel() for one in self.start.values())

    def begun(self) -> Tensors:
        """What is trained, at first."""
        return {_key(name): one.clone() for name, one in self.start.items()}

    def sizes(self) -> dict[str, float]:
        """How large they are, by which they are moved."""
        return {_key(name): _SHARE * (float(one.square().mean().sqrt()) or 1.0) for name, one in self.start.items()}

    def laid(self, state: Mapping[str, Tensor]) -> Tensors:
        """The tensors as the changed model has them."""
        found: Tensors = {}
        for name, (shape, transposed) in self.places.items():
            now = state[_key(name)]
            found[name] = (now.transpose(0, 1) if transposed else now).reshape(shape)
        return found

    def arrays(self, state: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """The numbers as the model has them. Raises `ModelError` where they are none."""
        found = {name: state[_key(name)].detach().numpy() for name in self.start}
        for name, array in found.items():
            if not np.isfinite(array).all():
                raise ModelError(f"the weights {quoted(name)} grew without bound: take a smaller {setting('rate')}")
        return found


def _place(name: str, original: Tensor, changed: Tensor | None) -> tuple[torch.Size, bool]:
    if changed is not None and changed.numel() == original.numel():
        if torch.equal(original.reshape(-1), changed.reshape(-1)):
            return changed.shape, False
        if original.ndim > 1 and torch.equal(original.transpose(0, 1).reshape(-1), changed.reshape(-1)):
            return changed.shape, True
    raise ModelError(f"the weights {quoted(name)} are not found again in the converted model: they cannot be trained")


def _key(name: str) -> str:
    return f"{name}|weights"
