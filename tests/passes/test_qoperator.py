"""Models in whole numbers by onnxruntime's quantiser (QOperator): tiled so that every number is what the original makes
of the tile alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, parser
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import tse_onnx
from tests.spellings import Spelling, model_of, noise_for
from tests.streaming.test_streaming_operands import certified
from tse_onnx.passes.lowering import SPREADS

# The float operators between squeeze and gate, and what the quantiser makes of them.
LAYERS = {
    "conv": "QLinearConv",
    "conv-bare": "QLinearConv",
    "gemm": "QGemm",
    "gemm-transposed": "QGemm",
    "matmul-add": "QLinearMatMul",
    "matmul-last": "QLinearMatMul",
}
ACTIVATIONS = ("relu", "silu", "leaky", "hard-swish-apart", "none", "tanh")
GATES = ("sigmoid", "hard-sigmoid", "add-clip-mul", "plus-one")
SQUEEZES = ("gap", "mean", "mean-drop", "two-means")


class Noise(CalibrationDataReader):
    """What ranges are measured on."""

    def __init__(self, spelling: Spelling) -> None:
        self._feeds = iter([{"input": noise_for(replace(spelling, seed=seed))} for seed in (spelling.seed, 1, 2)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantised(spelling: Spelling, folder, signed: bool = False, per_channel: bool = False) -> ModelProto:
    """The model of a spelling in whole numbers, for maps of any height."""
    made, path = folder / "float.onnx", folder / "whole.onnx"
    model, _ = model_of(spelling)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = spelling.extents[0]
    onnx.save(model, made)
    quantize_static(
        made, path, Noise(spelling), quant_format=QuantFormat.QOperator, per_channel=per_channel,
        activation_type=QuantType.QInt8 if signed else QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return onnx.load(path)


def run(model: ModelProto, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"input": x})[0]


def by_crops(model: ModelProto, x: np.ndarray, rows: int) -> np.ndarray:
    """The original on each strip alone: everything before the squeeze works on each pixel."""
    cropped = ModelProto()
    cropped.CopyFrom(model)
    for dim in cropped.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.ClearField("dim_value")
    del cropped.graph.value_info[:]
    return np.concatenate([run(cropped, x[:, :, top : top + rows]) for top in range(0, x.shape[2], rows)], axis=2)


def check(spelling: Spelling, folder, rows: int, **how: bool) -> ModelProto:
    model = quantised(spelling, folder, **how)
    before = model.SerializeToString()
    result = tse_onnx.convert(model, rows=rows)
    statuses = [(block.status, block.reason) for block in result.blocks]
    assert [status for status, _ in statuses] == ["converted" if rows < spelling.extents[0] else "unchanged"], statuses
    assert tse_onnx.restore(result.model).model.SerializeToString() == before
    if rows >= spelling.extents[0]:
        return model
    assert result.verification.passed
    x = noise_for(spelling)
    expected, got = by_crops(model, x, rows), run(result.model, x)
    if spelling.squeeze == "gap":
        assert np.array_equal(got, expected)
    else:  # the mean is taken in single precision, and its last bit may decide between two steps
        steps = np.abs(got - expected) / _step(model)
        assert steps.max() <= 2.01
    return model


def _step(model: ModelProto) -> float:
    """One step of the quantiser behind the scale."""
    (last,) = (node for node in model.graph.node if "y" in node.output)
    (scale,) = (tensor for tensor in model.graph.initializer if tensor.name == last.input[1])
    return float(onnx.numpy_helper.to_array(scale))


@pytest.mark.parametrize(
    ("part", "choice"),
    [("excite", layer) for layer in LAYERS]
    + [("activation", name) for name in ACTIVATIONS]
    + [("gate", name) for name in GATES]
    + [("squeeze", name) for name in SQUEEZES]
    + [("gate_first", True), ("opset", 13), ("opset", 21)],
)
def test_each_part_in_whole_numbers(part, choice, tmp_path):
    model = check(replace(Spelling(), **{part: choice}), tmp_path, 4)
    operators = {node.op_type for node in model.graph.node}
    assert {"QLinearMul"} <= operators
    if part == "excite":
        assert LAYERS[choice] in operators


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("rows", [1, 4, 5])
def test_every_way_to_quantise(signed, per_channel, rows, tmp_path):
    check(Spelling(excite="gemm"), tmp_path, rows, signed=signed, per_channel=per_channel)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    spelling=st.builds(
        Spelling,
        squeeze=st.sampled_from(SQUEEZES),
        excite=st.sampled_from(sorted(LAYERS)),
        activation=st.sampled_from(ACTIVATIONS),
        gate=st.sampled_from(GATES),
        opset=st.sampled_from((13, 17, 18, 21)),
        extents=st.lists(st.integers(2, 17), min_size=2, max_size=2).map(tuple),
        batch=st.integers(1, 3),
        dynamic_batch=st.booleans(),
        gate_first=st.booleans(),
        seed=st.integers(0, 2**16),
    ),
    rows=st.integers(1, 18),
    signed=st.booleans(),
    per_channel=st.booleans(),
)
def test_any_combination_in_whole_numbers(spelling, rows, signed, per_channel, tmp_path_factory):
    check(spelling, tmp_path_factory.mktemp("q"), rows, signed=signed, per_channel=per_channel)


CHANNELS = 6
TEXT = """g (float[N, 6, H, W] input) => (float[N, 6, H, W] y) {
  x = QuantizeLinear(input, s, z)
  d = com.microsoft.QLinearGlobalAveragePool(x, s, z, s, z)
  f = Flatten(d)
  r = com.microsoft.QGemm<transB = 0>(f, s, z, w1, t, o, b1, s, z)
  a = com.microsoft.QLinearLeakyRelu<alpha = 0.1>(r, s, z, s, z)
  e = QLinearMatMul(a, s, z, w2, t, o, u, z)
  k = com.microsoft.QLinearSigmoid(e, u, z, v, i)
  g = Reshape(k, shape)
  q = com.microsoft.QLinearMul(g, v, i, x, s, z, s, z)
  y = DequantizeLinear(q, s, z)
}"""


def whole(height: int = 15, width: int = 4, text: str = TEXT) -> ModelProto:
    """A block whose means lie halfway between two steps now and then: scale and zero point stay what they are."""
    random = np.random.default_rng(3)
    weights = {
        "s": np.float32(0.0173), "t": np.float32(0.03), "u": np.float32(0.05), "v": np.float32(1 / 255),
        "z": np.uint8(120), "o": np.int8(0), "i": np.uint8(0), "shape": np.array([0, CHANNELS, 1, 1], np.int64),
        "w1": random.integers(-127, 127, (CHANNELS, 3), np.int8),
        "w2": random.integers(-127, 127, (3, CHANNELS), np.int8),
        "b1": random.integers(-300, 300, 3, np.int32),
    }  # fmt: skip
    text = text.replace("H, W]", f"{height}, {width}]")
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n{text}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


def noise(model: ModelProto, batch: int = 2) -> np.ndarray:
    dims = [dim.dim_value or batch for dim in model.graph.input[0].type.tensor_type.shape.dim]
    slope = np.linspace(-1, 1, dims[2]).reshape(1, 1, -1, 1)
    return (np.random.default_rng(1).standard_normal(dims) + slope).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 2, 4, 5])
@pytest.mark.parametrize("upsample", [way.name for way in SPREADS])
def test_means_that_lie_halfway_are_rounded_as_the_original_rounds_them(rows, upsample):
    model = whole(16 if upsample == "view" else 15)
    result = tse_onnx.convert(model, rows=rows, upsample=upsample)
    assert result.verification.passed
    assert [check.max_error for check in result.verification.blocks] == [0]
    x = noise(model)
    assert np.array_equal(run(result.model, x), by_crops(model, x, rows))
    assert tse_onnx.restore(result.model).model.SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize(("rows", "cols"), [(4, 2), (5, 3)])
def test_tiles_of_both_axes_are_each_the_original_s(rows, cols):
    model = whole()
    result = tse_onnx.convert(model, tiling=tse_onnx.Tiling(rows, cols))
    assert result.verification.passed
    x = noise(model)
    columns = [by_crops(model, x[..., left : left + cols], rows) for left in range(0, x.shape[3], cols)]
    assert np.array_equal(run(result.model, x), np.concatenate(columns, axis=3))


@pytest.mark.parametrize("squeeze", ["upper", "middle"])
def test_the_mean_of_some_rows(squeeze):
    result = tse_onnx.convert(whole(), tiling=tse_onnx.Tiling(4, squeeze=squeeze))
    assert result.verification.passed
    assert [check.max_error for check in result.verification.blocks] == [0]


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        (tse_onnx.Tiling(3, squeeze="running"), whole()),
        (tse_onnx.Previous(), whole()),
        (tse_onnx.Frozen((0.5,)), whole()),
        (tse_onnx.Tiling(4), whole(text=TEXT.replace("H, W]", "H, 4]"))),
    ],
    ids=["running", "previous", "frozen", "any size"],
)
def test_what_is_not_exact_is_refused_with_the_order_that_works(asked, model):
    before = model.SerializeToString()
    result = tse_onnx.convert(model, tiling=asked, dynamic=True, input_shapes={"input": (2, CHANNELS, 15, 4)})
    (block,) = result.blocks
    assert block.refusal.code == "quantised", block.refusal
    assert "convert the model first and quantise what comes out" in block.refusal.text
    assert result.model.SerializeToString() == before


def test_a_converted_model_in_whole_numbers_streams():
    result = tse_onnx.convert(whole(), rows=4)
    bound = tse_onnx.stream(result.model, input_shapes={"input": (1, CHANNELS, 15, 4)})
    assert bound.totals["gate"].elements == 4 * CHANNELS * 4
    certified(fixed(result.model))


def fixed(model: ModelProto) -> ModelProto:
    """For one image."""
    made = ModelProto()
    made.CopyFrom(model)
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return made


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("<transB = 0>(f", "<transB = 0, alpha = 2.0>(f", "operator"),
        ("<transB = 0>(f", "<transA = 1>(f", "operator"),
        ("w1, t, o, b1, s, z)", "w1, t, o, b1)", "quantised"),
        ("QLinearGlobalAveragePool(x", "QLinearGlobalAveragePool<channels_last = 1>(x", "quantised"),
        ("QLinearMul(g, v, i, x", "QLinearMul(g, v, i, g", "head"),
    ],
)
def test_a_near_miss_in_whole_numbers_is_refused(old, new, code):
    model = whole(text=TEXT.replace(old, new))
    (block,) = tse_onnx.find_blocks(model)
    assert block.refusal.code == code, block.reason
