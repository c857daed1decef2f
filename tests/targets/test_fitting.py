"""Conversion for a target: the first form that fits, block by block."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import models
import tse_onnx
from tests.command import tse_onnx as run
from tests.command import validated
from tests.graphs import text_model
from tse_onnx import Limit, Selection, Target, Tiling, UsageError


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("fitting") / "digits.onnx"
    models.save("digits_se", path)
    return path


def without(*operators):
    """A target that does not take these operators."""
    return Target("t", "a target", (Limit(operators, "operator", "a page", "1.0"),))


def bytes_of(model, **options):
    return tse_onnx.convert(model, verify=False, **options).serialized()


@pytest.mark.parametrize(("target", "means", "upsample"), [
    (without("CumSum"), "gemm", "ones"),
    (without("Resize"), "gemm", "ones"),
    (without("MatMul"), "pads", "resize"),
    (without("MatMul", "Resize"), "pads", "gather"),
    (without("MatMul", "Resize", "Gather"), "pads", "expand"),
    ("tflite-edgetpu", "gemm", "ones"),
])  # fmt: skip
def test_the_first_pair_of_ways_for_tiles_that_are_cut_short(digits, target, means, upsample):
    assert bytes_of(digits, rows=7, target=target) == bytes_of(digits, rows=7, means=means, upsample=upsample)


@pytest.mark.parametrize(("target", "means", "upsample"), [
    (without("CumSum"), "view", "view"),
    (without("Reshape"), "pads", "resize"),
    (without("Reshape", "AveragePool"), "matmul", "resize"),
    (without("ReduceMean"), "pads", "view"),
    ("tflite-edgetpu", "view", "view"),
    ("ncnn", "view", "view"),
])  # fmt: skip
def test_the_first_pair_of_ways_that_fits(digits, target, means, upsample):
    """Maps of 32 and 16 rows, in tiles of 8."""
    made = bytes_of(digits, rows=8, target=target)
    assert made == bytes_of(digits, rows=8, means=means, upsample=upsample)


@pytest.mark.parametrize(("target", "upsample", "means"), [
    (without("Softmax"), "ones", "gemm"),
    (without("MatMul"), "resize", "cumsum"),
    (without("MatMul", "Resize"), "gather", "cumsum"),
    (without("CumSum", "Resize", "Gather"), "ones", "gemm"),
    (without("Reshape"), "resize", "matmul"),
    (without("Reshape", "Resize"), "gather", "matmul"),
])  # fmt: skip
def test_the_first_way_to_running_means_that_fits(digits, target, upsample, means):
    running = Tiling(rows=4, squeeze="running", step=4)
    assert bytes_of(digits, tiling=running, target=target) == bytes_of(
        digits, tiling=running, upsample=upsample, means=means
    )


def test_no_way_to_running_means(digits):
    """Sums are picked by a Gather, so without it and without MatMul there is none; said is what the first way lacks."""
    running = Tiling(rows=4, squeeze="running", step=4)
    result = tse_onnx.convert(digits, tiling=running, target=without("MatMul", "Gather"), verify=False)
    assert result.serialized() == digits.read_bytes()
    assert all("MatMul" in one.refusal.text for one in result.blocks[:4])


def test_each_block_by_itself(digits):
    """Tiles of 7 rows of maps 32, 16, 16 and 8 wide: a limit between them keeps out what is larger."""
    areas = [7 * width for width in (32, 16, 16, 8)]
    for most in (300, 224, 223, 112, 111, 56, 55):
        target = Target("t", "a target", (Limit(("AveragePool",), "window_area", "a page", "1.0", most=most),))
        result = tse_onnx.convert(digits, rows=7, means="pads", target=target, verify=False)
        blocks = [one for one in result.blocks if one.block.name.endswith("body.6")]
        assert [one.status for one in blocks] == ["converted" if area <= most else "refused" for area in areas]
        kept = [one.block.name for one in blocks if one.status == "refused"]
        assert result.serialized() == bytes_of(digits, rows=7, means="pads", selection=Selection(exclude=tuple(kept)))
        for one, area in zip(blocks, areas, strict=True):
            if one.refusal is not None:
                assert one.refusal.code == "target"
                assert f"would have {area}, and the limit is window area at most {most} (a page)" in one.refusal.text
        assert result.report.buffering.totals.before == 69120  # all four, as without a target


def test_tiles_that_are_cut_short_have_ways_without_pads(digits):
    made = tse_onnx.convert(digits, rows=7, target="rknn", verify=False)
    assert made.report.buffering.totals.converted == 4
    assert tse_onnx.check(made.model, "rknn").passed
    assert not tse_onnx.check(tse_onnx.convert(digits, rows=7, means="pads", verify=False).model, "rknn").passed


def test_what_is_forced_is_not_chosen(digits):
    result = tse_onnx.convert(digits, rows=8, target="tflite-edgetpu", upsample="resize", means="pads", verify=False)
    assert result.report.buffering.totals.converted == 0
    assert result.serialized() == digits.read_bytes()
    assert bytes_of(digits, rows=8, target="ncnn", upsample="resize") == bytes_of(digits, rows=8, upsample="resize")


def test_the_rest_of_the_network_is_not_looked_at(digits):
    kinds = {node.op_type for node in onnx.load(digits).graph.node} - {"Constant"}
    assert "Conv" in kinds
    assert bytes_of(digits, rows=8, target=without("Conv", "Resize")) in (
        bytes_of(digits, rows=8),
        digits.read_bytes(),
    )


def test_a_way_that_the_opset_has_not_got():
    """Without CumSum in opset 10, and without MatMul in the target, nothing is left."""
    weights = {
        "w1": np.full((2, 4, 1, 1), 0.1, np.float32),
        "w2": np.full((4, 2, 1, 1), 0.1, np.float32),
    }
    body = "h = Relu(x)\n d = GlobalAveragePool(h)\n r = Conv(d, w1)\n a = Relu(r)\n e = Conv(a, w2)\n g = Sigmoid(e)\n"
    shape = "float[1, 4, 12, 6]"
    model = text_model(f"{body} y = Mul(h, g)", weights, inputs=f"{shape} x", outputs=f"{shape} y", opset=10)
    running = Tiling(rows=3, squeeze="running")
    result = tse_onnx.convert(model, tiling=running, target=without("MatMul"), verify=False)
    assert [one.refusal.code for one in result.blocks] == ["target"]
    with pytest.raises(UsageError, match="need opset 11"):
        tse_onnx.convert(model, tiling=running, target=without("MatMul"), means="cumsum", verify=False)


def test_a_size_that_is_not_known_is_refused(digits):
    target = Target("t", "a target", (Limit(("AveragePool",), "batch", "a page", "1.0", most=1),))
    refusal = tse_onnx.convert(digits, rows=8, means="pads", target=target, verify=False).blocks[0].refusal
    assert refusal is not None
    assert "would have not known" not in refusal.text
    assert "is not known" in refusal.text
    shapes = {"": (1, 1, 32, 32)}
    bound = tse_onnx.convert(digits, rows=8, means="pads", target=target, input_shapes=shapes, verify=False)
    assert bound.report.buffering.totals.converted == 3


def test_the_command(digits, tmp_path):
    words = (
        "convert",
        digits,
        tmp_path / "out.onnx",
        "--rows",
        "7",
        "--means",
        "pads",
        "--target",
        "rknn",
        "--no-verify",
    )
    told = validated(run(*words, "--format", "json").stdout, "report")
    assert [one["reason_code"] for one in told["blocks"]] == ["target"] * 4 + ["head"]
    done = run("convert", digits, tmp_path / "out.onnx", "--rows", "8", "--target", "tflite-edgetpu")
    assert (done.returncode, done.stderr) == (0, b"")
    assert run("check", tmp_path / "out.onnx", "--target", "tflite-edgetpu").returncode == 0
    noted = run(*words[:-3], "--target", "ethos-u", "--no-verify")
    assert noted.stderr.startswith(b"Note on ethos-u: tiles save nothing here")
    wrong = run(*words[:-3], "--target", "rknnn")
    assert (wrong.returncode, b"did you mean rknn?" in wrong.stderr) == (2, True)
    assert json.loads(run("report", tmp_path / "out.onnx", "--format", "json").stdout)["blocks"]
