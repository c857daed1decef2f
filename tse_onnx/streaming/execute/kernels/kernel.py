"""What a row kernel is: which stored rows it takes for a row of its output, and how it computes that row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from onnx import NodeProto

from tse_onnx.passes.graph.index import captured
from tse_onnx.runtime.single import Single
from tse_onnx.streaming.network.network import Network, Stage, Tensor

Rows = Mapping[str, Mapping[int, np.ndarray]]
"""Stored rows by tensor and number. A row that is not there raises: that is how a wrong model would show."""


class Kernel(Protocol):
    """Makes rows. `takes` is the executor's own arithmetic, not the model's."""

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        """The stored rows that output row `row` is computed from, by tensor."""
        ...

    def make(self, row: int, rows: Rows) -> np.ndarray:
        """Output row `row`."""
        ...


class Stored(Protocol):
    """Stored rows of a tensor, by number."""

    def __getitem__(self, row: int) -> np.ndarray: ...

    def together(self, rows: Sequence[int]) -> np.ndarray:
        """Some of them one beside the other, in this order."""
        ...


class Stacking(ABC):
    """A kernel that makes several rows in one call."""

    @abstractmethod
    def stack(self, made: range, rows: Mapping[str, Stored]) -> np.ndarray | None:
        """Output rows `made` one beside the other; None where these have to be made one by one."""


class Absorber(Protocol):
    """Takes the rows of its only input one by one and keeps one accumulator row."""

    def serves(self, taken: int) -> int | None:
        """The output row that input row `taken` goes into; None where it goes into none."""
        ...

    def absorb(self, taken: int, row: np.ndarray) -> None:
        """Add an input row to the accumulator."""
        ...

    def emit(self, row: int) -> np.ndarray:
        """Output row `row`, complete; the accumulator is empty again."""
        ...


@dataclass(frozen=True)
class Site:
    """A stage with all that its kernel needs to know: the network, the opsets, and the constants by name."""

    stage: Stage
    network: Network
    opsets: Sequence[Any]
    weights: Mapping[str, np.ndarray]

    @property
    def node(self) -> NodeProto:
        """The stage's node."""
        return self.stage.node

    @property
    def slot(self) -> int:
        """Which of the node's outputs the stage makes."""
        return list(self.node.output).index(self.stage.output)

    @property
    def made(self) -> Tensor:
        """The stage's tensor."""
        return self.network.tensors[self.stage.output]

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The streaming tensors that the node reads."""
        tensors = self.network.tensors
        return {name: tensors[name] for name in self.node.input if name in tensors} | {
            name: tensors[name] for name in self.stage.inputs if name in captured(self.node)
        }

    def read(self, slot: int) -> Tensor:
        """The streaming tensor in an input slot."""
        return self.network.tensors[self.node.input[slot]]

    def constant(self, slot: int) -> np.ndarray | None:
        """The constant in an input slot; None where none is."""
        if slot >= len(self.node.input) or not self.node.input[slot]:
            return None
        return self.weights.get(self.node.input[slot])

    def single(
        self, node: NodeProto | None = None, *, fed: Mapping[str, np.ndarray] | None = None,
        fixed: Mapping[str, np.ndarray] | None = None,
    ) -> Single:  # fmt: skip
        """The node, or another in its place, in onnxruntime. Of its inputs, streaming tensors and those in `fed` are
        fed; `fixed` gives constants another value."""
        from onnx import helper

        node = node or self.node
        inputs: dict[str, int] = {}
        shapes: dict[str, Sequence[int | None]] = {}
        constants: dict[str, np.ndarray] = {}
        for name in node.input:
            if not name:
                continue
            if name in self.network.tensors:
                tensor = self.network.tensors[name]
                inputs[name], shapes[name] = tensor.dtype, [None] * len(tensor.dims)
                if node.op_type == "Resize" and name != node.input[0]:
                    shapes[name] = tensor.dims  # a length that is not stated is none to onnx's inference
            elif fed is not None and name in fed:
                inputs[name] = helper.np_dtype_to_tensor_dtype(fed[name].dtype)
                shapes[name] = [None] * fed[name].ndim
            else:
                constants[name] = (fixed or {}).get(name, self.weights.get(name, np.zeros(0, np.float32)))
        return Single(node, self.opsets, inputs, constants, self.stage.output, shapes)


Rule = Callable[[Site], Kernel]
"""How an operator is run on rows."""
Absorbing = Callable[[Site], Absorber]
"""How an operator takes rows where its stage absorbs them."""
