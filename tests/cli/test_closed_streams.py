"""Standard streams that are closed, full or without a reader: real processes, every command."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from tests.graphs import network
from tse_onnx import convert
from tse_onnx.cli import main

ROOT = Path(__file__).parents[2]
NO_SPACE = "No space left on device"
DATA = ["--data", "data.npy"]

# Every command, and the file that it writes, if any.
COMMANDS = {
    "check": (["net.onnx", "--target", "onnxruntime"], None),
    "convert": (["net.onnx", "out.onnx"], "out.onnx"),
    "diff": (["before.json", "after.json"], None),
    "doctor": ([], None),
    "equalise": (["net.onnx", "out.onnx"], "out.onnx"),
    "evaluate": (["net.onnx", *DATA, "--correlation", "--csv", "out.csv"], "out.csv"),
    "explain": (["net.onnx", "block0_squeeze"], None),
    "fold": (["net.onnx", "out.onnx"], "out.onnx"),
    "inspect": (["net.onnx"], None),
    "noise": (["net.onnx", *DATA, "--csv", "out.csv"], "out.csv"),
    "plan": (["net.onnx"], None),
    "profile": (["net.onnx", "--csv", "out.csv"], "out.csv"),
    "quantise": (["net.onnx", "out.onnx", *DATA, "--limit", "2"], "out.onnx"),
    "report": (["net.onnx", "--csv", "out.csv"], "out.csv"),
    "restore": (["net.onnx", "out.onnx"], "out.onnx"),
    "sensitivity": (["net.onnx", *DATA, "--no-cache", "--csv", "out.csv"], "out.csv"),
    "stream": (["net.onnx", "--csv", "out.csv"], "out.csv"),
    "targets": ([], None),
    "tune": (["net.onnx", *DATA, "--reduce", "30%", "--no-cache", "-o", "out.toml"], "out.toml"),
    "verify": (["net.onnx", "tiled.onnx"], None),
}
READING = [name for name, (words, _) in COMMANDS.items() if "net.onnx" in words]  # not of targets, extras or reports
# A whole run of each takes a minute in all; two stand for all of them where time is short.
EACH = [name if name in ("convert", "inspect") else pytest.param(name, marks=pytest.mark.long) for name in COMMANDS]
ASKING = {"help": ["--help"], "help of a command": ["tune", "--help"], "version": ["--version"]}


@pytest.fixture
def folder(tmp_path):
    onnx.save(network(28, 14), tmp_path / "net.onnx")
    convert(tmp_path / "net.onnx", tmp_path / "tiled.onnx", verify=False)
    for name, rows in (("before", "7"), ("after", "3")):
        words = ["report", str(tmp_path / "net.onnx"), "--rows", rows, "--format", "json"]
        (tmp_path / f"{name}.json").write_text(CliRunner().invoke(main, words).stdout)
    np.save(tmp_path / "data.npy", np.random.default_rng(0).standard_normal((4, 8, 28, 12)).astype(np.float32))
    return tmp_path


def _run(words, folder, redirections=""):
    """`tse-onnx` in a shell, with these redirections; what was captured of its streams."""
    script = f'exec "$@" {redirections}'
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "tse_onnx", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert b"Traceback" not in done.stderr
    return done


def _line(done):
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("Error: ")
    return line


def test_every_command_is_here():
    assert sorted(main.commands) == sorted([*COMMANDS, "distil", "finetune"])  # which need torch for a whole run


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_standard_output_is_refused_before_anything_is_done(folder, command):
    before = sorted(os.listdir(folder))
    done = _run([command, *COMMANDS[command][0]], folder, ">&-")
    assert done.returncode == 2
    assert ">/dev/null" in _line(done)
    assert sorted(os.listdir(folder)) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", EACH)
def test_the_advice_works(folder, command):
    words, file = COMMANDS[command]
    assert _run([command, *words], folder, ">/dev/null").returncode == 0
    assert file is None or (folder / file).exists()


@pytest.mark.slow
@pytest.mark.parametrize("redirections", ["<&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize("command", EACH)
def test_a_standard_error_that_takes_nothing_changes_nothing(folder, command, redirections):
    words, file = COMMANDS[command]
    done = _run([command, *words, "-v"], folder, redirections)
    assert done.returncode == 0
    assert done.stdout
    assert file is None or (folder / file).exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", READING)
def test_nor_the_exit_code_of_an_error(folder, command):
    words = ["missing.onnx" if word == "net.onnx" else word for word in COMMANDS[command][0]]
    assert _run([command, *words], folder, "2>&-").returncode == 2
    assert _run([command, *words, "--debug"], folder, "2>/dev/full").returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", ">&- 2>&- <&-", ">/dev/full 2>/dev/full"])
def test_nor_that_of_bad_usage(folder, redirections):
    for words in (["inspect", "--wrong"], ["--wrong"], ["nonsense"]):
        assert _run(words, folder, redirections).returncode == 2


@pytest.mark.slow
def test_a_check_that_fails_has_its_code_where_nobody_is_told(folder):
    for redirections in ("2>&-", "2>/dev/full"):
        done = _run(["convert", "net.onnx", "out.onnx", "--expect", "7"], folder, redirections)
        assert done.returncode == 1
    assert not (folder / "out.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", EACH)
def test_a_full_standard_output_says_what_was_written_all_the_same(folder, command):
    words, file = COMMANDS[command]
    done = _run([command, *words], folder, ">/dev/full")
    written = next((name for name in ("out.onnx", "out.csv", "out.toml") if (folder / name).exists()), None)
    assert file is None or written == file
    if written is None:
        assert (done.returncode, _line(done)) == (2, f"Error: cannot write to standard output: {NO_SPACE}")
    else:
        line = f"Error: {written} was written; standard output cannot be: {NO_SPACE}"
        assert (done.returncode, _line(done)) == (74, line)


@pytest.mark.slow
@pytest.mark.parametrize("command", EACH)
def test_a_reader_that_goes_away_is_no_error_to_speak_of(folder, command):
    done = _without_reader([command, *COMMANDS[command][0]], folder)
    assert (done.returncode, done.stderr) == (141, b"")


def _without_reader(words, folder):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [sys.executable, "-m", "tse_onnx", *words], cwd=folder, stdout=writing, stderr=subprocess.PIPE
        )
    finally:
        os.close(writing)


@pytest.mark.slow
@pytest.mark.parametrize("asked", ASKING)
def test_help_and_version_on_such_streams(folder, asked):
    words = ASKING[asked]
    assert _line(_run(words, folder, ">/dev/full")) == f"Error: cannot write to standard output: {NO_SPACE}"
    for redirections, code in ((">/dev/full", 2), (">&-", 2), (">&- 2>&-", 2), ("2>&-", 0), ("2>/dev/full <&-", 0)):
        done = _run(words, folder, redirections)
        assert done.returncode == code
        assert bool(done.stdout) == (not code)
    done = _without_reader(words, folder)
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_script_for_completion_on_a_full_disk(folder, monkeypatch):
    program = Path(sys.executable).with_name("tse-onnx")
    monkeypatch.setenv("_TSE_ONNX_COMPLETE", "bash_source")
    done = subprocess.run(["sh", "-c", f"exec '{program}' >/dev/full"], cwd=folder, capture_output=True)
    assert done.returncode == 2
    assert _line(done) == f"Error: cannot write to standard output: {NO_SPACE}"


def test_bad_usage_of_the_program_itself_is_one_line_as_well(folder):
    for words in (["--wrong"], ["nonsense"], ["inspect"], ["inspect", "--wrong"]):
        done = _run(words, folder)
        assert (done.returncode, done.stdout) == (2, b"")
        assert _line(done).endswith(" --help")


@pytest.mark.slow
@pytest.mark.parametrize("command", READING)
def test_a_model_from_a_closed_standard_input(folder, command):
    words = ["-" if word == "net.onnx" else word for word in COMMANDS[command][0]]
    done = _run([command, *words], folder, "<&-")
    assert (done.returncode, done.stdout) == (2, b"")
    assert "standard input: it is closed" in _line(done)


@pytest.mark.slow
def test_what_native_code_says_never_ends_up_in_a_file(folder):
    """Where a stream is closed, the next file to be opened would have its number."""
    code = """
