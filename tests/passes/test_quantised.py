"""Q/DQ models by onnxruntime's quantiser: seen through, and converted so that every scale stays what it was."""

from __future__ import annotations

import onnx
import onnxruntime as ort
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import models
import tse_onnx

IMAGES, LABELS = models.digits()


class Samples(CalibrationDataReader):
    """A few digits to calibrate on."""

    def __init__(self):
        self._feeds = iter([{"input": IMAGES[start : start + 16]} for start in range(0, 64, 16)])

    def get_next(self):
        return next(self._feeds, None)


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantised")
    models.save("digits_se", folder / "plain.onnx")

    def made(form):
        path = folder / f"{form.name}.onnx"
        if not path.exists():
            quantize_static(
                folder / "plain.onnx", path, Samples(), quant_format=form,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
        return onnx.load(path)

    return made


def accuracy(model):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return float((session.run(None, {"input": IMAGES})[0].argmax(1) == LABELS).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "tiling", [tse_onnx.Tiling(7), tse_onnx.Tiling(7, squeeze="running"), tse_onnx.Tiling(4, 8)], ids=str
)
def test_a_qdq_model_is_converted_with_its_own_scales(quantised, tiling):
    model = quantised(QuantFormat.QDQ)
    result = tse_onnx.convert(model, tiling=tiling, expect=4)
    assert result.verification.passed
    before = {
        t.name: t.SerializeToString() for t in model.graph.initializer if t.name.endswith(("_scale", "_zero_point"))
    }
    after = {t.name: t.SerializeToString() for t in result.model.graph.initializer}
    assert before.items() <= after.items()
    assert accuracy(result.model) > accuracy(model) - 0.05


def test_the_gates_of_the_frame_before_go_through_their_quantiser(quantised):
    model = quantised(QuantFormat.QDQ)
    result = tse_onnx.convert(model, tiling=tse_onnx.Previous(), expect=4)
    assert result.verification.passed
    assert all(check.exact for check in result.verification.blocks)
    assert [drift.max_abs for drift in result.verification.drift] == [0.0]
    # They wait in single precision, in the blocks' figures as in the network's.
    totals = result.report.buffering.totals
    assert totals.after_bytes == 4 * totals.after == tse_onnx.stream(result.model).totals["gate"].bytes
    made = {name: node for node in result.model.graph.node for name in node.output}
    for end in result.model.graph.input[1:]:
        (quantise,) = (node for node in result.model.graph.node if end.name in node.input)
        assert quantise.op_type == "QuantizeLinear"
        handed_on = made[end.name.replace("gate_in", "gate_out")].input[0]
        assert made[handed_on].op_type == "DequantizeLinear"
        assert list(made[handed_on].input[1:]) == list(quantise.input[1:])


def test_the_spread_gate_stands_between_the_quantisers_of_the_gate(quantised):
    model = quantised(QuantFormat.QDQ)
    result = tse_onnx.convert(model, rows=7)
    made = {name: node for node in result.model.graph.node for name in node.output}
    pairs = [node for node in result.model.graph.node if node.name.endswith("/gate_quantize")]
    assert len(pairs) == 4
    for quantise in pairs:
        value = quantise.input[0]
        while made[value].op_type in ("Slice", "Resize"):
            value = made[value].input[0]
        assert made[value].op_type == "DequantizeLinear"
        assert list(made[value].input[1:]) == list(quantise.input[1:])
        (reader,) = (node for node in result.model.graph.node if quantise.output[0] in node.input)
        assert list(reader.input[1:]) == list(quantise.input[1:])


@pytest.mark.parametrize("tiling", [tse_onnx.Tiling(7), tse_onnx.Tiling(7, squeeze="running")], ids=str)
def test_a_model_in_whole_numbers_is_converted_with_its_own_steps(quantised, tiling):
    model = quantised(QuantFormat.QOperator)
    result = tse_onnx.convert(model, tiling=tiling, expect=4)
    assert result.verification.passed
    kept = {
        t.name: t.SerializeToString() for t in model.graph.initializer if t.name.endswith(("_scale", "_zero_point"))
    }
    assert kept.items() <= {t.name: t.SerializeToString() for t in result.model.graph.initializer}.items()
    assert accuracy(result.model) > accuracy(model) - 0.05
    assert tse_onnx.restore(result.model).model.SerializeToString() == model.SerializeToString()
