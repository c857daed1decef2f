"""The bundled models: what the files hold, what filling makes of them, and that they compute something sensible."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import models
from models.registry import FOLDER
from models.weights import SCALE_KEY, SEED_KEY, noise

ENTRIES = models.catalogue()
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


@functools.lru_cache(maxsize=2)
def filled(name: str) -> bytes:
    return models.load(name).SerializeToString(deterministic=True)


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # quicker to start
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def test_catalogue_lists_the_files() -> None:
    assert models.names() == sorted(path.stem for path in FOLDER.glob("*.onnx"))
    assert [entry.name for entry in ENTRIES] == models.names()


def test_set_covers_both_exporters_and_four_opsets() -> None:
    assert {entry.exporter for entry in ENTRIES} == {"torchscript", "dynamo"}
    assert {entry.opset for entry in ENTRIES} == {11, 17, 18, 20}
    assert {entry.dynamic_batch for entry in ENTRIES} == {False, True}
    assert any(entry.se_modules == 0 for entry in ENTRIES)


def test_unknown_name() -> None:
    with pytest.raises(KeyError, match="no_such_model"):
        models.load("no_such_model")


@each_entry
def test_stored_file(entry: models.Entry) -> None:
    stored = entry.path.read_bytes()
    assert len(stored) < 1_000_000
    places = ("home", "opt", "root", "srv", "tmp", "usr", "var", "work", "Users")
    for trace in (*(f"/{place}/".encode() for place in places), b"site-packages", b"\\Users\\"):
        assert trace not in stored


@pytest.mark.slow
@each_entry
def test_filled_model_is_valid_and_whole(entry: models.Entry) -> None:
    model = models.load(entry.name)
    assert model.SerializeToString(deterministic=True) == filled(entry.name)
    for tensor in model.graph.initializer:
        assert onnx.numpy_helper.to_array(tensor).shape == tuple(tensor.dims)
        assert not {SEED_KEY, SCALE_KEY} & {item.key for item in tensor.metadata_props}
    onnx.checker.check_model(model, full_check=True)


@each_entry
def test_graph_is_what_the_catalogue_says(entry: models.Entry) -> None:
    model = onnx.load_model(entry.path)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", entry.opset)]
    batch, *image = model.graph.input[0].type.tensor_type.shape.dim
    assert tuple(dim.dim_value for dim in image) == entry.input_shape
    assert bool(batch.dim_param) == entry.dynamic_batch
    assert entry.se_modules == len(entry.se_inputs)


@pytest.mark.slow
@each_entry
def test_logits_are_sane(entry: models.Entry) -> None:
    batch = 2 if entry.dynamic_batch else 1
    images = models.images(entry.name, batch)
    (logits,) = session(filled(entry.name)).run(None, {"input": images})
    assert logits.shape == (batch, 10 if entry.name == "digits_se" else 1000)
    assert np.isfinite(logits).all()
    assert 0.5 < logits.std() < (20 if entry.name == "digits_se" else 5)  # a trained network may be surer


@pytest.mark.parametrize(
    "name",
    ["efficientnet_b0_torchscript_11", "regnety_800mf_dynamo_18", "mobilenetv3_large_tv_dynamo_18", "digits_se"],
)
def test_gates_neither_constant_nor_saturated(name: str) -> None:
    model = models.load(name)
    sigmoids = [node.output[0] for node in model.graph.node if node.op_type in ("Sigmoid", "HardSigmoid")]
    model.graph.output.extend(onnx.ValueInfoProto(name=output) for output in sigmoids)
    maps = session(model.SerializeToString()).run(sigmoids, {"input": models.images(name)})
    gates = [gate for gate in maps if gate.shape[2:] == (1, 1)]
    assert gates
    for gate in gates:
        assert gate.std() > 0.01
        assert ((gate > 0.02) & (gate < 0.98)).mean() > 0.5


@pytest.mark.parametrize(
    ("network", "modules", "whole", "seven_rows"),
    [("RegNetY-800MF", 14, 1_078_784, 426_496), ("EfficientNet-B0", 16, 2_306_528, 749_504)],
)
def test_elements_squeezed(network: str, modules: int, whole: int, seven_rows: int) -> None:
    for entry in ENTRIES:
        if entry.network == network:
            assert entry.se_modules == modules
            assert sum(c * h * w for c, h, w in entry.se_inputs) == whole
            assert sum(c * min(7, h) * w for c, h, w in entry.se_inputs) == seven_rows


def test_noise_is_the_same_everywhere() -> None:
    assert noise("conv_stem.weight", (4,)).tolist() == pytest.approx([0.05348322, 0.86010253, -1.03798127, -1.68219852])
    values = noise("classifier.weight", (100, 1001))
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.std() == pytest.approx(1, abs=0.01)


def test_images_are_seeded_and_normalised() -> None:
    first, again, other = (models.smooth_noise(2, (3, 33, 40), seed) for seed in (1, 1, 2))
    assert first.shape == (2, 3, 33, 40)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.mean(axis=(2, 3)) == pytest.approx(0, abs=1e-5)
    assert first.std(axis=(2, 3)) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_digits_accuracy() -> None:
    images, labels = models.digits()
    assert images.shape == (450, 1, 32, 32)
    assert images.dtype == np.float32
    assert labels.shape == (450,)
    assert labels.dtype == np.int64
    (logits,) = session(filled("digits_se")).run(None, {"input": images})
    assert (logits.argmax(1) == labels).sum() == pytest.approx(439, abs=1)


@pytest.mark.slow
def test_command(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "models", *arguments], cwd=FOLDER.parent, capture_output=True, text=True
        )

    listing = run()
    assert listing.returncode == 0
    assert all(name in listing.stdout for name in models.names())

    path = tmp_path / "out.onnx"
    assert run("digits_se", "-o", str(path)).returncode == 0
    onnx.checker.check_model(path)

    data = tmp_path / "digits.npz"
    assert run("digits_se", "-o", str(path), "--data", str(data)).returncode == 0
    with np.load(data) as stored:
        images, labels = models.digits()
        assert np.array_equal(stored["input"], images)
        assert np.array_equal(stored["labels"], labels)
    for other in (("mobilenetv2_dynamo_18",), ()):
        refused = run(*other, "--data", str(tmp_path / "other.npz"))
        assert refused.returncode == 2
        assert sorted(tmp_path.iterdir()) == [data, path]

    unknown = run("no_such_model")
    assert unknown.returncode == 2
    assert len(unknown.stderr.splitlines()) == 1
    assert "no_such_model" in unknown.stderr