import os, sys
from tse_onnx.files import scratch
honest = scratch.Scratch.write
def write(self, pieces):
    honest(self, pieces)
    for number in (0, 2):
        os.write(number, b"said by native code")
scratch.Scratch.write = write
from tse_onnx.cli import main
main(["convert", "net.onnx", "out.onnx", "--no-verify"])
"""
    command = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0
    assert b"said by" not in (folder / "out.onnx").read_bytes()
    assert len(onnx.load(folder / "out.onnx").graph.node) > len(network(28, 14).graph.node)


HOST = """
import sys
import tse_onnx
said, sys.stdout, sys.stderr, sys.stdin = sys.stdout, None, None, None
made = tse_onnx.convert("net.onnx", "out.onnx", certify=True)
assert made.verification.passed
assert tse_onnx.restore("out.onnx", "back.onnx").blocks
tse_onnx.evaluate("net.onnx", "out.onnx", data="data.npy")
assert tse_onnx.tune("net.onnx", "data.npy", reduce=0.3, cache=False).plan
assert tse_onnx.stream("net.onnx")
from tse_onnx.cli import main
for words, expected in ((["convert", "net.onnx", "cli.onnx"], 2), (["--help"], 2)):
    try:
        main(words)
    except SystemExit as stop:
        assert stop.code == expected, stop.code
assert (sys.stdout, sys.stderr, sys.stdin) == (None, None, None)
print("done", file=said)
"""


@pytest.mark.slow
def test_a_host_without_standard_streams(folder):
    """As a program without a console has it: the library prints nothing, and needs none."""
    done = subprocess.run(
        [sys.executable, "-c", HOST], cwd=folder, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"done\n", b"")
    assert not (folder / "cli.onnx").exists()
