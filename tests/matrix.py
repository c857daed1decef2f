"""The tests with every pair of onnx and onnxruntime that can be installed, and with several Pythons.

    python -m tests.matrix [--python PATH]... [--onnx V,V] [--onnxruntime V,V] [--folder DIR] [--jobs N] [-- PYTEST ARGUMENTS]

The versions are the last patch of every minor release that the package index has, from the oldest that setup.cfg allows.
This interpreter gets every pair; each further one (--python) gets the oldest and the newest of both, which are four.
An interpreter has one environment in DIR, in which pip exchanges the pair; nothing else is touched. Without arguments for
pytest the tests of `CORE` run. A cell is green with the number of tests that passed, red with the number of those that did
not, or empty where pip finds no such pair; the names of failed tests and pip's reasons are listed below the table.
"""

from __future__ import annotations

import argparse
import configparser
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What depends on onnx and onnxruntime most; the rest of the suite is about text, files and the streaming model.
CORE = tuple(
    f"tests/test_{name}.py"
    for name in ("bundled_models", "dtypes", "files", "forms", "frozen", "kinds", "library", "models", "mutants",
                 "parts", "quantised", "rewrite", "scopes", "smoke", "spellings", "tilings", "verification")
)  # fmt: skip
Version = tuple[int, ...]


@dataclass(frozen=True)
class Cell:
    """What became of a pair of versions with an interpreter: passed and failed tests, or why there was no run."""

    python: str
    onnx: str
    onnxruntime: str
    passed: int = 0
    failed: tuple[str, ...] = ()
    missing: str = ""

    def __str__(self) -> str:
        if self.missing:
            return "–"
        return (
            f"red, {len(self.failed)} of {self.passed + len(self.failed)}" if self.failed else f"green, {self.passed}"
        )


def releases(python: Path, package: str, oldest: Version) -> list[str]:
    """The last patch of every minor release from `oldest` on that pip finds for an interpreter, oldest first."""
    done = _run([python, "-m", "pip", "index", "versions", package])
    found = re.search(r"^Available versions: (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        raise SystemExit(f"pip finds no versions of {package}: {done.stderr.strip()}")
    last: dict[Version, str] = {}
    for text in found[1].split(", "):  # newest first
        version = _parsed(text)
        if version[:2] >= oldest[:2]:
            last.setdefault(version[:2], text)
    return [last[minor] for minor in sorted(last)]


def required(package: str) -> Version:
    """The oldest version of a package that setup.cfg allows."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    found = re.search(rf"^{package} >= ([0-9.]+)", config["options"]["install_requires"], re.MULTILINE)
    assert found is not None
    return _parsed(found[1])


def _parsed(text: str) -> Version:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())


def corners(values: Sequence[str]) -> list[str]:
    """The first and the last."""
    return list(dict.fromkeys((values[0], values[-1])))


def environment(python: Path, folder: Path) -> Path:
    """The interpreter of an environment of `python` in `folder`, made where it is not there yet."""
    home = folder / version_of(python)
    if not (home / "bin" / "python").exists():
        _run([python, "-m", "venv", home], check=True)
    return home / "bin" / "python"


def version_of(python: Path) -> str:
    """An interpreter's version."""
    return _run([python, "-c", "import platform; print(platform.python_version())"], check=True).stdout.strip()


def tested(python: Path, onnx: str, onnxruntime: str, tests: Sequence[str], jobs: int) -> Cell:
    """Install a pair of versions in an environment, and run the tests there."""
    version = version_of(python)
    pair = [f"onnx=={onnx}", f"onnxruntime=={onnxruntime}"]
    done = _run([python, "-m", "pip", "install", "--quiet", "--editable", f"{ROOT}[dev]", *pair])
    if done.returncode:
        reasons = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        return Cell(version, onnx, onnxruntime, missing=(reasons or ["pip failed"])[0])
    done = _run([python, "-m", "pytest", "-rfE", "-p", "no:cacheprovider", "-n", str(jobs), *tests], cwd=ROOT)
    failed = tuple(re.findall(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", done.stdout, re.MULTILINE))
    passed = re.search(r"\b([0-9]+) passed", done.stdout)
    if done.returncode not in (0, 1) and not failed:
        failed = (f"pytest itself (exit code {done.returncode})",)
    return Cell(version, onnx, onnxruntime, int(passed[1]) if passed else 0, failed)


def table(cells: Sequence[Cell]) -> Iterator[str]:
    """The cells as a table in Markdown, with a row per version of onnxruntime and a column per Python and onnx."""
    columns = list(dict.fromkeys((cell.python, cell.onnx) for cell in cells))
    rows = sorted({cell.onnxruntime for cell in cells}, key=_parsed)
    by_place = {(cell.python, cell.onnx, cell.onnxruntime): cell for cell in cells}
    yield "| onnxruntime | " + " | ".join(f"Python {python}, onnx {onnx}" for python, onnx in columns) + " |"
    yield "|---|" + "---|" * len(columns)
    for row in rows:
        yield f"| {row} | " + " | ".join(str(by_place.get((*column, row), "")) for column in columns) + " |"
    red = sum(bool(cell.failed) for cell in cells)
    missing = sum(bool(cell.missing) for cell in cells)
    yield f"\n{len(cells)} cells: {len(cells) - red - missing} green, {red} red, {missing} not installable"
    for cell in cells:
        where = f"Python {cell.python}, onnx {cell.onnx}, onnxruntime {cell.onnxruntime}"
        for name in cell.failed:
            yield f"failed: {where}: {name}"
        if cell.missing:
            yield f"not installable: {where}: {cell.missing}"


def _run(command: Sequence[object], check: bool = False, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, encoding="utf-8", check=check, cwd=cwd)


def main() -> int:
    """Run every cell, say how each came out, and print the table; 1 if any was red."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description="onnx × onnxruntime × Python.")
    parser.add_argument("--python", action="append", default=[], type=Path, help="a further interpreter: the corners")
    parser.add_argument("--onnx", help="these versions only, separated by commas")
    parser.add_argument("--onnxruntime", help="these versions only, separated by commas")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "matrix", help="for the environments")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes of pytest")
    parser.add_argument(
        "tests", nargs="*", default=[*CORE, "-m", "not long"], help="arguments of pytest (default: the core)"
    )
    options = parser.parse_args()
    cells: list[Cell] = []
    for number, given in enumerate([Path(sys.executable), *options.python]):
        python = environment(given, options.folder)
        pairs = []
        for package, chosen in (("onnx", options.onnx), ("onnxruntime", options.onnxruntime)):
            known = chosen.split(",") if chosen else releases(python, package, required(package))
            pairs.append(known if number == 0 else corners(known))
        for onnx, onnxruntime in product(*pairs):
            begun = time.monotonic()
            cell = tested(python, onnx, onnxruntime, options.tests, options.jobs)
            cells.append(cell)
            where = f"Python {cell.python}, onnx {onnx}, onnxruntime {onnxruntime}"
            print(f"{where}: {cell} ({time.monotonic() - begun:.0f} s)", file=sys.stderr, flush=True)
    print("\n".join(table(cells)))
    return 1 if any(cell.failed for cell in cells) else 0


if __name__ == "__main__":
    sys.exit(main())
