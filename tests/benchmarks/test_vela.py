"""The benchmark with a real NPU's compiler: its networks, and the way from ONNX to TFLite, run against onnxruntime."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, parser

import tse_onnx
from benchmarks.vela.__main__ import EXTRA, main
from benchmarks.vela.compiler import Compiled
from benchmarks.vela.network import HARD_SWISH, RELU6, build
from benchmarks.vela.quantisation import images, scale_between
from benchmarks.vela.table import Row, line
from benchmarks.vela.variants import variants
from tse_onnx.runtime.ort import ort

SIZE = 64

# --- without the extra


def test_the_network_without_blocks_is_the_one_with_them_but_for_the_blocks() -> None:
    plain, scaled = build(SIZE, se=False), build(SIZE, se=True)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in scaled.graph.initializer}
    for tensor in plain.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), weights[tensor.name])
    assert len(scaled.graph.node) - len(plain.graph.node) == 16 * 6
    assert not any("/se" in node.name for node in plain.graph.node)


@pytest.mark.slow
@pytest.mark.parametrize("activation", [RELU6, HARD_SWISH])
def test_every_block_of_the_network_is_found(activation: str) -> None:
    found = tse_onnx.find_blocks(build(SIZE, se=True, activation=activation))
    assert [block.name for block in found if block.refusal is not None] == ["pool"]
    assert len(found) == 16 + 1
    assert [block.name for block in tse_onnx.find_blocks(build(SIZE, se=False, activation=activation))] == ["pool"]


def test_a_network_is_held_to_both_aims() -> None:
    base = Compiled(sram=100, flash=0, milliseconds=1, npu=1, cpu=0, mmac=100)
    for sram, mmac, met in ((110, 125, True), (111, 100, False), (100, 126, False)):
        compiled = replace(base, sram=sram, mmac=mmac)
        assert Row("one", SIZE, RELU6, compiled, base, aimed=True).met is met
        assert line(Row("one", SIZE, RELU6, compiled, base, aimed=True)).endswith("met" if met else "missed")
        assert Row("one", SIZE, RELU6, compiled, base).met is None


def test_tiles_divide_the_maps() -> None:
    for size in (224, 160):
        _, _, equal, powers, *_ = variants(size)
        assert equal.options is not None
        assert powers.options is not None
        assert all((size // 2**depth) % int(equal.options[1]) == 0 for depth in range(1, 6))
        for option in powers.options[1::2]:
            height, rows = map(int, option.split(":"))
            assert height % rows == 0


@given(st.floats(-50, 50), st.floats(0.01, 50), st.floats(0, 1))
def test_a_scale_has_its_range_and_zero(low: float, extent: float, between: float) -> None:
    scale = scale_between(low, low + extent)
    value = np.array([low + between * extent, 0.0])
    error = np.abs(scale.value(scale.quantise(value)) - value)
    assert error[0] <= scale.scale * 1.001  # half a step, and the half by which zero was moved
    assert error[1] == 0


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in EXTRA:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["--size", "32"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"Skipped: {', '.join(EXTRA)} cannot be imported")
    assert "pip install '.[vela]'" in said[0]


# --- with the extra


def interpreted(network: bytes, image: NDArray[np.float32]) -> NDArray[np.float64]:
    """What TFLite's interpreter computes of an image N × C × H × W; maps come back in that order too."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_content=network)
    interpreter.allocate_tensors()
    given, returned = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = given["quantization"]
    quantised = np.clip(np.round(image.transpose(0, 2, 3, 1) / scale) + zero, -128, 127).astype(np.int8)
    interpreter.set_tensor(given["index"], quantised)
    interpreter.invoke()
    scale, zero = returned["quantization"]
    values = scale * (interpreter.get_tensor(returned["index"]).astype(np.float64) - zero)
    return values if values.ndim < 3 else np.moveaxis(values, -1, 1)


def agreement(model: ModelProto) -> float:
    """Signal to noise in dB between what onnxruntime computes of a model, and TFLite of its translation."""
    pytest.importorskip("ai_edge_litert")
    from benchmarks.vela.translate import translate

    (image,) = images(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {model.graph.input[0].name: image})
    computed = interpreted(translate(model), image)
    assert computed.shape == expected.shape
    return float(10 * np.log10(np.square(expected).mean() / np.square(expected - computed).mean()))


