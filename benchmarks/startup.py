"""`tse-onnx --help` against an interpreter that imports click."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import COMMAND, Ratio, in_turn, times


def run(folder: Path, runs: int) -> list[Ratio]:
    """Time of the whole process."""
    return [times("--help: time", 2.0, in_turn((COMMAND, "--help"), (sys.executable, "-c", "import click"), runs))]
