"""`--quiet` prints the verdict and nothing else: lines of the whole output, which fit however large the network is."""

import json

import numpy as np
import onnx
import pytest

from tests.command import refused, tse_onnx
from tests.graphs import network, some_input

COMMANDS = {
    "check": ("check", "tiled.onnx", "--target", "onnxruntime"),
    "diff": ("diff", "a.json", "a.json"),
    "doctor": ("doctor",),
    "evaluate": ("evaluate", "net.onnx", "tiled.onnx", "--data", "x.npz"),
    "plan": ("plan", "net.onnx", "-o", "p.toml"),
    "profile": ("profile", "net.onnx", "tiled.onnx"),
    "report": ("report", "net.onnx"),
    "stream": ("stream", "tiled.onnx"),
    "verify": ("verify", "net.onnx", "tiled.onnx"),
}
MOST = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quiet")
    model = network(28, 14, 7)
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "x.npz", x=some_input(model, 4))
    assert tse_onnx("convert", "net.onnx", "tiled.onnx", cwd=folder).returncode == 0
    (folder / "a.json").write_bytes(tse_onnx("report", "net.onnx", "--format", "json", cwd=folder).stdout)
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_the_verdict_alone_is_printed(folder, name):
    quiet = tse_onnx(*COMMANDS[name], "--quiet", cwd=folder)
    assert (quiet.returncode, quiet.stderr) == (0, b"")
    lines = quiet.stdout.decode().splitlines()
    assert 0 < len(lines) <= MOST
    assert all(line.endswith((".", ")")) for line in lines), lines
    full = tse_onnx(*COMMANDS[name], cwd=folder).stdout.decode().splitlines()
    if name not in ("evaluate", "profile"):  # whose verdict is in their tables
        assert set(lines) <= set(full)
    short = tse_onnx(*COMMANDS[name], "-q", "--format", "markdown", cwd=folder)
    assert "| --- |" not in short.stdout.decode()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_program_gets_all_of_it(folder, name):
    assert "--format json" in refused(tse_onnx(*COMMANDS[name], "--quiet", "--format", "json", cwd=folder))
    assert json.loads(tse_onnx(*COMMANDS[name], "--format", "json", cwd=folder).stdout)


def test_the_exit_code_says_what_is_wrong(folder):
    done = tse_onnx("evaluate", "net.onnx", "--rows", 1, "--data", "x.npz", "--min-sqnr", 900, "--quiet", cwd=folder)
    assert done.returncode == 1
    assert "beyond the bound" in done.stderr.decode()
    assert len(done.stdout.splitlines()) == 1
