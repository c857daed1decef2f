"""Run child processes in turn and compare what they took."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = Path(__file__).parent / "floors"
COMMAND = Path(sysconfig.get_path("scripts")) / "tse-onnx"
# An installed package is compiled once; where this variable is set, one in a working tree would be at every start.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Ratio:
    """The pairwise ratios of one comparison, and the medians of both sides in `unit`; `aim` is the most allowed."""

    name: str
    aim: float
    ratios: tuple[float, ...]
    ours: float
    floor: float
    unit: str

    @property
    def median(self) -> float:
        """The median of the pairwise ratios."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        """Whether the median is within the aim."""
        return self.median <= self.aim


@dataclass(frozen=True)
class Cost:
    """What one process took: seconds from start to end, those of processors, and its peak memory in MiB."""

    seconds: float
    worked: float
    peak: float


def cost(command: Sequence[str | Path]) -> Cost:
    """Run `command` with its output thrown away; a RuntimeError if it fails."""
    words = [os.fspath(word) for word in command]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    start = time.perf_counter()
    child = os.posix_spawn(words[0], words, _ENVIRONMENT, file_actions=quiet)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    if status:
        raise RuntimeError(f"{' '.join(words)} failed: {os.waitstatus_to_exitcode(status)}")
    # Linux counts in KiB, macOS in bytes.
    worked = usage.ru_utime + usage.ru_stime
    return Cost(seconds, worked, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))


def in_turn(ours: Sequence[str | Path], floor: Sequence[str | Path], runs: int) -> list[tuple[Cost, Cost]]:
    """The costs of `runs` pairs, run A B A B after one pair that only warms the caches."""
    pairs = [(cost(ours), cost(floor)) for _ in range(runs + 1)]
    return pairs[1:]


def times(name: str, aim: float, pairs: Iterable[tuple[Cost, Cost]]) -> Ratio:
    """The ratio of the pairs' seconds."""
    return compare(name, aim, [(1000 * ours.seconds, 1000 * floor.seconds) for ours, floor in pairs], "ms")


def works(name: str, aim: float, pairs: Iterable[tuple[Cost, Cost]]) -> Ratio:
    """The ratio of the pairs' seconds of processors."""
    return compare(name, aim, [(1000 * ours.worked, 1000 * floor.worked) for ours, floor in pairs], "ms")


def peaks(name: str, aim: float, pairs: Iterable[tuple[Cost, Cost]]) -> Ratio:
    """The ratio of the pairs' peak memory."""
    return compare(name, aim, [(ours.peak, floor.peak) for ours, floor in pairs], "MiB")


def compare(name: str, aim: float, pairs: Sequence[tuple[float, float]], unit: str) -> Ratio:
    """The ratio of two figures that were taken pair by pair."""
    ours, floor = zip(*pairs, strict=True)
    ratios = tuple(a / b for a, b in pairs)
    return Ratio(name, aim, ratios, statistics.median(ours), statistics.median(floor), unit)


def bundled(model: str, folder: Path) -> Path:
    """The bundled model called `model` as a file in `folder`, weights and all, written by another process."""
    path = folder / f"{model}.onnx"
    if not path.exists():
        subprocess.run([sys.executable, "-m", "models", model, "-o", path], cwd=ROOT, check=True, capture_output=True)
    return path


HEADER = f"{'':68} {'median':>7} {'min':>6} {'max':>6} {'aim':>7}   {'ours':>8} {'floor':>8}"


def line(ratio: Ratio) -> str:
    """One line of the table; an aim that was missed is marked."""
    aim = "" if math.isinf(ratio.aim) else f"≤ {ratio.aim:g}"
    missed = "" if ratio.met else "  missed"
    return (
        f"{ratio.name:68} {ratio.median:7.2f} {min(ratio.ratios):6.2f} {max(ratio.ratios):6.2f} {aim:>7}   "
        f"{ratio.ours:8.1f} {ratio.floor:8.1f} {ratio.unit}{missed}"
    )
