"""An array of processing elements, as data.

What `cycles.py` makes of it is a fit: its form and numbers are those with which the published times of thirteen
networks on the two arrays of the SqueezeNext paper (Gholami et al., 2018, Table 3) come out with a mean error of 4 and
of 2 percent; docs/costs.md has them side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tse_onnx.costs.energy import Energy, published
from tse_onnx.errors import UsageError

WS, OS = "ws", "os"
DATAFLOWS = {WS: "weight stationary", OS: "output stationary"}


@dataclass(frozen=True)
class Array:
    """A square of `size` × `size` processing elements with a `buffer` of so many bytes for activations. Raises
    `UsageError` for a value that a field cannot have, by its name.

    * `dataflows`: the ways in which it can go through a layer, of `DATAFLOWS`; the quicker is taken for each.
    * `bits`: of a weight and of an activation. `bytes_per_cycle`: between external memory and the array.
    * `sparsity`: the share of weights that is zero, and that output stationary skips.
    * `load`: cycles for a row of an input channel into the array, `drain`: for a tile of an output channel out of it,
      both of output stationary alone.
    * `setup`: cycles before a layer begins.
    * `energy`: what accesses cost; None where that is not known.
    """

    name: str
    size: int
    buffer: int
    dataflows: tuple[str, ...] = (WS, OS)
    bits: int = 16
    bytes_per_cycle: float = 16.0
    sparsity: float = 0.4
    load: float = 0.25
    drain: float = 0.25
    setup: int = 3000
    energy: Energy | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name.strip()):
            raise UsageError(f"name is a text, not {self.name!r}"[:120])
        for name, most in (("size", 1 << 16), ("buffer", 1 << 50), ("bits", 1024)):
            if not (type(value := getattr(self, name)) is int and 1 <= value <= most):
                raise UsageError(f"{name} is a whole number from 1 to {most}, not {value!r}"[:120])
        if not (type(self.setup) is int and 0 <= self.setup <= 1 << 50):
            raise UsageError(f"setup is a whole number of cycles, not {self.setup!r}"[:120])
        flows = self.dataflows if isinstance(self.dataflows, (tuple, list)) else ()
        if not (
            flows and all(flow in DATAFLOWS for flow in map(str, flows)) and len(set(map(str, flows))) == len(flows)
        ):
            raise UsageError(
                f"dataflows is a list of {' and '.join(DATAFLOWS)}, each once, not {self.dataflows!r}"[:120]
            )
        if not (_is_number(self.bytes_per_cycle) and self.bytes_per_cycle >= 1e-9):
            raise UsageError(
                f"bytes_per_cycle is a number above 0, from 1e-9 to 1e15, not {self.bytes_per_cycle!r}"[:120]
            )
        if not (_is_number(self.sparsity) and 0 <= self.sparsity < 1):
            raise UsageError(f"sparsity is a share of weights from 0 to below 1, not {self.sparsity!r}"[:120])
        for name in ("load", "drain"):
            if not (_is_number(value := getattr(self, name)) and value >= 0):
                raise UsageError(f"{name} is a number of cycles from 0 to 1e15, not {value!r}"[:120])

    def with_energy(self, name: str) -> Array:
        """The same array with energies that are published: `horowitz2014` or `eyeriss2016`. Raises `UsageError` where
        these have none for its bits or its buffer."""
        return replace(self, energy=published(name, self.bits, self.buffer))

    @property
    def elements(self) -> int:
        """How many processing elements there are."""
        return self.size**2


def _is_number(value: object) -> bool:
    """Whether it is one with which cycles stay finite; no integer is too long to be asked."""
    return type(value) in (int, float) and abs(value) <= 1e15  # type: ignore[arg-type]
