"""Run the benchmarks:  python -m benchmarks [--runs N] [NAME ...]"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import forms, large, latency, lowerings, sensitivity, startup, unverified, verified
from benchmarks.measure import Ratio

BENCHMARKS: dict[str, Callable[[Path, int], list[Ratio]]] = {
    "startup": startup.run,
    "unverified": unverified.run,
    "verified": verified.run,
    "latency": latency.run,
    "lowerings": lowerings.run,
    "forms": forms.run,
    "large": large.run,
    "sensitivity": sensitivity.run,
}

HEADER = f"{'':68} {'median':>7} {'min':>6} {'max':>6} {'aim':>7}   {'ours':>8} {'floor':>8}"


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


def line(ratio: Ratio) -> str:
    """One line of the table; an aim that was missed is marked."""
    aim = "" if math.isinf(ratio.aim) else f"≤ {ratio.aim:g}"
    missed = "" if ratio.met else "  missed"
    return (
        f"{ratio.name:68} {ratio.median:7.2f} {min(ratio.ratios):6.2f} {max(ratio.ratios):6.2f} {aim:>7}   "
        f"{ratio.ours:8.1f} {ratio.floor:8.1f} {ratio.unit}{missed}"
    )


if __name__ == "__main__":
    sys.exit(main())
