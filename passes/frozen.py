"""Frozen gates: where a gate does not move with the image, its numbers can stand in the model themselves.

A hard sigmoid that is saturated, or an excite whose last bias outweighs its input, gives the same gate for every image.
The squeeze and the excite are then for nothing, and so is the buffer. This is a property of the data that the network
sees, not of the graph, so it takes data to say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from tse_onnx.errors import UsageError

FROZEN: Final = "frozen"


@dataclass(frozen=True)
class Frozen:
    """A gate as constants: `gate` has a number for each channel of the map, or one for all of them."""

    gate: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.gate:
            raise UsageError("a frozen gate has a number for each channel, or one for all")
        if not all(map(math.isfinite, self.gate)):
            raise UsageError("a frozen gate holds a number that is not finite")

    def __str__(self) -> str:
        return "a frozen gate"
