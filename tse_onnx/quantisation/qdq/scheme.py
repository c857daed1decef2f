"""How a network is quantised, as data."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import quoted

CALIBRATIONS = ("percentile", "minmax", "entropy")
OPERATORS = ("convolutions", "all")


@dataclass(frozen=True)
class Scheme:
    """Activations in uint8, one scale for each value; weights in int8, one scale for each output channel.

    `calibration` says how a value's range comes from data: `minmax` takes all of it, `percentile` leaves out as much at
    either end that `percentile` % are within, `entropy` takes what loses the least information. `operators` are those
    that are quantised: `convolutions`, whose inputs and weights are, or `all` that onnxruntime knows, with their
    outputs. The nodes in `keep`, by name or by output, stay in float. Raises `UsageError`.
    """

    calibration: str = "percentile"
    operators: str = "convolutions"
    keep: Collection[str] = frozenset()
    percentile: float = 99.99

    def __post_init__(self) -> None:
        for name, known in (("calibration", CALIBRATIONS), ("operators", OPERATORS)):
            if (said := getattr(self, name)) not in known:
                raise UsageError(f"{name} {quoted(str(said))} is none of {', '.join(known)}")
        if not 50 < self.percentile <= 100:
            raise UsageError(f"a percentile is over 50 and at most 100, not {self.percentile}")
        keep = {self.keep} if isinstance(self.keep, str) else set(self.keep)
        object.__setattr__(self, "keep", frozenset(keep))
