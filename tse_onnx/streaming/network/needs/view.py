"""A node as the needs table sees it: operands with their rows, attributes, constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from tse_onnx.passes.graph.index import attribute, int_attribute, ints_attribute
from tse_onnx.streaming.network.needs.axis import Axis
from tse_onnx.streaming.network.needs.rows import Need, everything, through
from tse_onnx.streaming.network.needs.unfit import Unfit, at


@dataclass(frozen=True)
class Operand:
    """One input of a node; `axis` says where its rows lie (None: it is stored whole), `streams` that it is no
    constant."""

    name: str
    dims: tuple[int, ...]
    axis: Axis | None
    streams: bool

    @property
    def tokens(self) -> int:
        """Rows that the operand is stored in."""
        return self.axis.size if self.axis is not None else 1

    def size(self, axis: int) -> int:
        """How long an axis is. Raises `Unfit` where there is none."""
        return at(self.dims, axis, "a shape")

    def all(self, count: int) -> Need:
        """The need of all rows, for each of `count` rows."""
        return everything(self.tokens, count)

    def seen(self, axis: int, need: Need) -> Need:
        """`need`, which counts the indices of axis `axis`, in the rows that the operand is really stored in."""
        if self.axis is None:
            return through(need, 1, lambda _: 0)
        if self.axis.axis != axis or self.axis.outer != 1:  # all of it, where any of it
            return Need(self.tokens, tuple(range(self.tokens) if rows else () for rows in need.rows))
        if self.axis.plain:
            return need
        inner = self.axis.inner
        return through(need, self.axis.size, lambda row: row // inner)


@dataclass(frozen=True)
class View:
    """A node, its operands by slot (None: absent), the dimensions of all its outputs, and which output is asked for."""

    node: NodeProto
    operands: tuple[Operand | None, ...]
    outputs: tuple[tuple[int, ...], ...]
    slot: int
    opset: int
    values: Callable[[str], np.ndarray | None]

    @property
    def dims(self) -> tuple[int, ...]:
        """Dimensions of the output that is asked for."""
        return self.outputs[self.slot]

    @property
    def data(self) -> Operand:
        """The first operand. Raises `Unfit` where a model leaves it out."""
        first = self.operand(0)
        if first is None:
            raise Unfit("the first input is left out")
        return first

    def operand(self, slot: int) -> Operand | None:
        """The operand in a slot. Raises `Unfit` where the node ends before."""
        return at(self.operands, slot, "the list of inputs")

    def size(self, axis: int) -> int:
        """How long an axis of the output is. Raises `Unfit` where there is none."""
        return at(self.dims, axis, "a shape")

    def axis(self, name: str, default: int, rank: int) -> int:
        """An attribute that names one of `rank` axes, counted from the front."""
        return wrapped(self.integer(name, default), rank)

    @property
    def streaming(self) -> tuple[Operand, ...]:
        """The operands that are no constants."""
        return tuple(operand for operand in self.operands if operand is not None and operand.streams)

    def only_data_streams(self) -> bool:
        """Whether the first operand streams and all others are constants."""
        return self.data.streams and len(self.streaming) == 1

    def constant(self, slot: int) -> np.ndarray | None:
        """The value of a constant operand; None where it is absent, dynamic or not to be read."""
        if slot >= len(self.operands):
            return None
        operand = self.operands[slot]
        return None if operand is None or operand.streams else self.values(operand.name)

    def has(self, slot: int) -> bool:
        """Whether the operand of `slot` is given."""
        return slot < len(self.operands) and self.operands[slot] is not None

    def integer(self, name: str, default: int) -> int:
        """An integer attribute or its default."""
        return int_attribute(self.node, name, default)

    def integers(self, name: str) -> Sequence[int] | None:
        """A list attribute, or None."""
        return ints_attribute(self.node, name)

    def number(self, name: str, default: float) -> float:
        """A float attribute or its default."""
        found = attribute(self.node, name)
        return default if found is None else float(found.f)

    def text(self, name: str, default: str) -> str:
        """A string attribute or its default."""
        found = attribute(self.node, name)
        try:
            return default if found is None else found.s.decode()
        except UnicodeDecodeError as error:
            raise Unfit(f"{name} is no text") from error

    def listed(self, name: str, slot: int) -> tuple[int, ...] | None:
        """Integers that older opsets take from an attribute and newer ones from an input; None where neither is
        given or they are computed."""
        value = self.constant(slot)
        if value is not None:
            try:
                return tuple(int(each) for each in np.asarray(value).reshape(-1))
            except (ValueError, OverflowError) as error:  # text, or no finite number
                raise Unfit(f"{name} has no whole numbers") from error
        found = self.integers(name)
        return None if found is None else tuple(found)


def wrapped(axis: int, rank: int) -> int:
    """An axis of `rank`, counted from the front. Raises `Unfit` where there is none."""
    if not rank:
        raise Unfit("it names an axis of a tensor that has none")
    return axis % rank


@dataclass(frozen=True)
class Flow:
    """How the rows of an output come from those of the inputs.

    `axis` is where the output's rows lie, `needs` go by operand slot (None for constants). An `absorbs` node releases a
    row on arrival and keeps one accumulator row. `barrier` says why all rows are needed, "" where that is not so.
    """

    axis: Axis | None
    needs: tuple[Need | None, ...]
    absorbs: bool = False
    barrier: str = ""
    accumulates: bool = False
