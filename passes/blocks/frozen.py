"""Frozen gates: where a gate does not move with the image, its numbers can stand in the model themselves.

A hard sigmoid that is saturated, or an excite whose last bias outweighs its input, gives the same gate for every image.
The squeeze and the excite are then for nothing, and so is the buffer. This is a property of the data that the network
sees, not of the graph, so it takes data to say so.
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
from tse_onnx.passes.reasons import Refusal, quoted

if TYPE_CHECKING:
    from tse_onnx.passes.blocks.block import Convertible, Tiled

FROZEN: Final = "frozen"


@dataclass(frozen=True)
class Frozen(Choice):
    """A gate as constants: `gate` has a number for each channel of the map, or one for all of them."""

    gate: tuple[float, ...] = field(metadata={MEASURED: True})

    squeezes: ClassVar[Mapping[str, str]] = {FROZEN: "the gate is made of constants"}
    examples: ClassVar[tuple[tuple[str, str], ...]] = (
        ('{ squeeze = "frozen" }', "its gate becomes the constants under [gates]"),
    )
    done: ClassVar[str] = FROZEN
    opens: ClassVar[str] = "holds the gate that scales"
    may_lose_scale: ClassVar[bool] = True  # gone into a convolution
    separators: ClassVar[tuple[str, str]] = (",", ":")

    def __post_init__(self) -> None:
        if not self.gate:
            raise UsageError("a frozen gate has a number for each channel, or one for all")
        if not all(map(math.isfinite, self.gate)):
            raise UsageError("a frozen gate holds a number that is not finite")

    def __str__(self) -> str:
        return "a frozen gate"

    @classmethod
    def of(cls, fields: Fields) -> Frozen:
        """The gate with these numbers."""
        return cls(tuple(float(number) for number in fields["gate"]))

    def settle(self, block: Convertible, site: Site) -> Settled | Refusal:
        """Itself, on any map with as many channels; refused where gates are whole numbers."""
        if refusal := scaled_whole(block, site, "freeze"):
            return refusal
        if refusal := offset_left(block, site):
            return refusal
        if block.gates is not None and len(self.gate) not in (1, block.gates):
            raise UsageError(
                f"the plan freezes {quoted(block.name)} with a gate of {len(self.gate)} numbers; its map has "
                f"{block.gates} channels"
            )
        return Settled(self, "its gate is frozen")

    def buffers(self, block: Convertible | Tiled) -> Buffers:
        """Nothing, and no excite."""
        return Buffers(None, 0, 0, 0, -block.anatomy.macs)
