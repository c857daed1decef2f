"""What an operator on the way from squeeze to gate does to a descriptor, and how it is kept when there are many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.graph.folding import Size, name_of
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.operators import Rules
from tse_onnx.passes.graph.types import Types
from tse_onnx.passes.reasons import Refusal


@dataclass(frozen=True)
class Operand:
    """An input of an operator on the way: a descriptor, or a constant with its dimensions."""

    name: str
    descriptor: Descriptor | None
    dims: tuple[int | None, ...] | None


class Unfit(Exception):
    """A node lacks what its operator cannot be without, or holds something else there: a model is made so, no rule."""


@dataclass(frozen=True)
class Site:
    """Where a rule looks: the node, its operands, and the graph around it. The descriptors are those of `map`."""

    node: NodeProto
    operands: tuple[Operand, ...]
    opset: int
    index: GraphIndex
    types: Types
    map: str

    @property
    def source(self) -> Descriptor | None:
        """The descriptor in the first operand."""
        return self.operands[0].descriptor if self.operands else None

    @property
    def constants_elsewhere(self) -> bool:
        """Whether the first operand is the only descriptor."""
        return self.source is not None and all(operand.descriptor is None for operand in self.operands[1:])

    def operand(self, slot: int) -> Operand:
        """The operand in a slot that the operator cannot be without. Raises `Unfit` where the node has none."""
        if slot >= len(self.operands):
            raise Unfit
        return self.operands[slot]

    def integers(self, slot: int) -> tuple[int, ...] | None:
        """A short constant operand that steers a view, as whole numbers; None where it is absent, long or computed.

        Raises `Unfit` where it holds anything else.
        """
        numbers = self.numbers(slot)
        return None if numbers is None else integers(numbers)

    def numbers(self, slot: int) -> np.ndarray | None:
        """A short constant operand's numbers; None where it is absent, long or computed."""
        if slot >= len(self.node.input) or not self.node.input[slot]:
            return None
        return self.index.short_constant(self.node.input[slot])

    def sizes(self, slot: int) -> np.ndarray | None:
        """A short operand that the graph computes from constants and sizes; a `Size` is one that is not known."""
        if slot >= len(self.node.input) or not self.node.input[slot] or self.index.folding is None:
            return None
        return self.index.folding.sizes(self.node.input[slot])

    def is_batch(self, size: object, held: Descriptor) -> bool:
        """Whether a size is that of the batch, by its number or by what the graph calls it."""
        if not isinstance(size, Size):
            return size == held.batch
        called = set()
        for name, place in ((self.map, 0), (self.node.input[0], held.axes.find("N"))):
            dims = self.types[name].dims
            if dims is not None and 0 <= place < len(dims) and not isinstance(dim := dims[place], int):
                called.add(Size((name_of(name, place, dim),)))
        return size in called


def integers(numbers: np.ndarray) -> tuple[int, ...]:
    """Whole numbers in their order. Raises `Unfit` for any other type."""
    if numbers.dtype.kind not in "iu":
        raise Unfit
    return tuple(int(number) for number in numbers.reshape(-1))


# How a node is lowered once its value holds one descriptor per tile, as [N, C, tiles, 1].


@dataclass(frozen=True)
class Keep:
    """The node stays. `per_channel` are the input slots whose constants vary by channel; `axis`, where not None, is the
    new value of the attribute of that name."""

    per_channel: tuple[int, ...] = ()
    axis: int | None = None


@dataclass(frozen=True)
class Alias:
    """The node only moves axes, and goes: its value is that of its first input."""


@dataclass(frozen=True)
class PointConvolution:
    """The node becomes a 1×1 convolution.

    `order` tells how its weights lie, rows first: "OI" or "IO"; further axes have extent one, unless `tap` names the
    place on each of them that alone meets the descriptor. `data`, `weight` and `bias` are input slots.
    """

    data: int
    weight: int
    order: str
    bias: int | None = None
    tap: tuple[int, ...] = ()


@dataclass(frozen=True)
class ChannelsLast:
    """The node works along its last axis, so it stands between two transposes; constants of the slots `flat` become
    vectors of the channels. `axis` tells whether an attribute names that axis, `place` where the axis is that it works
    along."""

    flat: tuple[int, ...] = ()
    axis: bool = True
    place: int = 1


@dataclass(frozen=True)
class Regroup:
    """The node lays the vector along other axes, [N, parts …, tiles, 1]: those of its result."""


@dataclass(frozen=True)
class Permute:
    """The node puts the axes of the vector into another order: that of `order`, from which each is counted from 0."""

    order: tuple[int, ...]


@dataclass(frozen=True)
class AcrossChannels:
    """A convolution that slides over the channels (ECA), with the weights in slot 1: of so many numbers for each
    channel it makes so many."""

    kernel: int
    pads: tuple[int, int]
    dilation: int = 1
    inputs: int = 1
    outputs: int = 1


@dataclass(frozen=True)
class Sliced:
    """The channels from `start` to `end` alone."""

    start: int
    end: int


@dataclass(frozen=True)
class OverChannels:
    """A reduction over the channels, whose axis stays with extent one."""


@dataclass(frozen=True)
class Cut:
    """The node takes runs of so many `lengths` one after the other, from `start` on, out of the vector along one axis;
    `joined` is the length of that where it lies along several."""

    start: int
    lengths: tuple[int, ...]
    joined: int | None = None


@dataclass(frozen=True)
class Join:
    """The node puts vectors side by side, along the first axis of its result; `joined` has the length of each operand
    that holds several, along one axis."""

    joined: tuple[int | None, ...]


Lowering = (
    Keep
    | Alias
    | Regroup
    | Permute
    | Cut
    | Join
    | PointConvolution
    | ChannelsLast
    | AcrossChannels
    | OverChannels
    | Sliced
)


@dataclass(frozen=True)
class Act:
    """What an admitted operator makes of a descriptor.

    `mixes` tells a map that combines channels from one that treats each alone; "full" for all of them (a convolution),
    "local" for neighbours (ECA). `macs` are the multiply-accumulates of one application. `others` are what further
    outputs hold.
    """

    result: Descriptor
    lowering: Lowering = Keep()
    mixes: str = ""
    macs: int = 0
    others: tuple[Descriptor, ...] = ()

    @property
    def results(self) -> tuple[Descriptor, ...]:
        """What each output holds."""
        return (self.result, *self.others)


Rule = Callable[[Site], "Act | Refusal"]
Forms = Rules[Rule]
"""Operators, and the rules that admit them."""
