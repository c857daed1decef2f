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


@dataclass(frozen=True)
class Row:
    """One network compiled, beside `base`: the one without squeeze-and-excite of the same size and activation."""

    network: str
    size: int
    activation: str
    compiled: Compiled
    base: Compiled

    @property
    def sram_ratio(self) -> float:
        """SRAM to the base's."""
        return self.compiled.sram / self.base.sram

    @property
    def mac_ratio(self) -> float:
        """MACs to the base's."""
        return self.compiled.mmac / self.base.mmac


def line(row: Row) -> str:
    """A line below HEADER."""
    one = row.compiled
    return (
        f"{row.size:4} {row.activation:10} {row.network:24} {one.sram:8,.1f} {row.sram_ratio:6.2f} "
        f"{one.milliseconds:6.1f} {one.npu:4} {one.cpu:4} {one.mmac:6.1f} {row.mac_ratio:6.2f}"
    )


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """An object for each row; SRAM and flash in KiB, MACs in millions, ratios to the base."""
    return [
        {
            "network": row.network,
            "size": row.size,
            "activation": row.activation,
            **asdict(row.compiled),
            "sram_ratio": round(row.sram_ratio, 4),
            "mac_ratio": round(row.mac_ratio, 4),
        }
        for row in rows
    ]
