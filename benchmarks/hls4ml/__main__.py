"""Judge every network:  python -m benchmarks.hls4ml [--json FILE] [NAME ...]"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.hls4ml.network import NETWORKS

HEADER = (
    "| network | streams | of them deeper than a pixel: found in hls4ml's C++ | `--export hls4ml` | equal |\n"
    "|---|---:|---|---|---|"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each network; 1 where an export is not the least, one line and 0 where something is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hls4ml", description="Depths, judged by hls4ml's C++.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {'; '.join(NETWORKS)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the depths of all streams there")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in NETWORKS]
    if unknown:
        parser.error(f"there is no network called {unknown[0]}")
    missing = [name for name, found in (("hls4ml", importlib.util.find_spec("hls4ml")), ("g++", shutil.which("g++")))
               if found is None]  # fmt: skip
    if missing:
        print(f"Skipped: {', '.join(missing)} is not here; pip install '.[hls4ml]' brings hls4ml.")
        return 0
    from benchmarks.hls4ml.judge import judged

    print(HEADER)
    verdicts = []
    for name in options.names or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            found = judged(name, Path(folder))
        verdicts += found
        deep = [each for each in found if not each.exported == each.found == 1]
        columns = (", ".join(f"`{each.stream}` {each.found}" for each in deep),
                   ", ".join(str(each.exported) for each in deep))  # fmt: skip
        equal = "yes" if all(each.equal for each in found) else "**no**"
        print(f"| {name} | {len(found)} | {' | '.join(columns)} | {equal} |", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in verdicts], indent=2) + "\n")
    return 0 if all(each.equal for each in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
