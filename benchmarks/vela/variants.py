"""The networks that are compared, and how each comes from what the package writes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import onnx

from benchmarks.measure import COMMAND
from benchmarks.vela.network import build

_RECOMPUTED = ("--squeeze", "recompute")
_CASCADE = (*_RECOMPUTED, "--cascade")
_TARGET = ("--target", "ethos-u")


@dataclass(frozen=True)
class Variant:
    """A network with or without squeeze-and-excite, and the options it is converted with; None: it is not. The one that
    is `aimed` is held to the aims."""

    name: str
    se: bool
    options: tuple[str, ...] | None = None
    aimed: bool = False


def variants(size: int) -> tuple[Variant, ...]:
    """What is compared for images of `size` pixels, a multiple of 32; the first is what the others are measured by."""
    rows = size // 32  # divides the height of every map, and is that of the last
    # This compiler needs the memory that the tallest maps take, not the sum over all: the first two stages of blocks.
    tallest = ("--min-height", str(size // 4))
    halves = [f"{size // 2**depth}:{tile}" for depth, tile in enumerate((8, 8, 4, 2), 1)]
    return (
        Variant("no squeeze-and-excite", se=False),
        Variant("squeeze-and-excite", se=True),
        Variant(f"tiles of {rows} rows", se=True, options=("--rows", str(rows))),
        Variant("tiles of 8, 8, 4, 2 rows", se=True, options=tuple(word for one in halves for word in ("--rows", one))),
        Variant("recomputed", se=True, options=(*_RECOMPUTED, *tallest)),
        Variant("recomputed, --cascade", se=True, options=(*_CASCADE, *tallest), aimed=True),
        Variant("the same, --max-macs 20", se=True, options=(*_CASCADE, "--max-macs", "20")),
        Variant(f"tiles of {rows}, --target", se=True, options=("--rows", str(rows), *_TARGET)),
        Variant(f"tiles of {rows - 1}, --target", se=True, options=("--rows", str(rows - 1), *_TARGET)),
    )


def make(variant: Variant, size: int, activation: str, folder: Path) -> onnx.ModelProto:
    """The variant as an ONNX model, read from the file that the command line wrote into `folder`."""
    network = build(size, variant.se, activation)
    if variant.options is None:
        return network
    original, converted = folder / "original.onnx", folder / "converted.onnx"
    onnx.save_model(network, original)
    command: list[str | Path] = [COMMAND, "convert", original, converted, *variant.options]
    subprocess.run(command, check=True, capture_output=True)
    return onnx.load_model(converted)
