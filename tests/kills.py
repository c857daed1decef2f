"""Kill runs while they write, and look at what they leave.

    python -m tests.kills [--points N] [--seed N] [JOB ...]

A point is one run that gets SIGKILL: half of them before a line of the code that writes, the others after a time, which may
be in the middle of a system call. Every job is killed at N points of each kind, drawn from a seed. After each the output
has to be the old file or the new one, whole, with the weights that belong to it, and nothing else may have changed. After
the next run to the same folder nothing else may be there, and a second try has to come out as if nothing had happened.

The last job is two runs at a time to one output, of which one is killed, or none.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper

import tse_onnx
from tests.graphs import se_model
from tse_onnx.files import copy as copying
from tse_onnx.files import encode, scratch, staging
from tse_onnx.files import write as files

_WRITING = {module.__file__ for module in (copying, encode, files, scratch, staging)}
_SIZE = 2**20  # of the weights in a file, so that a kill may come while they are copied

Tree = dict[str, bytes | None]


@dataclass(frozen=True)
class Job:
    """Something that writes files: what there is before, what is run, and its outputs, the first of them last."""

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], object]
    outputs: tuple[str, ...]
    leave: Callable[[Path], None] = lambda folder: None
    """Makes what a run left that was killed before."""


def model_with_weights(path: Path, seed: int) -> None:
    """A model with a block, two files of weights, one of them in a folder of its own, and nothing else in common with
    that of another seed."""
    model = se_model()
    for tensor in model.graph.initializer:
        tensor.raw_data = tensor.raw_data[:-1] + bytes([seed])
    noise = np.random.default_rng(seed).bytes(_SIZE)
    graph, folder = model.graph, path.parent
    for number, location in enumerate(("weights.bin", "sub/more.bin")):
        (folder / location).parent.mkdir(parents=True, exist_ok=True)
        (folder / location).write_bytes(noise)
        tensor = graph.initializer.add(name=f"unused{number}", data_type=TensorProto.UINT8, dims=[_SIZE], raw_data=b"x")
        external_data_helper.set_external_data(tensor, location, 0, _SIZE)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())


def _nothing(folder: Path) -> None:
    (folder / "out").mkdir(parents=True)
    model_with_weights(folder / "in/model.onnx", 1)


def _something(folder: Path) -> None:
    _nothing(folder)
    model_with_weights(folder / "out/model.onnx", 2)
    (folder / "out/report.json").write_text("before")


def _half_a_run(folder: Path) -> None:
    """What a run leaves that was killed before its model had its name."""
    dead = scratch.Scratch(folder / "out")
    dead.begin()
    dead.carry(folder / "in/sub/more.bin", "sub/more.bin")
    dead.give("sub/more.bin")
    dead._close()  # which unlocks it, as the end of a process does


def _tiled(folder: Path) -> None:
    _nothing(folder)
    tse_onnx.convert(folder / "in/model.onnx", folder / "in/model.onnx", verify=False)


def _convert(model: str, out: str, report: str | None = None) -> Callable[[Path], object]:
    def run(folder: Path) -> object:
        os.chdir(folder)  # the report names the model by its path
        return tse_onnx.convert(model, out, verify=False, report=report)

    return run


JOBS = (
    Job("new", _nothing, _convert("in/model.onnx", "out/model.onnx", "out/report.json"),
        ("out/model.onnx", "out/report.json")),
    Job("replaced", _something, _convert("in/model.onnx", "out/model.onnx", "out/report.json"),
        ("out/model.onnx", "out/report.json")),
    Job("in place", _something, _convert("out/model.onnx", "out/model.onnx"), ("out/model.onnx",)),
    Job("restore", _tiled, lambda folder: tse_onnx.restore(folder / "in/model.onnx", folder / "out/model.onnx"),
        ("out/model.onnx",)),
    Job("restore in place", _tiled, lambda folder: tse_onnx.restore(folder / "in/model.onnx", folder / "in/model.onnx"),
        ("in/model.onnx",)),
    Job("a table", _something, lambda folder: files.write_text(folder / "out/report.json", "after" * 2**20),
        ("out/report.json",)),
    Job("after a killed run", _nothing, _convert("in/model.onnx", "out/model.onnx"), ("out/model.onnx",), _half_a_run),
)  # fmt: skip


def tree(folder: Path) -> Tree:
    """Every name below a folder, with the bytes of files."""
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


@contextmanager
def _child(work: Callable[[], object]) -> Iterator[int]:
    """A process of its own for `work`, which is dead afterwards."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 70
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)  # one that has ended by itself is there until it is waited for
        _, status = os.waitpid(pid, 0)
        _ended[pid] = status


