"""Run the fuzzer: inputs are tried in a child process, so that a crash or a hang of native code is a find as well."""

from __future__ import annotations

import argparse
import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

_STEP = 200  # inputs to a child, which then makes room for a fresh one
_MEMORY = 8 << 30
_STARTING = 30.0  # seconds more for the first input, which waits for the imports as well
_FINDS_SHOWN = 3


def main() -> int:
    """0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--start", type=int, default=0, help="number of the first input")
    parser.add_argument("--count", type=int, help="so many inputs, however long they take")
    parser.add_argument("--only", type=int, help="this input alone, in this process")
    parser.add_argument("--save", type=Path, metavar="FILE", help="with --only: write the model there")
    parser.add_argument("--seconds", type=float, default=150, help="an input that takes longer hangs")
    parser.add_argument("--finds", type=Path, metavar="FILE", help="a line of JSON is added for each find")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only is not None:
        return _alone(given.seed, given.only, given.save)
    if given.child is not None:
        return _child(given.seed, given.start, given.child)
    return _run(given)


def _alone(seed: int, number: int, save: Path | None) -> int:
    from tests.fuzz.invariants import attempt, trial

    made = trial(seed, number)
    print(made.options, "verified" if made.verified else "not verified", *made.others)
    if made.plan:
        print(made.plan)
    if save is not None:
        save.write_bytes(made.model)
    with tempfile.TemporaryDirectory() as folder:
        print(attempt(made, Path(folder) / "root"))
    return 0


def _child(seed: int, start: int, count: int) -> int:
    """Try `count` inputs; a line of JSON on standard output before and after each."""
    from tests.fuzz.invariants import attempt, trial

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "w", buffering=1)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as native:
        os.dup2(native.fileno(), 1)  # what native code prints past Python's streams
        os.dup2(native.fileno(), 2)
        for number in range(start, start + count):
            out.write(json.dumps({"at": number}) + "\n")
            native.truncate(0)
            try:
                word, why = attempt(trial(seed, number), Path(folder) / "root"), ""
            except MemoryError:
                word, why = "memory", "out of memory"
            except BaseException:
                word, why = "find", traceback.format_exc(limit=-12)
            if not why and os.fstat(native.fileno()).st_size:
                word, why = "find", f"native code prints: {os.pread(native.fileno(), 2000, 0)!r}"
            out.write(json.dumps({"done": number, "word": word, "why": why}) + "\n")
    return 0


def _run(given: argparse.Namespace) -> int:
    counts, finds = Counter[str](), []
    start, begun = given.start, time.monotonic()
    while given.count is None or start < given.start + given.count:
        if given.count is None and time.monotonic() - begun > 60 * given.minutes:
            break
        step = _STEP if given.count is None else min(_STEP, given.start + given.count - start)
        start, words, found = _batch(given, start, step)
        counts.update(words)
        finds += found
        for find in found:
            print(f"find: {json.dumps(find)}", flush=True)
            if given.finds is not None:
                with given.finds.open("a") as file:
                    file.write(json.dumps(find) + "\n")
        tried = sum(counts.values())
        print(f"{tried:,} inputs in {time.monotonic() - begun:,.0f} s: {dict(counts.most_common())}", flush=True)
    for find in finds[:_FINDS_SHOWN]:
        print(f"python -m tests.fuzz --seed {given.seed} --only {find['number']}: {find['why'].splitlines()[-1]}")
    return 1 if finds else 0


def _batch(given: argparse.Namespace, start: int, step: int) -> tuple[int, list[str], list[dict[str, object]]]:
    """Let a child try inputs from `start` on: the next input, a word for each tried, and the finds."""
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "--seed",
        str(given.seed),
        "--start",
        str(start),
        "--child",
        str(step),
    ]
    words: list[str] = []
    finds: list[dict[str, object]] = []
    at, last = start, time.monotonic()
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child,
        selectors.DefaultSelector() as waiting,
    ):
        assert child.stdout is not None
        assert child.stderr is not None
        waiting.register(child.stdout, selectors.EVENT_READ)
        text = b""
        while True:
            left = given.seconds + (_STARTING if at == start else 0) - (time.monotonic() - last)
            if left <= 0 or not waiting.select(left):
                child.kill()
                finds.append({"number": at, "why": f"hangs: more than {given.seconds:g} s"})
                return at + 1, [*words, "hang"], finds
            piece = os.read(child.stdout.fileno(), 65536)
            if not piece:
                break
            *lines, text = (text + piece).split(b"\n")
            for line in lines:
                said = json.loads(line)
                at, last = said.get("at", at), time.monotonic()
                if "done" in said:
                    words.append(said["word"])
                    at = said["done"] + 1
                    if said["word"] == "find":
                        finds.append({"number": said["done"], "why": said["why"]})
        complaint = child.stderr.read().decode(errors="replace")
    if child.returncode and at < start + step:
        finds.append({"number": at, "why": f"{complaint}\nthe process ends with {child.returncode}"})
        return at + 1, [*words, "crash"], finds
    return start + step, words, finds


if __name__ == "__main__":
    sys.exit(main())
