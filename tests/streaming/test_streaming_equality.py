"""The certificate's comparison: every tensor of the run, each on its own scale, against onnxruntime's."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

import tse_onnx
from tests.streams import CONV3, SE, SE_WEIGHTS, stream_model
from tse_onnx.cli import main
from tse_onnx.streaming.execute import equality
from tse_onnx.streaming.execute.certificate import certify
from tse_onnx.streaming.execute.kernels import windows
from tse_onnx.streaming.network.read import network_of

DOCS = Path(__file__).parents[2] / "docs"
DEAF = f"a = {CONV3}(x, w)\n b = {CONV3}(a, w)\n s = Sigmoid(b)\n t = Mul(s, tiny)\n y = Add(t, one)"
DEAF_WEIGHTS = {"w": (4, 4, 3, 3), "tiny": np.float32(1e-9).reshape(()), "one": np.float32(1).reshape(())}


def feed_of(network, scale=1.0):
    random = np.random.default_rng(0)
    kinds = {tensor.name: helper.tensor_dtype_to_np_dtype(tensor.dtype) for tensor in network.sources}
    return {tensor.name: (scale * random.standard_normal(tensor.dims)).astype(kinds[tensor.name])
            for tensor in network.sources}  # fmt: skip


def certificate(model, scale=1.0, **options):
    network = network_of(model)
    return certify(model, network, feed_of(network, scale), **options)


def run(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def plant(monkeypatch, *methods):
    """Every convolution is off by a thousandth, made row by row or in strips."""

    def wrong(right):
        def method(self, row, rows):
            made = right(self, row, rows)
            return (made * 1.001).astype(made.dtype)

        return method

    for name in methods:
        monkeypatch.setattr(windows.Convolution, name, wrong(getattr(windows.Convolution, name)))


@pytest.fixture
def planted(monkeypatch):
    plant(monkeypatch, "make", "stack")


@pytest.mark.parametrize("method", ["make", "stack"])
def test_neither_strips_nor_rows_alone_hide_an_error_of_the_other(monkeypatch, method):
    plant(monkeypatch, method)
    model = stream_model(f"a = {CONV3}(x, w)\n y = Relu(a)", (1, 1, 8, 1), {"w": (1, 1, 3, 3)})
    assert not certify(model, network_of(model), {"x": np.ones((1, 1, 8, 1), np.float32)}).passed


@pytest.mark.parametrize("shift", [-1, 1])
def test_windows_that_are_a_row_off_are_found(monkeypatch, shift):
    """Strips and rows alone take the same rows, and the wrong ones."""
    right = windows.Geometry.taps
    monkeypatch.setattr(windows.Geometry, "taps", lambda self, row: [tap + shift for tap in right(self, row)])
    found = certificate(stream_model(f"y = {CONV3}(x, w)", (1, 4, 8, 8), {"w": (4, 4, 3, 3)}))
    assert "equal" in [proof.name for proof in found.proofs if not proof.passed]


def test_an_error_that_the_outputs_hide_is_found_where_it_is_made(planted):
    found = certificate(stream_model(DEAF, (1, 4, 8, 8), DEAF_WEIGHTS))
    assert [proof.name for proof in found.proofs if not proof.passed] == ["equal"]
    assert found.differing[:2] == ("a", "b")
    assert "the first is 'a', made by Conv 'a', by 0.001" in found.proofs[-1].text
    assert "y" not in found.differing


@pytest.mark.parametrize("weight", [1e-12, 1e-5, 1e5, 1e12])
@pytest.mark.parametrize("scale", [1e-12, 1, 1e9])
def test_a_tensor_of_any_size_is_compared_on_its_own_scale(planted, weight, scale):
    random = np.random.default_rng(0)
    model = stream_model(
        f"a = {CONV3}(x, w)\n y = Relu(a)", (1, 4, 8, 8),
        {"w": (weight * random.standard_normal((4, 4, 3, 3))).astype(np.float32)},
    )  # fmt: skip
    assert certificate(model, scale).differing == ("a", "y")


def test_without_an_error_every_tensor_is_equal():
    found = certificate(stream_model(DEAF, (1, 4, 8, 8), DEAF_WEIGHTS))
    assert found.passed
    assert found.error < 1e-5
    assert "each of 5 tensors" in found.proofs[-1].text


def test_what_is_nothing_but_rounding_may_be_off_by_rounding():
    """The mean of differences from a mean, and what a network makes of it."""
    body = """
        m = ReduceMean<axes = [2, 3]>(x)
        d = Sub(x, m)
        r = ReduceMean<axes = [2, 3]>(d)
        c = Conv(r, w)
        y = Add(x, c)
    """
    found = certificate(stream_model(body, (1, 4, 64, 64), {"w": (4, 4, 1, 1)}), 100.0)
    assert found.passed, found.proofs[-1].text


def test_a_large_network_is_compared_in_portions(monkeypatch, planted):
    model = stream_model(DEAF, (1, 4, 8, 8), DEAF_WEIGHTS)
    whole = certificate(model)
    monkeypatch.setattr(equality, "_ROOM", 1)
    network = network_of(model)
    assert [len(names) for names in equality.portions(network, 1)] == [1] * 5
    assert [len(names) for names in equality.portions(network, 2 * 4 * 64 * 4)] == [2, 2, 1]
    monkeypatch.setattr(equality.portions, "__defaults__", (1, None))
    assert certificate(model).differing == whole.differing


def test_a_run_that_halts_leaves_open_what_it_did_not_come_to(tmp_path, monkeypatch):
    from tse_onnx.streaming.network.needs import rows
    from tse_onnx.streaming.network.needs import windows as needs

    right = needs.window
    monkeypatch.setattr(
        needs, "window",
        lambda *given: rows.Need(given[0], tuple(each[:-1] for each in right(*given).rows)),
    )  # fmt: skip
    path = tmp_path / "model.onnx"
    onnx.save(stream_model(f"a = {CONV3}(x, w)\n y = {CONV3}(a, w)", (1, 4, 8, 8), {"w": (4, 4, 3, 3)}), path)
    text = run("stream", path, code=1)
    assert "Proved: one row less" not in text
    assert " inf" not in text
    assert "Not decided: whether one row less halts the pipeline" in text
    assert "Not decided: whether the tensors equal onnxruntime's" in text
    found = json.loads(
        run("stream", path, "--format", "json", code=1).partition("\nError")[0].partition("\ntse-onnx")[0]
    )
    jsonschema.validate(found, json.loads((DOCS / "stream.schema.json").read_text()))
    assert [proof["decided"] for proof in found["certificate"]["proofs"]] == [True, True, False, False]
    assert found["certificate"]["error"] is None


def half(height):
    model = stream_model(
        f"a = {CONV3}(x, w)\n b = Relu(a)\n c = {CONV3}(b, w)\n y = ReduceSum<keepdims = 1>(c, axes)", "",
        {"w": np.random.default_rng(1).standard_normal((8, 8, 3, 3)).astype(np.float16),
         "axes": np.array([2, 3], np.int64)},
        inputs=f"float16[1, 8, {height}, 16] x",
    )  # fmt: skip
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def test_half_precision_has_a_tolerance_of_its_own(planted):
    assert certificate(half(16)).tolerance == 1e-2
    assert certificate(half(16)).passed  # a thousandth is one step of it
    assert not certificate(half(16), tolerance=0).passed


def test_half_precision_passes():
    assert certificate(half(16)).passed


def test_convert_takes_a_tolerance(tmp_path):
    path, out = tmp_path / "se.onnx", tmp_path / "tiled.onnx"
    model = stream_model("h = Relu(x)" + SE.format("h") + "y = Relu(s)", (1, 4, 14, 8), SE_WEIGHTS)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    assert "tolerance 0.0001" in run("convert", path, out, "--certify")
    assert "tolerance 0.25" in run("convert", path, out, "--certify", "--tolerance", 0.25)
    out.unlink()
    assert "differ" in run("convert", path, out, "--certify", "--tolerance", 0, code=1)
    assert not out.exists()
    assert "--certify" in run("convert", path, out, "--tolerance", 0.25, code=2)
    with pytest.raises(tse_onnx.UsageError, match="zero or more"):
        tse_onnx.convert(path, certify=True, tolerance=float("nan"))


def test_random_numbers_are_not_compared():
    model = stream_model("y = Dropout(x, r, t)", (1, 4, 8, 8), {"r": np.float32(0.5).reshape(()), "t": np.array(True)})
    with pytest.raises(tse_onnx.ModelError, match="draws random numbers"):
        certificate(model)
    quiet = stream_model("y = Dropout(x, r, t)", (1, 4, 8, 8), {"r": np.float32(0.5).reshape(()), "t": np.array(False)})
    assert certificate(quiet).passed


def test_strings_are_given_as_text(tmp_path):
    model = stream_model("y = Identity(x)", "", inputs="string[1, 2, 6, 4] x")
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    path = tmp_path / "text.onnx"
    onnx.save(model, path)
    text = run("stream", path, code=2)
    assert "--no-verify" not in text
    assert "--data" in text
    np.save(tmp_path / "text.npy", np.array([f"täxt {number}" for number in range(48)]).reshape(1, 2, 6, 4))
    assert run("stream", path, "--data", tmp_path / "text.npy").count("Proved: ") == 4


def test_a_run_through_very_many_rows_says_how_to_go_on(tmp_path):
    path = tmp_path / "signal.onnx"
    onnx.save(stream_model("a = Relu(x)\n y = Add(a, x)", (1, 1, 400)), path)
    text = run("stream", path, "--max-rows", 1199, code=2)
    assert "--max-rows 1200" in text
    assert "--no-run" in text
    assert "Proved" in run("stream", path, "--max-rows", 1200)
    assert "Proved" not in run("stream", path, "--max-rows", 1199, "--no-run")
    told = []
    tse_onnx.streaming.stream.stream(path, progress=lambda what, done, of: told.append((what, done, of)))
    assert told[0][0] == "counting rows"
    assert ("rows in the predicted room", 400, 400) in told


def test_an_output_whose_length_depends_on_the_data_is_compared_as_long_as_it_is():
    model = stream_model("y = Compress<axis = 0>(x, c)", "", inputs="float[4, 3] x, bool[4] c")
    network = network_of(model)
    feed = {"x": np.ones((4, 3), np.float32), "c": np.array([True, False, True, True])}
    assert certify(model, network, feed).passed