_ended: dict[int, int] = {}


def _result(pid: int) -> int:
    """The exit code of a child, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(_ended.pop(pid))


def _count_lines(work: Callable[[], object], stop_at: int = -1) -> int:
    """Run `work`, and count the lines of the code that writes; kill this very process before one of them."""
    count = 0

    def step(frame: FrameType, event: str, argument: object) -> Callable[..., object] | None:
        nonlocal count
        if frame.f_code.co_filename not in _WRITING:
            return None
        if event == "line":
            if count == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
        return step

    sys.settrace(step)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


def _wait(pid: int) -> None:
    """Wait for a child without taking its exit code away."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def _at_the_first_write(work: Callable[[], object], tell: int) -> None:
    """Run `work`, and write a byte to `tell` when it begins to write."""
    begin = scratch.Scratch.begin

    def begin_loudly(self: scratch.Scratch) -> None:
        os.write(tell, b"!")
        begin(self)

    scratch.Scratch.begin = begin_loudly  # type: ignore[method-assign]  # in a process of its own
    work()


def _killed_after(work: Callable[[], object], seconds: float) -> tuple[int, float]:
    """Kill a run so long after it began to write; its exit code, and how long it wrote if it was faster."""
    reading, writing = os.pipe()
    with _child(lambda: _at_the_first_write(work, writing)) as pid:
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        start = time.monotonic()
        if seconds == float("inf"):
            _wait(pid)
        else:
            time.sleep(seconds)
        elapsed = time.monotonic() - start
    return _result(pid), elapsed


def _killed_at(work: Callable[[], object], line: int) -> int:
    with _child(lambda: _count_lines(work, line)) as pid:
        _wait(pid)
    return _result(pid)


def weights(path: Path) -> dict[str, bytes]:
    """The data of a model's external tensors, by their names."""
    model = onnx.load(path, load_external_data=False)
    found = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            info = external_data_helper.ExternalDataInfo(tensor)
            data = (path.parent / info.location).read_bytes()
            found[tensor.name] = data[info.offset or 0 :][: info.length]
    return found


def complaints(job: Job, folder: Path, before: Tree, after: Tree) -> list[str]:
    """What is wrong with what a killed run left, and with what the next runs make of it."""
    found = tree(folder)
    wrong = [f"{name} is neither the old file nor the new one" for name in job.outputs
             if found.get(name) not in (before.get(name), after[name])]  # fmt: skip
    wrong += [f"{name} changed" for name, data in before.items()
              if name not in job.outputs and (name not in found or found[name] != data)]  # fmt: skip
    is_new = {name: found.get(name) == after[name] and found.get(name) != before.get(name) for name in job.outputs}
    if is_new[job.outputs[0]]:
        wrong += [f"{name} is not there yet, but {job.outputs[0]} is" for name in job.outputs if not is_new[name]]
        wrong += [f"{name} is missing" for name, data in after.items() if name not in found or found[name] != data]
    wrong += [f"{name} is a stray" for name in found
              if name not in before and name not in after and "/.tse-onnx-" not in f"/{name}"]  # fmt: skip
    target = Path(job.outputs[0]).parent
    files.write_text(folder / target / "next.txt", "")
    left = {name: data for name, data in tree(folder).items() if Path(name).name != "next.txt"}
    expected = dict(after if is_new[job.outputs[0]] else before)
    expected |= {name: found[name] for name in job.outputs if name in found}
    wrong += [f"after the next run there is {name}" for name in left if name not in expected]
    wrong += [f"after the next run {name} is not as it should" for name in expected
              if name not in left or left[name] != expected[name]]  # fmt: skip
    job_again = after if is_new[job.outputs[0]] else None
    if job_again is None:
        job.run(folder)
        left = {name: data for name, data in tree(folder).items() if Path(name).name != "next.txt"}
        if left != after:
            wrong.append(f"a second try makes something else: {sorted(set(left) ^ set(after))}")
    return wrong


