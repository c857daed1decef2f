"""Compile every variant:  python -m benchmarks.vela [--size PIXELS ...] [--activation NAME ...] [--json FILE]"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.vela.table import HEADER, MAC_AIM, SRAM_AIM, Row, as_json, line

# The packages of the extra, by the names they are imported by.
EXTRA = ("ethosu", "ai_edge_litert", "flatbuffers")
SIZES, ACTIVATIONS = (224, 160), ("relu6", "hard-swish")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each network, and write them as JSON; one line and no error where the extra is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vela", description="What Vela makes of conversions.")
    parser.add_argument("--size", type=_size, nargs="+", default=SIZES, help="of the images (default: 224 160)")
    parser.add_argument("--activation", nargs="+", choices=ACTIVATIONS, default=ACTIVATIONS, help="(default: both)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args(arguments)
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        print(f"Skipped: {', '.join(missing)} cannot be imported; pip install '.[vela]' brings the compiler.")
        return 0
    print(HEADER)
    rows = []
    for activation in options.activation:
        for size in options.size:
            for row in measure(size, activation):
                print(line(row), flush=True)
                rows.append(row)
    print(f"The aims of a recomputed network, to the one without: SRAM ≤ {SRAM_AIM:g}, MACs ≤ {MAC_AIM:g}.")
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(rows), indent=2) + "\n")
    return 0


def measure(size: int, activation: str) -> Iterator[Row]:
    """The rows of one size and activation, one by one."""
    from benchmarks.vela.compiler import compile_network
    from benchmarks.vela.translate import translate
    from benchmarks.vela.variants import make, variants

    base = None
    for variant in variants(size):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            network = folder / "network.tflite"
            network.write_bytes(translate(make(variant, size, activation, folder)))
            compiled = compile_network(network, folder)
        base = base or compiled
        yield Row(variant.name, size, activation, compiled, base, variant.aimed)


def _size(text: str) -> int:
    size = int(text)
    if size < 32 or size % 32:
        raise argparse.ArgumentTypeError("a multiple of 32")
    return size


if __name__ == "__main__":
    sys.exit(main())
