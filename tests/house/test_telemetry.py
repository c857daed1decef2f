"""onnxruntime's telemetry stays off: nothing is written below the home folder, and no socket is opened."""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.graphs import network

ROOT = Path(__file__).parents[2]
DOORS = {ROOT / "tse_onnx/runtime" / name for name in ("ort.py", "quantization.py")}
STARTED = ("models", "benchmarks", "tests")  # packages of scripts that use onnxruntime as anybody would

# What decides for onnxruntime: the second and third are set where tests run, and would hide what users get.
DECIDING = ("ORT_DISABLE_TELEMETRY", "CI", "ORT_RUNNING_UNIT_TESTS")


def _importers(folder):
    """The files below a folder that import onnxruntime."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if any(name.partition(".")[0] == "onnxruntime" for name in names):
                yield path


@pytest.mark.parametrize("folder", ["tse_onnx", "passes"])
def test_the_package_imports_onnxruntime_in_one_room(folder):
    assert set(_importers(folder)) == (DOORS if folder == "tse_onnx" else set())


@pytest.fixture
def home(tmp_path):
    """An empty home folder, and the environment of somebody who lives there and has not heard of telemetry."""
    folder = tmp_path / "home"
    folder.mkdir()
    env = {name: value for name, value in os.environ.items() if name not in DECIDING}
    return folder, env | {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / ".cache"), "PYTHONPATH": str(ROOT)}


def _variable(env, code):
    code = f"import os\n{code}\nprint(os.environ.get('ORT_DISABLE_TELEMETRY'))"
    return subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("package", STARTED)
def test_scripts_turn_it_off_before_they_import_anything(home, package):
    assert list(_importers(package))
    assert _variable(home[1], f"import {package}") == "1"


@pytest.mark.parametrize("door", sorted(path.stem for path in DOORS))
def test_the_variable_is_set_before_the_import_and_not_by_importing_the_package(home, door):
    watched = f"""
import builtins
honest = builtins.__import__
def watching(name, *rest, **more):
    if name.partition(".")[0] == "onnxruntime":
        assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
        print("seen")
    return honest(name, *rest, **more)
builtins.__import__ = watching
from tse_onnx.runtime import {door}
"""
    assert _variable(home[1], watched).split()[0] == "seen"
    assert _variable(home[1], "import tse_onnx, tse_onnx.cli") == "None"


@pytest.mark.parametrize("value", ["0", "1", ""])
def test_whoever_has_set_the_variable_has_decided(home, value):
    code = "from tse_onnx.runtime.telemetry import turn_off\nturn_off()"
    assert _variable(home[1] | {"ORT_DISABLE_TELEMETRY": value}, code) == value


@pytest.fixture
def folder(tmp_path):
    onnx.save(network(28, 14), tmp_path / "net.onnx")
    np.save(tmp_path / "data.npy", np.random.default_rng(0).standard_normal((4, 8, 28, 12)).astype(np.float32))
    return tmp_path


WAYS = {
    "convert": ["convert", "net.onnx", "out.onnx", "--certify"],
    "stream": ["stream", "net.onnx"],
    "evaluate": ["evaluate", "net.onnx", "--data", "data.npy"],
    "tune": ["tune", "net.onnx", "--data", "data.npy", "--reduce", "30%", "--no-cache"],
    "workers": ["tune", "net.onnx", "--data", "data.npy", "--reduce", "30%", "--no-cache", "--workers", "1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_no_command_leaves_anything_in_the_home_folder(folder, home, way):
    command = [sys.executable, "-m", "tse_onnx", *WAYS[way]]
    done = subprocess.run(command, cwd=folder, env=home[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert _files(home[0]) == []


@pytest.mark.slow
def test_a_home_folder_that_cannot_be_written_is_no_reason_for_a_warning(folder, home):
    """Where its folder cannot be made, the telemetry says so in colour."""
    nowhere = {"HOME": "/dev/null/none", "XDG_CACHE_HOME": "/dev/null/none/.cache"}
    command = [sys.executable, "-m", "tse_onnx", *WAYS["convert"]]
    done = subprocess.run(command, cwd=folder, env=home[1] | nowhere, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def _files(folder):
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()]


LIVING = """
import sys, time
import onnx.parser
import tse_onnx
REFUSED = '<ir_version: 8, opset_import: ["other": 1]> g (float[1] x) => (float[1] y) { y = other.Secret(x) }'
began = time.monotonic()
tse_onnx.convert("net.onnx", "out.onnx", certify=True)
tse_onnx.evaluate("net.onnx", "out.onnx", data="data.npy")
tse_onnx.stream("net.onnx")
from tse_onnx.runtime.session import Session
try:
    Session(onnx.parser.parse_model(REFUSED))
except tse_onnx.ModelError as error:
    print(error)
time.sleep(max(0, 25 - (time.monotonic() - began)))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are looked at in /proc")
def test_a_process_that_lives_opens_no_socket(folder, home):
    """The telemetry sends what it has after some seconds. Its sockets live for a moment where there is a network, so
    strace looks as well where it can be had."""
    command, trace = [sys.executable, "-c", LIVING], folder / "trace"
    if shutil.which("strace"):
        command = ["strace", "-f", "-qq", "-e", "trace=socket,connect,sendto", "-o", str(trace), *command]
    process = subprocess.Popen(command, cwd=folder, env=home[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    sockets = set()
    while process.poll() is None:
        sockets |= _sockets(process.pid)
        time.sleep(0.02)
    out, err = process.communicate()
    assert process.returncode == 0, err.decode()
    assert b"onnxruntime" in out, "a model that it refuses is told about, too"
    assert not err
    assert not trace.exists() or not re.findall(r"AF_INET.*", trace.read_text())
    assert not sockets
    assert _files(home[0]) == []


def _sockets(pid):
    """The sockets that a process and its children hold."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if pid in (int(path.name), parent):
                found |= {name for name in map(os.readlink, (path / "fd").iterdir()) if name.startswith("socket:")}
        except OSError:  # gone meanwhile, or not ours
            continue
    return found
