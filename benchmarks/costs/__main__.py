"""Count and simulate:  python -m benchmarks.costs [--network NAME]"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import models
from models.networks import NETWORKS


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables; 1 where a count differs, one line and 0 where a tool is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description="Counts and cycles beside others'.")
    parser.add_argument("--network", default="squeezenext_1.0_23", choices=NETWORKS, help="whose layers are simulated")
    options = parser.parse_args(arguments)
    missing = [name for name in ("onnx_tool", "scalesim") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"Skipped: {', '.join(missing)} is not here; in one of its own, pip install --editable '.[costs]'.")
        return 0
    from benchmarks.costs.counted import counted
    from benchmarks.costs.simulated import SIZE, simulated

    print("| network | parameters | onnx-tool | MACs with biases | onnx-tool |\n|---|---:|---:|---:|---:|")
    equal = True
    with tempfile.TemporaryDirectory() as folder:
        for name in models.names():
            both = counted(name, Path(folder))
            equal &= both.equal
            figures = (both.parameters, both.other_parameters, both.macs, both.other_macs)
            print(f"| `{name}` | {' | '.join(f'{figure:,}' for figure in figures)} |",
                  flush=True)  # fmt: skip
    print(f"\n| layer, on {SIZE} × {SIZE} | ws: formula | SCALE-Sim | ratio | os: formula | SCALE-Sim | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    logs: dict[str, list[float]] = {"ws": [], "os": []}
    for one in simulated(options.network):
        cells = []
        for dataflow, seen in logs.items():
            ours, other = one.formula[dataflow], one.simulation[dataflow]
            seen.append(math.log(ours / other))
            cells += [f"{ours:,}", f"{other:,}", f"{ours / other:.2f}"]
        print(f"| {one.layer.name} | {' | '.join(cells)} |", flush=True)
    for dataflow, seen in logs.items():
        print(f"\n{dataflow}: mean |log ratio| {sum(map(abs, seen)) / len(seen):.3f}, mean log ratio "
              f"{sum(seen) / len(seen):+.3f}", end="")  # fmt: skip
    print()
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