def killed(job: Job, points: int, draw: random.Random, home: Path) -> Iterator[tuple[str, bool, list[str]]]:
    """Kill a job at so many lines and after so many times: where, whether it was dead by then, and what is wrong."""
    made = home / "made"
    job.prepare(made)
    before = tree(made)
    job.leave(made)
    lines = _count_lines(lambda: job.run(made))
    after = tree(made)
    durations = []
    for number in range(3):
        folder = home / f"timed{number}"
        job.prepare(folder)
        job.leave(folder)
        code, duration = _killed_after(partial(job.run, folder), float("inf"))
        assert code == 0
        durations.append(duration)
    duration = min(durations)
    todo = [f"line {line} of {lines}" for line in draw.sample(range(lines), min(points, lines))]
    todo += [f"{1.1 * duration * draw.random():.6f} s" for _ in range(points)]
    for number, point in enumerate(todo):
        folder = home / str(number)
        job.prepare(folder)
        job.leave(folder)
        if point.startswith("line"):
            code = _killed_at(partial(job.run, folder), int(point.split()[1]))
            assert code == -signal.SIGKILL, code
        else:
            code, _ = _killed_after(partial(job.run, folder), float(point.split()[0]))
            assert code in (0, -signal.SIGKILL), code
        yield point, code != 0, complaints(job, folder, before, after)


def at_once(points: int, draw: random.Random, home: Path) -> Iterator[tuple[str, bool, list[str]]]:
    """Two runs to one output at a time, with the same weights or not; one in two times, one of them is killed."""
    for number in range(points):
        folder = home / str(number)
        (folder / "out").mkdir(parents=True)
        for name, seed in (("one", 1), ("two", 1 + number // 2 % 2)):
            model_with_weights(folder / name / "model.onnx", seed)
        both = [weights(folder / name / "model.onnx") for name in ("one", "two")]
        works = [partial(_convert(f"{name}/model.onnx", "out/model.onnx"), folder) for name in ("one", "two")]
        pause, victim = 0.03 * draw.random(), number % 2 == 1
        with _child(works[0]) as first, _child(works[1]) as second:
            if victim:
                time.sleep(pause)
                os.kill(first, signal.SIGKILL)
            else:
                _wait(first)
            _wait(second)
        codes = _result(first), _result(second)
        wrong = [] if codes[1] == 0 and codes[0] in ((0, -signal.SIGKILL) if victim else (0,)) else [f"codes {codes}"]
        files.write_text(folder / "out/next.txt", "")
        if weights(folder / "out/model.onnx") not in both:
            wrong.append("the output has the weights of neither run")
        names = {f"{stem}{suffix}.bin" for stem in ("weights", "sub/more") for suffix in ("", "_2")}
        left = set(tree(folder / "out")) - names - {"model.onnx", "next.txt", "sub"}
        wrong += [f"{name} is a stray" for name in left]
        yield f"{pause:.6f} s" if victim else "none", codes[0] != 0, wrong


def main() -> int:
    """Print a line for each job, and every fault; 1 if there was one."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description="Kill runs while they write.")
    names = [*(job.name for job in JOBS), "two at once"]
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"which: {', '.join(names)}; default: all")
    parser.add_argument("--points", type=int, default=200, help="lines, and times, to kill each job at (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the points (default: 0)")
    options = parser.parse_args()
    tried = dead = faults = 0
    for name in options.jobs or names:
        draw = random.Random(f"{options.seed} {name}")
        os.chdir(Path(__file__).parent)
        with tempfile.TemporaryDirectory() as home:
            jobs = [job for job in JOBS if job.name == name]
            runs = killed(jobs[0], options.points, draw, Path(home)) if jobs else at_once(
                2 * options.points, draw, Path(home))  # fmt: skip
            count = killed_now = 0
            for point, was_killed, wrong in runs:
                count, killed_now = count + 1, killed_now + was_killed
                for text in wrong:
                    print(f"{name}, killed at {point}: {text}")
                faults += bool(wrong)
        print(f"{name}: {count} runs, {killed_now} killed", flush=True)
        tried, dead = tried + count, dead + killed_now
    print(f"{tried:,} runs, {dead:,} of them killed, {faults} with a fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
