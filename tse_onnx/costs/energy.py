"""Energies per access, and which accesses of a layer they are paid for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tse_onnx.errors import UsageError

PICOJOULE, MAC = "pJ", "MAC"


@dataclass(frozen=True)
class Accesses:
    """What a layer does on an array: the multiply-accumulates that are carried out, and the numbers that are moved
    between the array and its buffers, and from or to external memory."""

    macs: int
    buffer: int
    dram: int

    def __mul__(self, times: int) -> Accesses:
        return Accesses(self.macs * times, self.buffer * times, self.dram * times)


@dataclass(frozen=True)
class Energy:
    """What is paid: `mac` for a multiply-accumulate, `buffer` for an access of `buffer_bits` to a buffer, `dram` for
    one of `dram_bits` to external memory; all in `unit`, picojoules or the energy of one multiply-accumulate. A number
    of fewer or more bits pays its share of an access. `source` says whose figures these are. Raises `UsageError` for a
    value that a field cannot have, by its name."""

    mac: float
    buffer: float
    buffer_bits: int
    dram: float
    dram_bits: int
    source: str
    unit: str = PICOJOULE

    def __post_init__(self) -> None:
        for name in ("mac", "buffer", "dram"):
            value = getattr(self, name)
            if not (type(value) in (int, float) and 0 <= value <= 1e12):
                raise UsageError(f"{name} is a number of {self.unit} from 0 to 1e12, not {value!r}"[:120])
        for name in ("buffer_bits", "dram_bits"):
            if not (type(value := getattr(self, name)) is int and 1 <= value <= 1 << 16):
                raise UsageError(f"{name} is a whole number from 1 to {1 << 16}, not {value!r}"[:120])
        if not (isinstance(self.source, str) and self.source.strip()):
            raise UsageError("source says in words whose figures the energies are")

    def of(self, done: Accesses, bits: int) -> float:
        """The energy of so many accesses to numbers of so many bits, in `unit`."""
        buffer = done.buffer * self.buffer * bits / self.buffer_bits
        return done.macs * self.mac + buffer + done.dram * self.dram * bits / self.dram_bits


_HOROWITZ_MACS: Mapping[int, tuple[float, str]] = {
    8: (0.2 + 0.1, "8-bit integer multiplication, 32-bit addition"),
    16: (1.1 + 0.4, "16-bit floating point, because it prints no 16-bit integers"),
    32: (3.7 + 0.9, "32-bit floating point"),
}
_HOROWITZ_MEMORIES = ((8 << 10, 10.0, "8 KiB"), (32 << 10, 20.0, "32 KiB"), (1 << 20, 100.0, "1 MiB"))


def _horowitz(bits: int, buffer: int) -> Energy:
    """M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, figure 1.1.9: 45 nm, 0.9 V;
    the caches and the DRAM for 64 bits. Of its 1.3 to 2.6 nJ for the DRAM, the lower end."""
    if bits not in _HOROWITZ_MACS:
        raise UsageError(
            f"horowitz2014 has energies for 8, 16 and 32 bits, the array has {bits}: state [energy] in a file"
        )
    mac, words = _HOROWITZ_MACS[bits]
    for size, energy, called in _HOROWITZ_MEMORIES:
        if buffer <= size:
            source = f"Horowitz, ISSCC 2014, 45 nm ({words}; a memory of {called}; the lower end for DRAM)"
            return Energy(mac, energy, 64, 1300.0, 64, source)
    raise UsageError("horowitz2014 has memories up to 1 MiB, the array's buffer is larger: state [energy] in a file")


def _eyeriss(bits: int, buffer: int) -> Energy:
    """Y.-H. Chen, J. Emer, V. Sze, Eyeriss: a spatial architecture for energy-efficient dataflow for convolutional
    neural networks, ISCA 2016, table IV: 65 nm, 16 bits, relative to a multiply-accumulate; of a buffer of more than
    100 kB."""
    if bits != 16:
        raise UsageError(f"eyeriss2016 has energies for 16 bits, the array has {bits}: state [energy] in a file")
    return Energy(1.0, 6.0, 16, 200.0, 16, "Chen et al., ISCA 2016, 65 nm, 16 bits, relative to one MAC", MAC)


PUBLISHED = {"horowitz2014": _horowitz, "eyeriss2016": _eyeriss}
"""Tables of energies by name: functions of the bits of a number and the bytes of the buffer."""


def published(name: str, bits: int, buffer: int) -> Energy:
    """The energies that are published under a name, for numbers of so many bits and a buffer of so many bytes. Raises
    `UsageError` where there are none."""
    if name not in PUBLISHED:
        raise UsageError(f"energies are of {' or '.join(PUBLISHED)}, not {name!r}"[:120])
    return PUBLISHED[name](bits, buffer)
