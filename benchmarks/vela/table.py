"""What was measured, as lines and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.vela.compiler import Compiled

HEADER = (
    f"{'size':>4} {'activation':10} {'network':24} {'SRAM KiB':>8} {'ratio':>6} "
    f"{'ms':>6} {'NPU':>4} {'CPU':>4} {'MMAC':>6} {'ratio':>6}"
)


# The most that a recomputed network may take, as ratios to the one without squeeze-and-excite.
SRAM_AIM, MAC_AIM = 1.1, 1.25


@dataclass(frozen=True)
class Row:
    """One network compiled, beside `base`: the one without squeeze-and-excite of the same size and activation. One that
    is `aimed` is held to the aims."""

    network: str
    size: int
    activation: str
    compiled: Compiled
    base: Compiled
    aimed: bool = False

    @property
    def sram_ratio(self) -> float:
        """SRAM to the base's."""
        return self.compiled.sram / self.base.sram

    @property
    def mac_ratio(self) -> float:
        """MACs to the base's."""
        return self.compiled.mmac / self.base.mmac

    @property
    def met(self) -> bool | None:
        """Whether it is within the aims; None where there are none."""
        return self.sram_ratio <= SRAM_AIM and self.mac_ratio <= MAC_AIM if self.aimed else None


def line(row: Row) -> str:
    """A line below HEADER; where there are aims it says whether they are met."""
    one, said = row.compiled, {None: "", True: "  met", False: "  missed"}[row.met]
    return (
        f"{row.size:4} {row.activation:10} {row.network:24} {one.sram:8,.1f} {row.sram_ratio:6.2f} "
        f"{one.milliseconds:6.1f} {one.npu:4} {one.cpu:4} {one.mmac:6.1f} {row.mac_ratio:6.2f}{said}"
    )


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """An object for each row; SRAM and flash in KiB, MACs in millions, ratios to the base;
    `met` is null where there are no aims."""
    return [
        {
            "network": row.network,
            "size": row.size,
            "activation": row.activation,
            **asdict(row.compiled),
            "sram_ratio": round(row.sram_ratio, 4),
            "mac_ratio": round(row.mac_ratio, 4),
            "met": row.met,
        }
        for row in rows
    ]
