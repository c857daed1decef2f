"""A network as a pipeline: one stage per node output, tensors between them that are stored in rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from onnx import ModelProto, NodeProto

from tse_onnx.streaming.network.constants import Constants
from tse_onnx.streaming.network.needs.axis import ROWS, Axis
from tse_onnx.streaming.network.needs.rows import Need, everything


@dataclass(frozen=True)
class Tensor:
    """A value that streams: its dimensions, element type (a `TensorProto.DataType`), and where rows and columns lie.

    `source` tells an input of the graph, `leaves` an output of it, which the world takes as it is made. Along the axis
    `one_column`, its last, every row is one column, repeated: that one is held. (By columns there is no such axis.)
    `held` is the element type that it is held in, 0 for its own: of a quantised value that of whole numbers.
    """

    name: str
    dims: tuple[int, ...]
    dtype: int
    rows: Axis | None
    columns: Axis | None
    source: bool = False
    leaves: bool = False
    one_column: int | None = None
    held: int = 0

    @property
    def stored(self) -> int:
        """The element type that a machine stores."""
        return self.held or self.dtype

    @property
    def row_count(self) -> int:
        """Rows that the tensor comes in; 1 where it is stored whole."""
        return self.rows.size if self.rows is not None else 1

    @property
    def column_count(self) -> int:
        """Columns of a row; 1 where the row is one unit."""
        if self.columns is None or (self.rows is not None and self.rows.axis == self.columns.axis):
            return 1
        return self.columns.size

    @property
    def elements(self) -> int:
        """Elements of the tensor, for one image."""
        return math.prod(self.dims[1:] if len(self.dims) > 1 else self.dims)

    @property
    def row_elements(self) -> int:
        """Elements of one row, for one image."""
        repeated = 1 if self.one_column is None else self.dims[self.one_column]
        return self.elements // self.row_count // repeated or 1


@dataclass(frozen=True, eq=False)
class Stage:
    """What makes one tensor: a node, the tensors that it reads, and the rows of them that each row needs.

    `absorbs`: it releases a row on arrival and keeps one accumulator row. `accumulates`: it keeps an accumulator row
    beside its needs. `barrier` says why it needs all rows, "" where it does not.
    """

    node: NodeProto
    position: int
    label: str
    inputs: tuple[str, ...]
    output: str
    needs: tuple[Need, ...]
    column_needs: tuple[Need, ...]
    absorbs: bool = False
    accumulates: bool = False
    barrier: str = ""
    depth: int = 0


@dataclass(frozen=True)
class Network:
    """The pipeline of a graph: stages in topological order, tensors by name, the rows of the largest input, and the
    spatial axis that maps stream along, 0 or 1: what is called a row is a column of the maps then.

    `carried` are inputs that take what the frame before left, and need not be fed: they are whole when a frame begins,
    and stream no rows. `apart` is the model that was read in place of the one given, where that has rows side by side.
    """

    tensors: Mapping[str, Tensor]
    stages: tuple[Stage, ...]
    readers: Mapping[str, tuple[int, ...]]
    producer: Mapping[str, int]
    constants: Constants
    opset: int
    unknown: tuple[str, ...]
    axis: int = ROWS
    carried: tuple[Tensor, ...] = ()
    apart: ModelProto | None = None

    def column_need(self, stage: Stage, number: int) -> Need:
        """Which columns of its input `number` a column of the stage's output needs; all where rows are one unit."""
        read, made = self.tensors[stage.inputs[number]], self.tensors[stage.output]
        need = stage.column_needs[number]
        if need.size != read.column_count or len(need.rows) != made.column_count:
            return everything(read.column_count, made.column_count)
        return need

    def with_stages(self, stages: Sequence[Stage]) -> Network:
        """The network made of other stages, which read its inputs and each other, and without the tensors that none of
        them makes."""
        made = {stage.output for stage in stages}
        readers: dict[str, list[int]] = {
            name: [] for name, tensor in self.tensors.items() if tensor.source or name in made
        }
        for number, stage in enumerate(stages):
            for name in stage.inputs:
                readers[name].append(number)
        return replace(
            self,
            tensors={name: self.tensors[name] for name in readers},
            stages=tuple(stages),
            readers={name: tuple(numbers) for name, numbers in readers.items()},
            producer={stage.output: number for number, stage in enumerate(stages)},
        )

    @cached_property
    def sources(self) -> tuple[Tensor, ...]:
        """The inputs that stream."""
        return tuple(tensor for tensor in self.tensors.values() if tensor.source)

    @cached_property
    def height(self) -> int:
        """Rows of the input with the most rows: the clock of the pipeline."""
        return max(tensor.row_count for tensor in self.sources)
