"""What verification may use of time and memory, and what a signal leaves behind."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as command
from tests.graphs import network, se_model, text_model
from tests.running import peak
from tse_onnx.verification import verify as verify_module

# A run of this takes minutes, a node of it a moment.
CONVOLUTIONS = 1500


def slow_model(path):
    """A model with a block whose run takes minutes."""
    body = ["c0 = Conv(x, first)"]
    body += [f"c{n + 1} = Conv<pads = [1, 1, 1, 1]>(c{n}, big)" for n in range(CONVOLUTIONS)]
    last = f"c{CONVOLUTIONS}"
    body += [f"d = GlobalAveragePool({last})", "r = Conv(d, w1)", "a = Relu(r)", "e = Conv(a, w1)", "g = Sigmoid(e)",
             f"y = Mul({last}, g)"]  # fmt: skip
    weights = {
        "first": np.zeros((64, 3, 1, 1), np.float32),
        "big": np.zeros((64, 64, 3, 3), np.float32),
        "w1": np.zeros((64, 64, 1, 1), np.float32),
    }
    onnx.save(text_model("\n".join(body), weights, inputs="float[1, 3, 256, 256] x",
                         outputs="float[1, 64, 256, 256] y"), path)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow")
    slow_model(folder / "slow.onnx")
    (folder / "out.onnx").write_bytes(b"what was there before")
    return folder


def started(folder, *arguments):
    """The command in a process of its own, with a log to wait for; a shell's background job ignores SIGINT."""
    return subprocess.Popen(
        [sys.executable, "-m", "tse_onnx", "-v", *arguments], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


MOMENTS = {
    "while reading": ([], "tse_onnx.cli"),
    "while matching": ([], "loading"),
    "while verifying": ([], "onnx's checker"),
    "inside onnxruntime": ([], "running both models"),
    "while certifying": (["--certify"], "rewriting"),
}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are others there")
@pytest.mark.parametrize(("options", "mark"), MOMENTS.values(), ids=MOMENTS)
def test_an_interrupt_ends_it_at_once_and_leaves_nothing(folder, options, mark):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    process = started(folder, "convert", "slow.onnx", "out.onnx", "--threads", "1", *options)
    for line in process.stderr:
        if mark in line.decode():
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)  # of an impatient user
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err.decode()
    assert err.decode().splitlines()[-1] == "Interrupted: nothing was written."
    assert not any(b"Traceback" in line for line in err.splitlines())
    assert not out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
def test_the_time_limit_ends_a_run_of_minutes(folder):
    before = sorted(folder.iterdir())
    begun = time.monotonic()
    done = command("convert", "slow.onnx", "out.onnx", "--time-limit", "0.5", "--threads", 1, cwd=folder)
    line = refused(done, 1)
    assert time.monotonic() - begun < 15
    assert "time limit of 0.5 s" in line
    assert sorted(folder.iterdir()) == before
    assert (folder / "out.onnx").read_bytes() == b"what was there before"


@pytest.mark.parametrize("options", [{}, {"certify": True}, {"rows": 3}], ids=str)
def test_no_check_is_passed_over_when_the_time_is_up(options, tmp_path):
    with pytest.raises(tse_onnx.CheckFailed, match="time limit of 1e-09 s"):
        tse_onnx.convert(se_model(), tmp_path / "out.onnx", time_limit=1e-9, **options)
    assert not list(tmp_path.iterdir())
    assert tse_onnx.convert(se_model(), time_limit=3600, **options).verification.passed


def test_the_time_is_up_while_streaming(tmp_path):
    onnx.save(network(28, 14), tmp_path / "net.onnx")
    line = refused(command("stream", tmp_path / "net.onnx", "--time-limit", "1e-9"), 1)
    assert "time limit" in line


@pytest.mark.parametrize("limit", ["0", "-1", "nan"])
def test_a_time_limit_is_a_time(tmp_path, limit):
    onnx.save(se_model(), tmp_path / "net.onnx")
    line = refused(command("convert", tmp_path / "net.onnx", "out.onnx", "--time-limit", limit))
    assert "time limit" in line.replace("-", " ")
    with pytest.raises(tse_onnx.UsageError):
        tse_onnx.convert(se_model(), time_limit=float(limit))


