"""The previous frame's gates: in a video a map is scaled by the gates of the frame before, which are there already.

The gates become an input and an output of the model, one pair for each block; whoever runs it feeds the outputs of a
frame back with the next one. Nothing waits for a gate any more. While the scene stands still nothing is lost, either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.choice import MEASURED, Buffers, Choice, Fields, Settled, Site
from tse_onnx.passes.blocks.offsets import offset_left
from tse_onnx.passes.blocks.whole_numbers import scaled_whole
from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.reasons import Refusal, quoted

if TYPE_CHECKING:
    from tse_onnx.passes.blocks.block import Block, Convertible, Tiled
    from tse_onnx.passes.graph.index import GraphIndex
    from tse_onnx.passes.graph.scope import Scope

PREVIOUS: Final = "previous"

# From this version of the format on an initializer may be an input as well without being constant.
_DEFAULTS = 4
# Operators that do no more than repeat a gate, which the scale does as well.
_SPREADS = frozenset({"Expand", "Resize", "Tile", "Upsample"})


def gate_in(block: str) -> str:
    """The input through which a block of this name gets its gates."""
    return f"{block}.gate_in"


def gate_out(block: str) -> str:
    """The output through which a block of this name hands its gates on."""
    return f"{block}.gate_out"


@dataclass(frozen=True)
class Previous(Choice):
    """A map that is scaled by the gates of the frame before. `first` is what a first frame is scaled by: a number for
    each channel, or one for all of them."""

    first: tuple[float, ...] = field(default=(1.0,), metadata={MEASURED: True})

    squeezes: ClassVar[Mapping[str, str]] = {PREVIOUS: "the gate is that of the frame before, for video"}
    examples: ClassVar[tuple[tuple[str, str], ...]] = (
        ('{ squeeze = "previous" }', "takes the gates of the frame before; the first frame's: [first]"),
    )
    any_size: ClassVar[bool] = True
    done: ClassVar[str] = PREVIOUS
    opens: ClassVar[str] = "takes, for the next frame, the mean of each channel of"
    separators: ClassVar[tuple[str, str]] = (",", ":")

    def __post_init__(self) -> None:
        if not self.first:
            raise UsageError("a first frame is scaled by a number for each channel, or one for all")
        if not all(map(math.isfinite, self.first)):
            raise UsageError("what a first frame is scaled by holds a number that is not finite")

    def __str__(self) -> str:
        return "the gates of the frame before"

    @property
    def already(self) -> str:
        """What is said of a block that takes the gates of the frame before."""
        return "scaled by the gates of the frame before already"

    @classmethod
    def of(cls, fields: Fields) -> Previous:
        """The choice with these numbers for a first frame, if there are some."""
        return cls(tuple(float(number) for number in fields["first"])) if "first" in fields else cls()

    def settle(self, block: Convertible, site: Site) -> Settled | Refusal:
        """The input and the output; refused where the model can have none for this block."""
        ends = gate_in(block.name), gate_out(block.name)
        if not site.scope.is_main:
            return Refusal(
                PREVIOUS,
                f"{quoted(block.name)} stands in {site.scope.title}, and what is made there for the next frame cannot "
                "leave the model: give it rows, or leave it out",
            )
        if site.scope.ir < _DEFAULTS:
            return Refusal(
                PREVIOUS,
                f"the model is of IR version {site.scope.ir}, in which an input has no default for a first frame: "
                f"write it as version {_DEFAULTS} or newer",
            )
        if refusal := scaled_whole(block, site, "hand on") or offset_left(block, site):
            return refusal
        if mixed := _mixed(block, site.scope):
            return Refusal(
                PREVIOUS,
                f"the map of {quoted(block.name)} is a batch of {mixed[0]} where {quoted(mixed[1])}, an input, is one "
                f"of {mixed[2]}: frames of one stream may lie side by side in it, and each needs the gates of the one "
                "before: give it rows, or leave it out",
            )
        if taken := next((name for name in ends if name in site.names), ""):
            return Refusal(PREVIOUS, f"the model has a value {quoted(taken)} already: rename it")
        if block.channels is not None and len(self.first) not in (1, block.channels):
            raise UsageError(
                f"the plan scales a first frame at {quoted(block.name)} by {len(self.first)} numbers; its map has "
                f"{block.channels} channels"
            )
        if block.branches > 1:
            text = f"the gates of {quoted(block.name)} are several for each channel, one for each branch"
            return Refusal(PREVIOUS, f"{text}: give it rows, or leave it out")
        value, held = _gate(block, site.scope.index)
        if "*" in held.axes:
            text = f"what spreads the gate of {quoted(block.name)} over the map is not the last before the scale"
            return Refusal(PREVIOUS, f"{text}: give it rows, or leave it out")
        dims = tuple({"N": None, "C": held.channels}.get(axis, 1) for axis in held.axes)
        dtype = site.scope.types[block.anatomy.map].dtype or block.dtype
        carried = Carried(*ends, dims, held.axes.index("C"), self.first, dtype, value)
        first = f"{self.first[0]:g}" if len(self.first) == 1 else "what the plan says"
        shape = ", ".join("N" if dim is None else str(dim) for dim in carried.shape(block))
        note = f"feed {quoted(ends[1])} [{shape}] back as {quoted(ends[0])} with the next frame; the first has {first}"
        return Settled(carried, note)

    def found(self, block: Tiled, site: Site) -> Carried | None:
        """The input and the output of a block that has them already."""
        ends = gate_in(block.name), gate_out(block.name)
        kind = site.scope.types[ends[1]]
        dims = kind.sizes
        if dims is None or block.channels not in dims:
            return None
        return Carried(*ends, dims, len(dims) - 1 - dims[::-1].index(block.channels), self.first, kind.dtype)


def _mixed(block: Convertible, scope: Scope) -> tuple[int, str, int] | None:
    """The batch of the map, and an input with its own, where none has that of the map: it is then not a stream for each
    sample that is fed."""
    batch = (block.shape or (None,))[0]
    sizes = {name: (scope.types[name].sizes or (None,))[0] for name in scope.index.inputs
             if name not in scope.index.initializers}  # fmt: skip
    given = {name: size for name, size in sizes.items() if size is not None}
    if batch is None or not given or len(given) < len(sizes) or batch in given.values():
        return None
    name = next(iter(given))
    return batch, name, given[name]


def _gate(block: Convertible, index: GraphIndex) -> tuple[str, Descriptor]:
    """The gate of a block as it is before it is spread over the map, and how it lies."""
    anatomy, value = block.anatomy, block.anatomy.gate
    held = {index.nodes[step.position].output[0]: step.act.result for step in anatomy.steps}
    held |= {squeeze.output: squeeze.descriptor for squeeze in anatomy.squeezes}
    wide = held[value]
    position = index.producer(value)
    if "*" in wide.axes and position is not None and index.nodes[position].op_type in _SPREADS:
        source = index.nodes[position].input[0]
        narrow = held.get(source, wide)
        if narrow.axes.rjust(len(wide.axes), "1") == wide.axes.replace("*", "1"):
            return source, narrow
    return value, wide


@dataclass(frozen=True)
class Carried:
    """A gate that goes from frame to frame: by the output `gate_out` of one, and the input `gate_in` of the next.

    Both have the dimensions `dims` (None: one for each sample of a batch), with the channels on the axis `channel`, and
    the element type `dtype`. `first` is what the input is where nothing is fed, `value` what is handed on.
    """

    gate_in: str
    gate_out: str
    dims: tuple[int | None, ...]
    channel: int
    first: tuple[float, ...]
    dtype: int
    value: str = ""

    def shape(self, block: Block) -> tuple[int | None, ...]:
        """The dimensions in the model that `block` stands in; None where the batch is open."""
        batch = (block.shape or (None,))[0]
        return tuple(batch if dim is None else dim for dim in self.dims)

    def buffers(self, block: Convertible | Tiled) -> Buffers:
        """No row waits: what is held is the gate of the frame before."""
        channels = block.channels or 0
        return Buffers(None, 1, channels, channels, 0, self.gate_in, self.dtype)
