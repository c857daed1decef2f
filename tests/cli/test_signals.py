"""Signals that end a process leave nothing behind; those that are ignored stay ignored."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.graphs import se_model

ROOT = Path(__file__).parents[2]
ENDING = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGXCPU"]

# The signal comes when the model is staged and has no name yet.
SENT = """
import os, signal, sys
from tse_onnx.files import scratch
honest, number = scratch.Scratch.write, int(sys.argv.pop())
def write(self, pieces):
    honest(self, pieces)
    os.kill(os.getpid(), number)
scratch.Scratch.write = write
from tse_onnx.cli import main
main()
"""


@pytest.fixture
def folder(tmp_path):
    onnx.save(se_model(), tmp_path / "se.onnx")
    (tmp_path / "out.onnx").write_bytes(b"before")
    return tmp_path


def _sent(number, folder, how):
    def prepare():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(number, how)

    words = [sys.executable, "-c", SENT, "convert", "se.onnx", "out.onnx", "--no-verify", str(int(number))]
    return subprocess.run(
        words, cwd=folder, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, preexec_fn=prepare
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDING)
def test_a_signal_leaves_no_hidden_folder(folder, name):
    number = getattr(signal, name)
    done = _sent(number, folder, signal.SIG_DFL)
    assert (done.returncode, done.stdout) == (128 + number, b"")
    assert done.stderr == b"Interrupted: nothing was written.\n"
    assert sorted(os.listdir(folder)) == ["out.onnx", "se.onnx"]
    assert (folder / "out.onnx").read_bytes() == b"before"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGUSR1"])
def test_a_signal_that_is_ignored_stays_ignored(folder, name):
    """As `nohup` and a shell's background jobs have it."""
    done = _sent(getattr(signal, name), folder, signal.SIG_IGN)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(onnx.load(folder / "out.onnx").graph.node) > len(se_model().graph.node)


@pytest.mark.slow
def test_the_way_out_that_is_left(folder):
    """SIGQUIT ends a process at once; the next run sweeps up behind it."""
    assert _sent(signal.SIGQUIT, folder, signal.SIG_DFL).returncode == -signal.SIGQUIT
    assert len(os.listdir(folder)) == 3
    words = [sys.executable, "-m", "tse_onnx", "convert", "se.onnx", "out.onnx", "--no-verify"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    assert sorted(os.listdir(folder)) == ["out.onnx", "se.onnx"]
