"""Cut the power while a run writes, and look at what the disk may then hold.

    python -m tests.power [--points N] [--seed N] [--order names|none] [JOB ...]

Nothing is cut in fact: a run is watched line by line, with every name and every byte there is and what it has flushed. At
a moment T the disk holds the names of some moment between the last flush of a folder and T, and of a file what was
flushed of it, or less of what was not. A state that is possible is made in another folder and has to pass what
`tests.kills` asks of a killed run; after the end of the run, its output has to be there.

With `--order names`, changes of names reach the disk in the order in which they were made, as they do with ext4, XFS, Btrfs
and NTFS. With `none` every folder goes by its own moment, which no file system does that we know, and POSIX allows.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests import kills
from tests.kills import JOBS, Job, complaints, tree
from tse_onnx.errors import TseError

Names = dict[str, int]  # what a folder holds: its number among the files, by path from the watched folder
_FOLDER = -1


@dataclass(frozen=True)
class Moment:
    """What there was before a line: the number of each file by its path (`_FOLDER` for folders), and the data by number."""

    names: Names
    data: dict[int, bytes]


@dataclass(frozen=True)
class Watched:
    """All moments of a run, and what was flushed when: paths of folders and numbers of files, by moment."""

    moments: tuple[Moment, ...]
    flushed: tuple[tuple[int, str | int], ...]


def watched(work: Callable[[], object], folder: Path) -> Watched:
    """Run `work`, which writes below `folder`."""
    moments: list[Moment] = []
    flushed: list[tuple[int, str | int]] = []
    known: dict[int, tuple[tuple[int, int], bytes]] = {}

    def look() -> None:
        names: Names = {}
        for path in folder.rglob("*"):
            there = path.lstat()
            names[str(path.relative_to(folder))] = _FOLDER if path.is_dir() else there.st_ino
            if not path.is_dir():
                stamp = there.st_size, there.st_mtime_ns
                if known.get(there.st_ino, ((-1, -1), b""))[0] != stamp:
                    known[there.st_ino] = stamp, path.read_bytes()
        moment = Moment(names, {number: data for number, (_, data) in known.items()})
        if not moments or moment != moments[-1]:
            moments.append(moment)

    def step(frame: FrameType, event: str, argument: object) -> Callable[..., object] | None:
        if frame.f_code.co_filename not in kills._WRITING:
            return None
        if event == "line":
            look()
        return step

    honest = os.fsync

    def fsync(handle: int) -> None:
        honest(handle)
        look()
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        inside = path == folder or folder in path.parents
        if inside:
            what = str(path.relative_to(folder)) if path.is_dir() else os.fstat(handle).st_ino
            flushed.append((len(moments) - 1, what))

    os.fsync = fsync
    sys.settrace(step)
    try:
        work()
    finally:
        sys.settrace(None)
        os.fsync = honest
    look()
    return Watched(tuple(moments), tuple(flushed))


def state(run: Watched, at: int, ordered: bool, draw: random.Random) -> tuple[Names, dict[int, bytes]]:
    """What the disk may hold when the power goes at a moment."""
    folders = {what: moment for moment, what in run.flushed if moment <= at and isinstance(what, str)}
    files = {what: moment for moment, what in run.flushed if moment <= at and isinstance(what, int)}
    one = draw.randint(max(folders.values(), default=0), at)
    times = {
        path: one if ordered else draw.choice((folders.get(path, 0), at, draw.randint(folders.get(path, 0), at)))
        for path in {".", *(str(Path(name).parent) for moment in run.moments for name in moment.names)}
    }
    names: Names = {}
    for home in sorted(times, key=lambda path: len(Path(path).parts)):
        if home == "." or names.get(home) == _FOLDER:
            names |= {name: number for name, number in run.moments[times[home]].names.items()
                      if str(Path(name).parent) == home}  # fmt: skip
    data = {}
    for number in set(names.values()) - {_FOLDER}:
        first = run.moments[0].data.get(number)
        sure = run.moments[files[number]].data[number] if number in files else first if first is not None else b""
        later = run.moments[at].data.get(number, sure)
        data[number] = draw.choice((sure, later, later[: len(later) // 2])) if later != sure else sure
    return names, data


def made(names: Names, data: dict[int, bytes], folder: Path) -> None:
    """Make a state in a folder."""
    folder.mkdir(parents=True)
    places: dict[int, Path] = {}
    for name, number in sorted(names.items()):
        path = folder / name
        if number == _FOLDER:
            path.mkdir()
        elif number in places:
            os.link(places[number], path)
        else:
            path.write_bytes(data[number])
            places[number] = path


def cut(job: Job, points: int, ordered: bool, draw: random.Random, home: Path) -> Iterator[tuple[str, list[str]]]:
    """Cut the power at so many points of a job: where, and what is wrong then."""
    folder = home / "run"
    job.prepare(folder)
    before = tree(folder)
    job.leave(folder)
    run = watched(lambda: job.run(folder), folder.resolve())
    after = tree(folder)
    end = len(run.moments) - 1
    for number in range(points):
        at = draw.randrange(end + 1) if number else end
        place = home / str(number)
        made(*state(run, at, ordered, draw), place)
        # A run that has ended has promised its output.
        wrong = [f"{name} is not the new one" for name in job.outputs
                 if at == end and tree(place).get(name) != after[name]]  # fmt: skip
        try:
            wrong += complaints(job, place, before, after)
        except TseError as error:
            wrong.append(f"another run fails: {error}")
        yield f"moment {at} of {end}", wrong


def main() -> int:
    """Print a line for each job, and every fault; 1 if there was one."""
    parser = argparse.ArgumentParser(prog="python -m tests.power", description="Cut the power while a run writes.")
    parser.add_argument(
        "jobs", nargs="*", metavar="JOB", help=f"which: {', '.join(job.name for job in JOBS)}; default: all"
    )
    parser.add_argument("--points", type=int, default=200, help="of each job (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the points (default: 0)")
    parser.add_argument("--order", choices=("names", "none"), default="names")
    options = parser.parse_args()
    faults = 0
    for job in [job for job in JOBS if not options.jobs or job.name in options.jobs]:
        draw = random.Random(f"{options.seed} {job.name}")
        os.chdir(Path(__file__).parent)
        with tempfile.TemporaryDirectory() as home:
            for point, wrong in cut(job, options.points, options.order == "names", draw, Path(home)):
                for text in wrong:
                    print(f"{job.name}, cut at {point}: {text}")
                faults += bool(wrong)
        print(f"{job.name}: {options.points} points", flush=True)
    print(f"{faults} points with a fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