def small(lines: str, output: str = "1, 8, 12, 10", **weights: tuple[int, ...]) -> ModelProto:
    """A model of parsed nodes from x [1, 8, 12, 10] to y, with weights of noise."""
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[1, 8, 12, 10] x) => (float[{output}] y) {{ {lines} }}'
    model = parser.parse_model(text)
    random = np.random.default_rng(0)
    for name, shape in weights.items():
        values = random.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    for number, node in enumerate(model.graph.node):
        node.name = f"node{number}"
    return model


CLIP = "zero = Constant<value = float {0}>() six = Constant<value = float {6}>() "
OPERATORS = {
    "conv": small("y = Conv(x, w, b)", "1, 5, 12, 10", w=(5, 8, 1, 1), b=(5,)),
    "conv without a bias": small("y = Conv(x, w)", "1, 5, 10, 8", w=(5, 8, 3, 3)),
    "conv, same pads": small(
        "y = Conv<pads = [0, 0, 1, 1], strides = [2, 2]>(x, w, b)", "1, 5, 6, 5", w=(5, 8, 3, 3), b=(5,)
    ),
    "depthwise": small("y = Conv<group = 8, pads = [1, 1, 1, 1]>(x, w, b)", w=(8, 1, 3, 3), b=(8,)),
    "dilated": small("y = Conv<dilations = [2, 2], pads = [0, 0, 0, 0]>(x, w)", "1, 8, 8, 6", w=(8, 8, 3, 3)),
    "fused clip": small(f"{CLIP} a = Conv(x, w) y = Clip(a, zero, six)", w=(8, 8, 1, 1)),
    "fused relu": small("a = Add(x, x) y = Relu(a)"),
    "clip of its own": small(f"{CLIP} a = Conv(x, w) b = Clip(a, zero, six) y = Add(a, b)", w=(8, 8, 1, 1)),
    "relu of its own": small("a = Relu(x) y = Add(a, x)"),
    "relu of the image": small("y = Relu(x)"),
    "relu of a mean": small("m = GlobalAveragePool(x) y = Relu(m)", "1, 8, 1, 1"),
    "hard-swish": small("y = HardSwish(x)"),
    "sigmoid": small("y = Sigmoid(x)"),
    "scale": small("m = GlobalAveragePool(x) g = Sigmoid(m) y = Mul(x, g)"),
    "scale, gate first": small("m = GlobalAveragePool(x) g = Sigmoid(m) y = Mul(g, x)"),
    "mean": small("y = GlobalAveragePool(x)", "1, 8, 1, 1"),
    "mean over columns": small("y = ReduceMean<axes = [3]>(x)", "1, 8, 12, 1"),
    "mean over columns, then rows": small("m = ReduceMean<axes = [-1]>(x) y = ReduceMean<axes = [2]>(m)", "1, 8, 1, 1"),
    "pool over columns": small("y = AveragePool<kernel_shape = [1, 10]>(x)", "1, 8, 12, 1"),
    "pool of tiles": small("y = AveragePool<kernel_shape = [4, 10], strides = [4, 10]>(x)", "1, 8, 3, 1"),
    "pool, same pads": small("y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)"),
    "resize": small(
        's = Constant<value = float[4] {1, 1, 3, 1}>() y = Resize<mode = "nearest", nearest_mode = "floor", '
        'coordinate_transformation_mode = "asymmetric">(x, , s)',
        "1, 8, 36, 10",
    ),
    "gather": small("i = Constant<value = int64[3] {0, 0, 7}>() y = Gather<axis = 2>(x, i)", "1, 8, 3, 10"),
    "expand": small(
        "a = Constant<value = int64[5] {0, 0, 12, 1, 10}>() b = Constant<value = int64[5] {1, 1, 1, 3, 1}>() "
        "c = Constant<value = int64[4] {0, 0, 36, 10}>() r = Reshape(x, a) e = Expand(r, b) y = Reshape(e, c)",
        "1, 8, 36, 10",
    ),
    "means of rows, times a matrix": small(
        "s = Constant<value = int64[3] {0, 0, 12}>() t = Constant<value = int64[4] {0, 0, 7, 1}>() "
        "m = ReduceMean<axes = [3]>(x) r = Reshape(m, s) p = MatMul(r, w) y = Reshape(p, t)",
        "1, 8, 7, 1",
        w=(12, 7),
    ),
    "rows in groups": small("s = Constant<value = int64[4] {0, 0, 3, 40}>() y = Reshape(x, s)", "1, 8, 3, 40"),
    "head": small("m = GlobalAveragePool(x) f = Flatten(m) y = Gemm<transB = 1>(f, w, b)", "1, 5", w=(5, 8), b=(5,)),
    "head, weights lying": small("m = GlobalAveragePool(x) f = Flatten(m) y = Gemm(f, w, b)", "1, 5", w=(8, 5), b=(5,)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_means_the_same_in_tflite(name: str) -> None:
    assert agreement(OPERATORS[name]) > 25


@pytest.mark.slow
@pytest.mark.parametrize("activation", [RELU6, HARD_SWISH])
@pytest.mark.parametrize(
    "options",
    [
        None,
        {"rows": 2},
        {"rows": 2, "upsample": "gather"},
        {"rows": 2, "upsample": "expand"},
        {"rows": 3, "target": "ethos-u"},
        {"tiling": tse_onnx.Recompute()},
        {"tiling": tse_onnx.Recompute(cascade=True)},
    ],
)
def test_a_network_means_the_same_in_tflite(activation: str, options: dict[str, object] | None, tmp_path: Path) -> None:
    model = build(SIZE, se=True, activation=activation)
    if options is not None:
        onnx.save_model(model, tmp_path / "model.onnx")
        tse_onnx.convert(tmp_path / "model.onnx", tmp_path / "tiled.onnx", **options)  # type: ignore[arg-type]
        model = onnx.load_model(tmp_path / "tiled.onnx")
    assert agreement(model) > 15  # some fifty layers of eight bits


def test_two_readers_share_their_weights() -> None:
    """Copies of a layer remain two layers, on one tensor."""
    pytest.importorskip("ai_edge_litert")
    from benchmarks.vela.translate import translate

    twice = small("a = Conv(x, w, b) c = Conv(x, w, b) y = Mul(a, c)", w=(8, 8, 1, 1), b=(8,))
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_content=translate(twice))
    layers = [one for one in interpreter._get_ops_details() if one["op_name"] == "CONV_2D"]
    assert len(layers) == 2
    assert list(layers[0]["inputs"]) == list(layers[1]["inputs"])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("y = Tanh(x)", "node0: no translation of Tanh"),
        ("y = Conv<pads = [1, 1, 0, 0]>(x, w)", "node0: pads"),
        ("y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(x)", "counts pads"),
        (f"{CLIP} a = Add(x, x) y = Clip(a, six, six)", "not between 0 and 6"),
        ("y = MatMul(x, w)", "node0: a MatMul that is not of rows with a constant matrix"),
    ],
)
def test_what_has_no_translation_is_named(lines: str, said: str) -> None:
    pytest.importorskip("ai_edge_litert")
    from benchmarks.vela.translate import translate
    from benchmarks.vela.translation import Unknown

    with pytest.raises(Unknown, match=said):
        translate(small(lines, w=(8, 8, 2, 2)))


@pytest.mark.slow
def test_the_compiler_takes_the_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("ethosu")
    assert main(["--size", str(SIZE), "--activation", RELU6, "--json", str(tmp_path / "rows.json")]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    plain, scaled, *_, recomputed = rows[:6]
    assert [row["network"] for row in rows] == [variant.name for variant in variants(SIZE)]
    assert plain["cpu"] == scaled["cpu"] == recomputed["cpu"] == 0
    assert 1.3 * plain["sram"] < scaled["sram"]
    assert 1 == plain["mac_ratio"] < scaled["mac_ratio"] < 1.1
    assert recomputed["network"] == "recomputed, --cascade"
    assert recomputed["sram"] < 0.75 * scaled["sram"]
    assert recomputed["met"] is True
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)
