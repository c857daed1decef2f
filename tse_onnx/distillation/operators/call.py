"""A node while it is run, and how an operator is entered into a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from tse_onnx.errors import ModelError


@dataclass(frozen=True)
class Call:
    """A node with what it reads: `inputs` in order, None for one that is left out; `opset` is the model's."""

    operator: str
    inputs: Sequence[Tensor | None]
    attributes: Mapping[str, Any]
    opset: int

    @property
    def first(self) -> Tensor:
        """The first input, which every operator but Constant has."""
        return self.tensor(0)

    def has(self, place: int) -> bool:
        """Whether there is an input at a place."""
        return place < len(self.inputs) and self.inputs[place] is not None

    def tensor(self, place: int) -> Tensor:
        """The input at a place."""
        found = self.inputs[place] if place < len(self.inputs) else None
        if found is None:
            raise ModelError(f"{self.operator} lacks its input {place}")
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def integers(self, place: int, name: str) -> list[int] | None:
        """Whole numbers that are an input or, in older opsets, an attribute; None where there are none."""
        if self.has(place):
            return [int(number) for number in self.tensor(place).reshape(-1).tolist()]
        stated = self.get(name)
        return None if stated is None else list(stated)

    def unknown(self, what: str) -> ModelError:
        """The error for a form of the operator that is not known."""
        return ModelError(f"torch is told nothing of {self.operator} with {what}")


Result: TypeAlias = Tensor | Sequence[Tensor]
Operator = Callable[[Call], Result]
Table = Mapping[str, Operator]