def test_two_runs_say_the_same_to_the_last_digit(tmp_path):
    onnx.save(network(28, 14), tmp_path / "net.onnx")
    for options in ([], ["--seed", 7], ["--certify"], ["--squeeze", "running", "--rows", 3]):
        once, again = (
            command("convert", "net.onnx", "out.onnx", "--format", "json", *options, cwd=tmp_path).stdout
            for _ in range(2)
        )
        times = re.compile(rb'"(\w*seconds)": [-+.e0-9]+')
        assert once
        assert times.sub(rb"\1", once) == times.sub(rb"\1", again)
    other = command("convert", "net.onnx", "out.onnx", "--format", "json", "--seed", 8, cwd=tmp_path).stdout
    assert other != command("convert", "net.onnx", "out.onnx", "--format", "json", cwd=tmp_path).stdout


@pytest.fixture
def sessions(monkeypatch):
    """How many sessions were open at once while one was opened, and the outputs of each."""
    import weakref

    alive = weakref.WeakSet()
    seen = []

    class Counting(ort.InferenceSession):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            alive.add(self)
            seen.append((len(alive), {value.name for value in self.get_outputs()}))

    monkeypatch.setattr(ort, "InferenceSession", Counting)
    return seen


def test_the_two_models_are_never_open_at_once(tmp_path, sessions, monkeypatch):
    """Beside the converted model only one session of a block is: of the oracle, of both models on a flat map."""
    np.save(tmp_path / "data.npy", np.zeros((40, 3, 16, 12), np.float32))
    model = se_model()
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
    np.save(tmp_path / "data.npy", np.random.default_rng(0).standard_normal((40, *shape)).astype(np.float32))
    whole = tse_onnx.convert(model, data=tmp_path / "data.npy")
    assert [count for count, _ in sessions] == [1, 1, 2, 2, 2]
    sessions.clear()
    monkeypatch.setattr(verify_module, "_ROOM", 1)  # a window for every feed
    narrow = tse_onnx.convert(model, data=tmp_path / "data.npy")
    assert [count for count, _ in sessions] == [1, 1, 2, 2, 2] + 4 * [1, 1]
    assert narrow.verification == whole.verification
    assert whole.verification.samples == 40


def test_maps_that_there_is_no_room_for_are_looked_at_block_by_block(sessions, monkeypatch):
    model = network(28, 14)
    whole = tse_onnx.convert(model, rows=3)
    together = max(len(outputs) for _, outputs in sessions)
    sessions.clear()
    monkeypatch.setattr(verify_module, "_ROOM", 1)
    single = tse_onnx.convert(model, rows=3)
    assert len(single.verification.blocks) == 2
    assert single.verification == whole.verification
    assert max(len(outputs) for _, outputs in sessions) < together


@pytest.mark.parametrize("number", [0, 1])
def test_a_wrong_block_is_noticed_in_whatever_group_it_is(number, monkeypatch):
    model = network(28, 14)
    honest = verify_module.check_block

    def dishonest(form, original, converted, block, values):
        if block.name == model_blocks[number].name:
            values = {**values, block.scale.output: values[block.scale.output] * 1.01}
        return honest(form, original, converted, block, values)

    model_blocks = tse_onnx.find_blocks(model)
    monkeypatch.setattr(verify_module, "check_block", dishonest)
    monkeypatch.setattr(verify_module, "_ROOM", 1)
    with pytest.raises(tse_onnx.CheckFailed, match=model_blocks[number].name):
        tse_onnx.convert(model, rows=3)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in other units elsewhere")
def test_the_peak_does_not_grow_with_the_number_of_large_blocks(tmp_path):
    """A map is 64 MiB here; eight blocks have sixteen of them that are looked at."""

    def large(count):
        body = ["h0 = Conv(x, first)"]
        for n in range(count):
            body += [f"d{n} = GlobalAveragePool(h{n})", f"e{n} = Conv(d{n}, w1)", f"r{n} = Relu(e{n})",
                     f"q{n} = Conv(r{n}, w1)", f"g{n} = Sigmoid(q{n})", f"h{n + 1} = Mul(h{n}, g{n})"]  # fmt: skip
        body.append(f"p = GlobalAveragePool(h{count})")
        body.append("y = Flatten(p)")
        weights = {"first": np.ones((64, 3, 1, 1), np.float32), "w1": np.ones((64, 64, 1, 1), np.float32) / 64}
        path = tmp_path / f"{count}.onnx"
        onnx.save(text_model("\n".join(body), weights, inputs="float[1, 3, 512, 512] x",
                             outputs="float[1, 64] y"), path)  # fmt: skip
        return peak("convert", path, tmp_path / "out.onnx", "--rows", 64)

    few, many = large(4), large(8)
    assert many < few + 64 * 2, (few, many)
