"""Fine-tuning in processes of its own: several that train together, and one that is interrupted by Ctrl-C."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest

import models

pytest.importorskip("torch")

OPTIONS = ("--rows", "1", "--data", "digits.npz", "--steps", "6", "--batch", "16", "--epochs", "2", "--threads", "1")
ALONE = (sys.executable, "-m", "tse_onnx")
TOGETHER = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "tse_onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    models.save("digits_se", folder / "digits.onnx")
    images, labels = models.digits()
    np.savez(folder / "digits.npz", input=images[:120], labels=labels[:120])
    return folder


def run(folder, launcher, output, *options):
    words = [*launcher, "finetune", "digits.onnx", output, *OPTIONS, *options]
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def alone(folder):
    return run(folder, ALONE, "alone.onnx")


def weights(path):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def test_two_processes_train_what_one_does_and_the_first_one_speaks(folder, alone):
    """Each has half of every batch; the sums of gradients are in another order, which rounds otherwise."""
    said = run(folder, TOGETHER, "together.onnx")
    assert said.count("Trained ") == 1
    assert "on cpu, 2 processes." in said
    original, one, two = (weights(folder / f"{name}.onnx") for name in ("digits", "alone", "together"))
    moved = {name: np.abs(array - original[name]).max() for name, array in one.items() if name in original}
    apart = {name: np.abs(one[name] - two[name]).max() for name in moved}
    assert max(moved.values()) > 1e-3
    assert max(apart.values()) < 1e-5
    assert not list(folder.glob("*.checkpoint"))


def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on_bit_for_bit(folder, alone):
    words = [*ALONE, "finetune", "digits.onnx", "stopped.onnx", *OPTIONS]
    started = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    checkpoint = folder / "stopped.onnx.checkpoint"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=120)
    if started.returncode == 0:
        pytest.skip("the run was over before it could be interrupted")
    assert started.returncode == 130, said
    assert "stopped.onnx.checkpoint" in said
    assert checkpoint.exists()
    assert not (folder / "stopped.onnx").exists()
    run(folder, ALONE, "stopped.onnx")
    assert (folder / "stopped.onnx").read_bytes() == (folder / "alone.onnx").read_bytes()
    assert not checkpoint.exists()
