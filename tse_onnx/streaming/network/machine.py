"""The machine that a network streams through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tse_onnx.errors import UsageError

ROW, PIXEL = "row", "pixel"
SHARED, PER_READER = "shared", "per-reader"
SEPARATE = "separate"


@dataclass(frozen=True)
class Machine:
    """How the machine stores and paces rows.

    * `grain`: `row` stores whole rows; `pixel` lets pixels come in raster order and stores no more of them than needed.
    * `storage`: a tensor with several readers is stored once (`shared`) or in a FIFO per reading node (`per-reader`).
    * `power_of_two`: depths are rounded up to powers of two.
    * `bits`: bits of an element; None takes the tensor's own type.
    * `back_to_back`: images follow each other without a gap, so that a tensor may hold rows of two of them. It is the
      `no_stall` figure alone that this concerns; all others are those of one image.
    * `replay`: a recomputed block makes its map twice with stages and stores of their own (`separate`), or goes over
      the same ones again (`shared`).
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

    def __post_init__(self) -> None:
        if self.grain not in (ROW, PIXEL):
            raise UsageError(f"the grain is {ROW} or {PIXEL}, not {self.grain!r}")
        if self.storage not in (SHARED, PER_READER):
            raise UsageError(f"the storage is {SHARED} or {PER_READER}, not {self.storage!r}")
        if self.replay not in (SHARED, SEPARATE):
            raise UsageError(f"the replay is {SHARED} or {SEPARATE}, not {self.replay!r}")
        if self.bits is not None and self.bits < 1:
            raise UsageError(f"an element has at least one bit, not {self.bits}")
        if min([self.latency, *self.latencies.values()]) < 0:
            raise UsageError("a latency cannot be negative")
