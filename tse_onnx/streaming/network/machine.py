"""The machine that a network streams through."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tse_onnx.errors import UsageError

ROW, PIXEL = "row", "pixel"
SHARED, PER_READER = "shared", "per-reader"
SEPARATE = "separate"
FUSED = "fused"


@dataclass(frozen=True)
class Machine:
    """How the machine stores and paces rows. Raises `UsageError` for a value that a field cannot have, by its name.

    * `grain`: `row` stores whole rows; `pixel` lets pixels come in raster order and stores no more of them than needed.
    * `storage`: a tensor with several readers is stored once (`shared`) or in a FIFO per reading node (`per-reader`).
    * `replay`: a recomputed block makes its map twice with stages and stores of their own (`separate`), or goes over
      the same ones again (`shared`).
    * `resize`: with the grain `pixel`, a resize starts a row when the pixels that it needs are there (`pixel`), or when
      all of its input's rows that it needs are (`row`).
    * `fusion`: a layer and the elementwise operators behind it, normalisation and activation, are one stage, which
      keeps no row between them. `joins`: with fusion, one that reads something else as well, as an addition does, is
      part of that stage too (`fused`), or a stage of its own (`separate`).
    * `power_of_two`: depths are rounded up to powers of two.
    * `bits`: bits of an element; None takes the tensor's own type.
    * `back_to_back`: images follow each other without a gap, so that a tensor may hold rows of two of them. It is the
      `no_stall` figure alone that this concerns; all others are those of one image.
    * `macs_per_cycle`: multiply-accumulates that each stage does in a cycle, `elements_per_cycle` elements that one
      does which multiplies nothing, as many if None, and `rates` either of them by node name. A stage then takes as
      long for a row as its work takes, and an image as long as the slowest stage; without them all stages take the same
      time for an image. Used by the `no_stall` figure alone.
    * `memory`: bytes for the rows of all tensors; where they need more, some are kept in external memory.
    * `latency`: row times from when a stage starts a row to when the row is there; `latencies` by node name. Used by
      the `no_stall` figure alone.
    """

    grain: str = ROW
    storage: str = SHARED
    power_of_two: bool = False
    bits: int | None = None
    back_to_back: bool = False
    latency: float = 1.0
    latencies: Mapping[str, float] = field(default_factory=dict)
    replay: str = SEPARATE
    resize: str = PIXEL
    fusion: bool = False
    macs_per_cycle: float | None = None
    elements_per_cycle: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None
    joins: str = FUSED

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"{name} is {' or '.join(known)}, not {_shown(value)}")
        for name in ("power_of_two", "back_to_back", "fusion"):
            if not isinstance(value := getattr(self, name), bool):
                raise UsageError(f"{name} is true or false, not {_shown(value)}")
        if self.bits is not None and not (type(self.bits) is int and 1 <= self.bits <= _MOST_BITS):
            raise UsageError(f"bits is a whole number from 1 to {_MOST_BITS}, not {_shown(self.bits)}")
        if self.memory is not None and not (type(self.memory) is int and 0 <= self.memory <= _MOST_BYTES):
            raise UsageError(f"memory is a whole number of bytes, not {_shown(self.memory)}")
        if not _is_time(self.latency):
            raise UsageError(f"latency is a number of row times, not {_shown(self.latency)}")
        if not isinstance(self.latencies, Mapping):
            raise UsageError(f"latencies is a table of row times by node name, not {_shown(self.latencies)}")
        for node, time in self.latencies.items():
            if not _is_time(time):
                raise UsageError(f"latencies: that of {_shown(node)} is a number of row times, not {_shown(time)}")
        for name in ("macs_per_cycle", "elements_per_cycle"):
            if (rate := getattr(self, name)) is not None and not _is_rate(rate):
                raise UsageError(f"{name} is a number above 0, not {_shown(rate)}")
        if not isinstance(self.rates, Mapping):
            raise UsageError(f"rates is a table of numbers per cycle by node name, not {_shown(self.rates)}")
        for node, rate in self.rates.items():
            if not _is_rate(rate):
                raise UsageError(f"rates: that of {_shown(node)} is a number above 0, not {_shown(rate)}")
        if self.macs_per_cycle is None and (self.rates or self.elements_per_cycle is not None):
            raise UsageError(f"{'rates' if self.rates else 'elements_per_cycle'} goes with macs_per_cycle")


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "grain": (ROW, PIXEL),
    "storage": (SHARED, PER_READER),
    "replay": (SHARED, SEPARATE),
    "resize": (ROW, PIXEL),
    "joins": (FUSED, SEPARATE),
}
_MOST_BITS = 1024
_MOST_BYTES = 1 << 62
_LONGEST = 1e9
_SLOWEST = 1e-9


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value < _LONGEST


def _is_rate(value: Any) -> bool:
    return _is_time(value) and value >= _SLOWEST


def _shown(value: object) -> str:
    return "a table" if isinstance(value, Mapping) else f"{value!r}"[:60]
