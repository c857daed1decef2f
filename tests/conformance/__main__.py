"""Put onnx's own conformance cases through every command, and compare what is wrong with the list of what is known.

    python -m tests.conformance [--only PATTERN] [--jobs N] [--strike]

The cases are those of onnx's backend suite: single nodes, and the models that come with it. Each is inspected, reported
and converted, which has to give the very bytes back since none has a block; its figures are taken as it streams; and it is
run row by row on the suite's data, certified, and held to the suite's outputs with the suite's tolerances. known.txt
lists every step that ends otherwise, with the reason. What is not listed there fails the run, and so does what is listed
and comes out well: it is to be struck off, which --strike does. Nothing adds to the list.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import onnx

from tests.conformance import known
from tests.conformance.cases import KINDS, Case, cases
from tests.conformance.steps import NEITHER, STEPS, Finding, findings
from tests.conformance.workers import Lost, worked

_SECONDS = 240.0


def main() -> int:
    """Print what is not as listed, and the counts; 1 if anything is not."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description="Put onnx's backend cases through every command."
    )
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cases whose name fits, as '*attention*'")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a processor)")
    parser.add_argument("--strike", action="store_true", help="take off the list what comes out well")
    parser.add_argument("--verbose", action="store_true", help="print what is listed, too, and what was said")
    options = parser.parse_args()
    every = {case.name: case for case in cases()}
    chosen = [name for name in every if fnmatch.fnmatch(name, options.only)]
    chosen.sort(key=lambda name: (KINDS.index(every[name].test.kind), name), reverse=True)  # the longest first
    if not chosen:
        parser.error(f"no case fits {options.only}")
    begun = time.monotonic()
    found = list[Finding]()
    for number, (name, result) in enumerate(worked(partial(_one, every), chosen, options.jobs, _SECONDS), 1):
        found += [Finding(name, "process", 70, str(result))] if isinstance(result, Lost) else result
        if sys.stderr.isatty() or number % 500 == 0:
            print(f"\r{number} of {len(chosen)}", end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    text = known.PATH.read_text()
    listed = known.read(text)
    new, passing = known.judged(listed, chosen, [finding for finding in found if finding.step != NEITHER])
    if options.verbose:
        for finding in sorted(found):
            print(f"{finding.case}: {finding.step} ends with {finding.code}: {finding.text}")
    for finding in new:
        print(f"not listed: {finding.case}: {finding.step} ends with {finding.code}: {finding.text}")
    gone = sorted(entry for entry in listed if entry.case not in every)
    for entry in (*passing, *gone):
        print(f"{'struck off' if options.strike else 'strike it off'}: {entry.case}: {entry.step} {entry.code}")
    if options.strike:
        known.PATH.write_text(known.struck(text, {*passing, *gone}))
        passing, gone = [], []
    _count(chosen, found, time.monotonic() - begun)
    return 1 if new or passing or gone else 0


def _one(every: dict[str, Case], name: str) -> list[Finding]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return findings(every[name], Path(folder))
        except Exception as error:  # an assertion about what a command says, too
            return [Finding(name, "process", 70, f"{type(error).__name__}: {error}")]


def _count(chosen: list[str], found: list[Finding], seconds: float) -> None:
    import onnxruntime

    codes = Counter((finding.step, finding.code) for finding in found)
    bad = Counter(finding.step for finding in found)
    print(
        f"{len(chosen)} cases of onnx {onnx.__version__}, with onnxruntime {onnxruntime.__version__}, {seconds:.0f} s"
    )
    for step in STEPS:
        tried = len(chosen) - (bad["stream"] if step == "run" else 0)
        told = [f"{codes[step, code]} exit {code}" for code in (1, 2, 70) if codes[step, code]]
        if step == "run":
            told.append(f"{bad[NEITHER]} not run, or otherwise, by onnxruntime either")
        print(f"{step:8} {tried - bad[step] - (bad[NEITHER] if step == 'run' else 0):5} well"
              + "".join(f", {text}" for text in told))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
