"""What the program tells when it is asked how it works: the log, tracebacks, versions, threads."""

import importlib.metadata
import logging
import os
import re
import subprocess
import sys

import onnx
import onnxruntime as ort
import pytest

import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as command
from tests.graphs import se_model
from tse_onnx.cli import main

PHASES = ["loading", "indexing", "matching", "rewriting", "writing", "comparing", "onnx's checker", "verifying"]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(se_model(), path)
    return path


def messages(done):
    """The log on standard error: pairs of logger and message."""
    lines = done.stderr.decode().splitlines()
    assert all(re.match(r"tse_onnx(\.\w+)*: ", line) for line in lines), lines
    return [tuple(line.split(": ", 1)) for line in lines]


@pytest.mark.parametrize("flags", [[["-v"], []], [[], ["-v"]], [["--verbose"], []]], ids=["before", "behind", "long"])
def test_v_logs_every_phase_with_its_time(model, tmp_path, flags):
    done = command(*flags[0], "convert", model, tmp_path / "out.onnx", *flags[1])
    assert done.returncode == 0
    said = [message for _, message in messages(done)]
    timed = [message for message in said if re.search(r" took [0-9]+\.[0-9]{3} s$", message)]
    for phase in PHASES:
        assert sum(message.startswith(phase) for message in timed) == 1, phase
    assert "decided: 1 converted, 0 unchanged, 0 refused" in said
    assert f"onnxruntime {importlib.metadata.version('onnxruntime')}" in said[0]


def test_vv_logs_every_block_and_counts_over_both_places(model, tmp_path):
    plain = messages(command("convert", model, tmp_path / "out.onnx", "-v"))
    more = messages(command("convert", model, tmp_path / "out.onnx", "-vv"))
    assert len(more) > len(plain)
    (name,) = [block.name for block in tse_onnx.find_blocks(model)]
    assert not any(f"'{name}'" in message for _, message in plain)
    assert sum(message.startswith(f"'{name}'") for _, message in more) >= 2
    both = messages(command("-v", "convert", model, tmp_path / "out.onnx", "-v"))
    assert [logger for logger, _ in both] == [logger for logger, _ in more]


def test_nothing_is_logged_without_v_nor_by_what_comes_after(model, tmp_path):
    assert command("inspect", model, "-v").stderr
    done = command("convert", model, tmp_path / "out.onnx")
    assert (done.returncode, done.stderr) == (0, b"")
    log = logging.getLogger("tse_onnx")
    assert log.level == logging.NOTSET
    assert [type(handler) for handler in log.handlers] == [logging.NullHandler]


def test_a_failed_phase_is_the_last_that_is_logged(model, tmp_path):
    done = command("convert", model, tmp_path / "out.onnx", "-v", "--max-drift", "0")
    assert done.returncode == 1
    *log, error = done.stderr.decode().splitlines()
    assert error.startswith("Error: output 'y' drifts")
    done = command("inspect", "missing.onnx", "-v", cwd=tmp_path)
    *log, error = done.stderr.decode().splitlines()
    assert re.match(r"tse_onnx.files.source: loading 'missing.onnx' stopped after [0-9.]+ s$", log[-1])


def test_no_name_steers_the_terminal_from_the_log(tmp_path):
    """`command` itself refuses every escape; here they are where the log has them, in names of all sorts."""
    evil = "\x1b]0;gotcha\x07\nError: fake"
    model = se_model()
    model.producer_name = model.graph.name = evil
    model.opset_import.add(domain=evil, version=1)
    for node in model.graph.node:
        node.name = evil + node.name
    path = tmp_path / "net\x1b[31m\n.onnx"
    onnx.save(model, path)
    for arguments in (["-vv", "inspect", path], ["-vv", "--debug", "convert", path, path.parent / "none" / evil]):
        done = command(*arguments) if "--debug" not in arguments else debugged(*arguments)
        assert b"\x1b" not in done.stderr
        assert rb"\x1b]0;gotcha" in done.stderr
        if "--debug" not in arguments:  # a traceback has the lines that it has
            assert b"\nError: fake" not in done.stderr


def test_what_a_module_logs_raw_is_escaped_as_well(model, monkeypatch):
    def careless(path):
        logging.getLogger("tse_onnx.somewhere").info("loading %s", "\x1b[31m\nError: fake")
        return path

    monkeypatch.setattr("tse_onnx.cli.inspect.given_model", careless)
    done = command("inspect", model, "-v")
    assert ("tse_onnx.somewhere", r"loading \x1b[31m\nError: fake") in messages(done)


def debugged(*arguments, **options):
    """The command where a traceback is what is wanted."""
    return subprocess.run([sys.executable, "-m", "tse_onnx", *map(str, arguments)], capture_output=True, **options)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--debug", "inspect", "no"], ["inspect", "no", "--debug"]])
def test_debug_shows_versions_and_a_traceback_and_then_the_same_line(arguments, tmp_path):
    done = debugged(*arguments, cwd=tmp_path)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert lines[0] == f"tse-onnx {tse_onnx.__version__}"
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "Error: cannot read no: No such file or directory"


def test_70_for_a_fault_of_the_program(model, monkeypatch):
    def broken(path):
        raise KeyError("a name\x1b[31m\nand a line")

    monkeypatch.setattr("tse_onnx.cli.inspect.given_model", broken)
    line = refused(command("inspect", model), 70)
    assert line == ("Error: internal error: KeyError: 'a name\\x1b[31m\\nand a line'; run with --debug and report it")


def test_help_and_bad_usage_are_no_faults(model):
    assert command("inspect", "--help").returncode == 0
    assert "no such option" in refused(command("inspect", model, "--wrong")).lower()


def test_the_versions_are_those_installed_and_cost_no_import(tmp_path):
    code = (
        "import sys\nfrom tse_onnx.cli import main\n"
        "try: main(['--version'])\nexcept SystemExit as stop: assert not stop.code\n"
        "assert not {'onnx', 'onnxruntime', 'numpy', 'onnx_graphsurgeon', 'google.protobuf'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8")
    lines = done.stdout.splitlines()
    assert lines[0] == f"tse-onnx {tse_onnx.__version__}"
    assert lines[1].startswith(f"Python {'.'.join(map(str, sys.version_info[:3]))} ")
    for name in ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy", "protobuf"):
        assert f"{name} {importlib.metadata.version(name)}" in lines
    assert lines[-1].endswith(f"{os.cpu_count()} processors")


@pytest.fixture
def threads(monkeypatch):
    """The threads of every session that is opened."""
    counts = []

    class Recording(ort.InferenceSession):
        def __init__(self, model, options=None, *rest, **named):
            counts.append(options.intra_op_num_threads if options is not None else None)
            super().__init__(model, options, *rest, **named)

    monkeypatch.setattr(ort, "InferenceSession", Recording)
    return counts


def test_threads_are_those_given(model, tmp_path, threads):
    """One thread where a session holds a block or a row, those given where it holds the model."""
    assert command("convert", model, tmp_path / "out.onnx", "--threads", 3, "--certify").returncode == 0
    assert set(threads) == {1, 3}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a process may use all processors here")
@pytest.mark.parametrize(("usable", "wanted"), [({0}, 1), ({0, 1, 2}, 3), ({0, 1, 2, 3}, 0)])
def test_no_more_threads_than_processors_may_be_used(model, threads, monkeypatch, usable, wanted):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: usable)
    tse_onnx.convert(model)
    assert set(threads) == {1, wanted}


def test_commands_share_their_options():
    for command_ in main.commands.values():
        assert {"--debug", "--verbose", "-v"} <= {name for parameter in command_.params for name in parameter.opts}
