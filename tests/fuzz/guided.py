"""Fuzzing that is guided by coverage: a broken model that reached new branches of the package is kept, and broken further.

    pip install atheris
    python -m tests.fuzz.guided [--minutes N] [--corpus FOLDER] [--finds FOLDER]

The models and what is done to them are those of `python -m tests.fuzz`, and so is what has to hold for each. A find is kept
in FOLDER as a model and a text with the same name; `--only MODEL` tries one again. A crash or a hang of native code ends
the process that finds it, and another goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import pkgutil
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from google.protobuf.message import DecodeError

_SECONDS = 600  # an input that takes longer hangs; what is watched is several times slower
_LONGEST = 400_000
_STEP = 10_000  # inputs to a process, which then makes room for a fresh one
_FRESH = 0.02  # of the inputs begin anew, from one of the models


def main() -> int:
    """0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, default=Path("build/fuzz/corpus"), help="what reached new branches")
    parser.add_argument("--finds", type=Path, default=Path("build/fuzz/finds"))
    parser.add_argument("--only", type=Path, metavar="MODEL", help="this input alone")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only is not None:
        print(_tried(given.only.read_bytes()))
        return 0
    given.corpus.mkdir(parents=True, exist_ok=True)
    given.finds.mkdir(parents=True, exist_ok=True)
    if given.child is not None:
        return _child(given.corpus, given.finds, given.child)
    return _run(given)


def _run(given: argparse.Namespace) -> int:
    begun, seed = time.monotonic(), given.seed
    while time.monotonic() - begun < 60 * given.minutes:
        command = [sys.executable, "-m", "tests.fuzz.guided", "--child", str(seed)]
        command += ["--corpus", str(given.corpus), "--finds", str(given.finds)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        last = [line for line in done.stderr.splitlines() if line.startswith("#")][-1:]
        kept, found = (len(list(folder.iterdir())) for folder in (given.corpus, given.finds))
        print(
            f"{time.monotonic() - begun:,.0f} s: {''.join(last)}; {kept} models kept, {found} files of finds",
            flush=True,
        )
        if done.returncode:
            print(f"the process ended with {done.returncode}: {done.stderr[-2000:]}", flush=True)
        if not last:
            return 2
        seed += 1
    return 1 if any(given.finds.iterdir()) else 0


def _child(corpus: Path, finds: Path, seed: int) -> int:
    import atheris

    with atheris.instrument_imports(include=["tse_onnx"]):
        import tse_onnx
        import tse_onnx.passes

        for package in (tse_onnx, tse_onnx.passes):  # now, for what is imported in the middle of an input speaks up
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)
        from onnx import ModelProto

        from tests.fuzz.mutate import mutated
        from tests.fuzz.seeds import some_model

        def broken(data: bytes, longest: int, number: int) -> bytes:
            rng = random.Random(number)
            model = ModelProto()
            try:
                model.ParseFromString(data)
            except DecodeError:
                model.Clear()
            if not model.graph.node or rng.random() < _FRESH:
                model = some_model(rng)
            made = mutated(model, rng)
            return made if len(made) <= longest else data

        def one(data: bytes) -> None:
            try:
                _tried(data)
            except BaseException:
                said = traceback.format_exc(limit=-12)
                name = hashlib.sha256(said.splitlines()[-1].encode()).hexdigest()[:12]  # one of each kind
                if not (finds / f"{name}.txt").exists():
                    (finds / f"{name}.onnx").write_bytes(data)
                    (finds / f"{name}.txt").write_text(said)

        words = [sys.argv[0], f"-runs={_STEP}", f"-max_len={_LONGEST}", f"-timeout={_SECONDS}", "-rss_limit_mb=8192"]
        words += [
            f"-seed={seed}",
            f"-artifact_prefix={finds}{os.sep}",
            "-len_control=0",
            "-report_slow_units=9999",
            str(corpus),
        ]
        atheris.Setup(words, one, custom_mutator=broken)
        atheris.Fuzz()
    return 0


def _tried(data: bytes) -> str:
    from tests.fuzz.invariants import attempt, trial_of

    rng = random.Random(hashlib.sha256(data).digest())
    with tempfile.TemporaryDirectory() as folder:
        return attempt(trial_of(data, rng), Path(folder) / "root")


if __name__ == "__main__":
    sys.exit(main())
