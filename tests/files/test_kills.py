"""Runs that are killed, runs at the same time, and what reaches the disk first."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import pytest

import tse_onnx
from tests import power
from tests.command import refused
from tests.command import tse_onnx as command
from tests.graphs import se_model
from tests.kills import model_with_weights, tree, weights
from tse_onnx.files import copy as copying
from tse_onnx.files import scratch
from tse_onnx.files.staging import staging

ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")  # where a flush costs nothing


def _killed(points, *jobs):
    where = {"TMPDIR": str(MEMORY)} if os.access(MEMORY, os.W_OK) else {}
    words = [sys.executable, "-m", "tests.kills", "--points", str(points), *jobs]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=os.environ | where)


@pytest.mark.slow
def test_a_killed_run_leaves_the_old_files_or_the_new_ones():
    done = _killed(4)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("0 with a fault")


@pytest.mark.long
def test_runs_killed_at_many_more_points():
    done = _killed(100)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("points", [5, pytest.param(300, marks=pytest.mark.long)])
@pytest.mark.parametrize("job", power.JOBS, ids=lambda job: job.name.replace(" ", "-"))
def test_a_power_failure_leaves_the_old_files_or_the_new_ones(tmp_path, monkeypatch, job, points):
    monkeypatch.chdir(tmp_path)
    home = Path(tempfile.mkdtemp(dir=MEMORY)) if os.access(MEMORY, os.W_OK) else tmp_path
    try:
        wrong = [(point, said) for point, said in power.cut(job, points, True, random.Random(job.name), home) if said]
    finally:
        os.chdir(tmp_path)
        shutil.rmtree(home)
    assert not wrong


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    for name, seed in (("one", 1), ("same", 1), ("two", 2)):
        model_with_weights(tmp_path / name / "model.onnx", seed)
    return tmp_path


def _write(stage, folder):
    return stage.write(onnx.load(folder / "model.onnx", load_external_data=False), folder)


def _names(folder):
    return {name for name, data in tree(folder).items() if data is not None}


@pytest.mark.parametrize("other", ["same", "two"])
@pytest.mark.parametrize("failing", [True, False])
def test_no_run_relies_on_weights_that_another_may_take_away(folder, other, failing):
    """The second run finds the weights that the first has carried, and the first fails then."""
    out = folder / "out"
    try:
        with staging(out / "one.onnx") as first:
            _write(first, folder / "one")
            with staging(out / "other.onnx") as second:
                renamed = _write(second, folder / other)
                second.commit()
            if failing:
                raise KeyboardInterrupt
            first.commit()
    except KeyboardInterrupt:
        assert failing
    assert renamed == {"weights.bin": "weights_2.bin", "sub/more.bin": "sub/more_2.bin"}
    assert weights(out / "other.onnx") == weights(folder / other / "model.onnx")
    expected = {"other.onnx", "weights_2.bin", "sub/more_2.bin"}
    assert _names(out) == expected | (set() if failing else {"one.onnx", "weights.bin", "sub/more.bin"})
    with staging(out / "third.onnx") as third:
        assert bool(_write(third, folder / other)) == (not failing and other == "two")
        third.commit()
    assert weights(out / "third.onnx") == weights(folder / other / "model.onnx")
    assert not _names(out) - expected - {"one.onnx", "third.onnx", "weights.bin", "sub/more.bin"}


@pytest.mark.parametrize("moment", ["before the commit", "in it"])
def test_a_run_that_is_taken_for_dead_writes_nothing(folder, monkeypatch, moment):
    """Where locks do not work, as between two machines on some network file systems."""
    before = tree(folder)

    def sweep(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(scratch, "_lock", lambda handle: True)
            patch.setattr(shutil, "rmtree", lambda *arguments, **options: None)  # the other has not come so far
            scratch._sweep(folder / "out")

    def run():
        with staging(folder / "out/model.onnx") as stage:
            _write(stage, folder / "one")
            if moment == "before the commit":
                sweep()
            else:  # behind the flush of the weights, which would miss them
                monkeypatch.setattr(os, "link", sweep)
            stage.commit()

    with pytest.raises(tse_onnx.ModelError, match="cannot write"):
        run()
    assert tree(folder) == before


def test_a_folder_of_files_that_are_not_ours_is_left_alone(folder):
    ours, theirs = folder / "out/.tse-onnx-0123456789abcdef", folder / "out/.tse-onnx-0123456789abcdeg"
    for path in (ours, theirs):
        (path / "carried").mkdir(parents=True)
        (path / "dead").touch()
        (path / "carried/weights.bin").write_bytes(b"x")
    (folder / "out/weights.bin").write_bytes(b"x")
    (folder / "out/.tse-onnx-1111111111111111").symlink_to(folder / "one")
    before = _names(folder / "one")
    tse_onnx.convert(se_model(), folder / "out/model.onnx", verify=False)
    assert _names(folder / "one") == before
    assert _names(folder / "out") == {
        "model.onnx", "weights.bin", f"{theirs.name}/dead", f"{theirs.name}/carried/weights.bin"
    } | {name for name in _names(folder / "out") if name.startswith(".tse-onnx-1")}  # fmt: skip


def test_what_a_name_stands_for_reaches_the_disk_before_the_name(folder, monkeypatch):
    events = []
    honest = os.fsync, os.link, Path.replace

    def fsync(handle):
        events.append(("flush", os.readlink(f"/proc/self/fd/{handle}")))
        honest[0](handle)

    def link(source, target):
        events.append(("name", str(target)))
        honest[1](source, target)

    def replace(path, target):
        events.append(("name", str(target)))
        return honest[2](path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(Path, "replace", replace)
    out = folder.resolve() / "out"
    tse_onnx.convert(folder / "one/model.onnx", out / "model.onnx", verify=False)
    flushed = [name for what, name in events if what == "flush"]
    order = [(what, name) for what, name in events if "/.tse-onnx-" not in name]
    named = order.index(("name", str(out / "model.onnx")))
    assert order[named + 1 :] == [("flush", str(out))]
    for name, folders in (("weights.bin", [out]), ("sub/more.bin", [out, out / "sub"])):
        given = events.index(("name", str(out / name)))
        for path in (out / name, *folders):
            assert ("flush", str(path)) in events[given : events.index(("name", str(out / "model.onnx")))]
    staged = next(number for number, (_, name) in enumerate(events) if name.endswith("/staged"))
    assert staged < events.index(("name", str(out / "model.onnx")))
    assert len(flushed) == 2 + 2 + 1 + 1, "the weights, their folders, the model, and its folder again"


def test_a_rename_of_which_the_disk_kept_both_names_has_happened(folder):
    """As after a power failure on a file system that does not rename in one piece."""
    tse_onnx.convert(folder / "one/model.onnx", folder / "out/model.onnx", verify=False)
    after = _names(folder / "out")
    theirs = folder / "out" / f".tse-onnx-{'0' * 16}"
    (theirs / "carried/sub").mkdir(parents=True)
    os.link(folder / "out/model.onnx", theirs / "staged")
    for name in ("weights.bin", "sub/more.bin"):
        os.link(folder / "out" / name, theirs / "carried" / name)
    tse_onnx.convert(se_model(), folder / "out/other.onnx", verify=False)
    assert _names(folder / "out") == after | {"other.onnx"}


def _in_a_small_room(arguments, cwd, kilobytes):
    """Run a command in `cwd`, where out/ is a file system of its own with so much room; what is there in the end follows
    its output."""
    script = f"mount -t tmpfs -o size={kilobytes}k none out && printf before > out/model.onnx && shift && "
    script += '"$@"; code=$?; cat out/model.onnx; ls -A out; exit $code'
    words = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", "", *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, capture_output=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="no namespaces on this system")
@pytest.mark.parametrize("room", [8, 16, 900, 1500, 2048])
def test_a_file_system_that_fills_up(folder, room):
    if _in_a_small_room(["true"], folder, 1024).returncode:
        pytest.skip("no file systems of one's own on this system")
    program = [sys.executable, "-m", "tse_onnx", "convert", folder / "one/model.onnx", "out/model.onnx", "--no-verify"]
    done = _in_a_small_room([*program, "--report", "out/r.json"], folder, room)
    assert done.stderr.decode() == "Error: cannot write out/model.onnx: No space left on device\n"
    assert done.returncode == 2
    assert done.stdout == b"beforemodel.onnx\n"


def test_an_output_folder_that_vanishes(folder, monkeypatch):
    honest = scratch.Scratch.write

    def write(self, pieces):
        honest(self, pieces)
        shutil.rmtree(folder / "out")

    monkeypatch.setattr(scratch.Scratch, "write", write)
    line = refused(command("convert", folder / "one/model.onnx", folder / "out/model.onnx", "--no-verify"))
    assert "cannot write" in line
    assert not (folder / "out").exists()


@pytest.mark.parametrize("moment", ["before", "between"])
def test_weights_that_vanish_or_change_while_they_are_copied(folder, monkeypatch, moment):
    honest, source = copying._copy_range, folder / "one/weights.bin"
    before = tree(folder / "out")

    def copy_range(path, reading, writing, start, end):
        if moment == "between" and path == source:
            with path.open("ab") as file:
                file.write(b"more")
        honest(path, reading, writing, start, end)

    monkeypatch.setattr(copying, "_copy_range", copy_range)
    monkeypatch.setattr(copying, "_cloned", lambda reading, writing: False)
    if moment == "before":
        source.unlink()
    line = refused(command("convert", folder / "one/model.onnx", folder / "out/model.onnx", "--no-verify"))
    assert ("missing" if moment == "before" else "changed while it was copied") in line
    assert tree(folder / "out") == before


@pytest.mark.parametrize("way", ["kernel", "through us"])
@pytest.mark.parametrize("content", ["empty", "data", "holes", "all hole", "odd"])
def test_copies(tmp_path, monkeypatch, way, content):
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        if content == "data":
            file.write(os.urandom(3 * 2**20 + 17))
        elif content == "odd":
            file.write(b"x")
        elif content == "holes":
            for at in (2**20, 5 * 2**20, 5 * 2**20 + 2**18):
                file.seek(at)
                file.write(os.urandom(70_001))
            file.truncate(8 * 2**20 + 3)
        elif content == "all hole":
            file.truncate(2**22)
    source.chmod(0o604)
    if way == "through us":
        monkeypatch.setattr(copying, "_copied_inside", lambda *arguments: 0)
    monkeypatch.setattr(copying, "_cloned", lambda reading, writing: False)
    copying.copy(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert copying.identical(source, target)
    assert target.stat().st_mode & 0o777 == 0o604 & ~_umask()
    assert target.stat().st_blocks <= source.stat().st_blocks + 16
    with pytest.raises(FileExistsError):
        copying.copy(source, target)
    if content != "empty":
        with target.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))
        assert not copying.identical(source, target)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("location", ["!/-/ w.bin", "a/b/.b/w.bin", "w.bin", "sub/" + "n" * 250 + ".bin"])
@pytest.mark.parametrize("existing", [False, True])
def test_folders_that_were_made_are_removed_with_what_was_carried(folder, location, existing):
    (folder / "one" / location).parent.mkdir(parents=True, exist_ok=True)
    (folder / "one/weights.bin").rename(folder / "one" / location)
    model = onnx.load(folder / "one/model.onnx", load_external_data=False)
    next(e for e in model.graph.initializer[-2].external_data if e.key == "location").value = location
    (folder / "one/model.onnx").write_bytes(model.SerializeToString())
    if existing:
        (folder / "out" / location).parent.mkdir(parents=True, exist_ok=True)
    before = tree(folder)
    refused(command("convert", folder / "one/model.onnx", folder / "out/model.onnx", "--max-drift", "1e-9"), 1)
    assert tree(folder) == before
    assert command("convert", folder / "one/model.onnx", folder / "out/model.onnx").returncode == 0
    assert weights(folder / "out/model.onnx") == weights(folder / "one/model.onnx")


def test_two_names_for_one_file_are_carried_once(folder):
    model = onnx.load(folder / "one/model.onnx", load_external_data=False)
    entry = next(e for e in model.graph.initializer[-1].external_data if e.key == "location")
    entry.value = "./weights.bin"
    (folder / "one/model.onnx").write_bytes(model.SerializeToString())
    tse_onnx.convert(folder / "one/model.onnx", folder / "out/model.onnx", verify=False)
    assert _names(folder / "out") == {"model.onnx", "weights.bin"}


def test_without_links_everything_comes_out_the_same(folder, monkeypatch):
    def link(source, target):
        raise PermissionError(1, "Operation not permitted", str(source), None, str(target))

    monkeypatch.setattr(os, "link", link)
    out = folder / "out"
    with pytest.raises(tse_onnx.CheckFailed):
        tse_onnx.convert(folder / "one/model.onnx", out / "model.onnx", max_drift=1e-9)
    assert tree(out) == {}
    for number, name in enumerate(("one", "two", "same")):
        tse_onnx.convert(folder / name / "model.onnx", out / f"{name}.onnx", verify=False)
        assert weights(out / f"{name}.onnx") == weights(folder / name / "model.onnx")
    assert _names(out) == {
        "one.onnx", "two.onnx", "same.onnx", "weights.bin", "weights_2.bin", "sub/more.bin", "sub/more_2.bin"
    }  # fmt: skip
