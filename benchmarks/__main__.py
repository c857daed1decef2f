"""Run the benchmarks:  python -m benchmarks [--runs N] [NAME ...]"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import forms, large, latency, lowerings, noise, profiled, sensitivity, startup, unverified, verified
from benchmarks.measure import HEADER, Ratio, line

BENCHMARKS: dict[str, Callable[[Path, int], list[Ratio]]] = {
    "startup": startup.run,
    "unverified": unverified.run,
    "verified": verified.run,
    "latency": latency.run,
    "lowerings": lowerings.run,
    "forms": forms.run,
    "large": large.run,
    "sensitivity": sensitivity.run,
    "noise": noise.run,
    "profiled": profiled.run,
}


def main() -> int:
    """Print a line for each ratio; the exit status is 0 whether or not the aims are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the package, as ratios.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--runs", type=int, default=11, help="pairs of runs of each comparison (default: 11)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark called {unknown[0]}")
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or BENCHMARKS:
            for ratio in BENCHMARKS[name](Path(folder), options.runs):
                print(line(ratio), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
