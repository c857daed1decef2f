"""What docs/reasons.md says of each reason is tried: who follows it gets a block that is converted, or another reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, version_converter

import tse_onnx
from tests.graphs import se_body, se_model, se_weights, text_model
from tse_onnx.passes.reasons import CODES

PAGE = Path(__file__).parents[2] / "docs" / "reasons.md"


def block(before: str = "d = GlobalAveragePool(h)", after: str = "s = Mul(h, g)", **rest: object) -> ModelProto:
    """A block with another squeeze, or another scale."""
    body = se_body().splitlines()
    return text_model("\n".join(("h = LeakyRelu(x)", before, *body[1:-1], after, "y = Neg(s)")), se_weights(), **rest)


def without_outputs(*names: str) -> Callable[[ModelProto], ModelProto]:
    def follow(model: ModelProto) -> ModelProto:
        kept = [value for value in model.graph.output if value.name not in names]
        del model.graph.output[:]
        model.graph.output.extend(kept)
        return model

    return follow


def asked_for(value: str) -> ModelProto:
    model = se_model()
    model.graph.output.append(onnx.ValueInfoProto(name=value))
    return model


def without_shape() -> ModelProto:
    model = se_model()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.ClearField("shape")
    return model


BOUND = {"input_shapes": {"x": (1, 8, 16, 12)}}
OPEN = {"inputs": "float[N, 8, H, W] x", "outputs": "float[N, 8, A, B] y"}
# By reason: a model that is refused for it, with what it is asked with; the same as its advice would have it.
COMPUTED = "t = Constant<value_ints = [2, 3]>()\nq = ReduceMax<keepdims = 0>(x)\nz = Cast<to = 7>(q)\nn = Sub(z, z)\nc = Add(t, n)\n"
ADVICE = {
    "axes": (block(f"{COMPUTED}d = ReduceMean(h, c)", opset=18), {},
             block("c = Constant<value_ints = [2, 3]>()\nd = ReduceMean(h, c)", opset=18), {}),
    "size": (block("d = AveragePool<kernel_shape = [16, 12]>(h)", **OPEN), {},
             block("d = AveragePool<kernel_shape = [16, 12]>(h)", **OPEN), BOUND),
    "shape": (without_shape(), {}, without_shape(), {"input_shapes": {"x": (1, 8, 16, 12)}}),
    "not-mul": (block(after="s = Div(h, g)"), {}, block(after="o = Reciprocal(g)\ns = Mul(h, o)"), {}),
    "output": (asked_for("g"), {}, without_outputs("g")(asked_for("g")), {}),
    "shared": (
        block(after="s = Mul(h, g)\nw = Mul(h, g)", outputs="float[N, 8, 16, 12] y, float[N, A, B, C] w"), {},
        block(), {}),
    "layout": (
        block("m = Constant<value = int64[3] {0, 8, 1}>()\np = GlobalAveragePool(h)\nd = Identity(p)",
              "t = Reshape(g, m)\ns = Mul(h, t)", inputs="float[8, 8, 8, 12] x", outputs="float[8, 8, 8, 12] y"), {},
        block("m = Constant<value = int64[3] {0, 8, 1}>()\nl = Constant<value = int64[1] {-1}>()\n"
              "p = GlobalAveragePool(h)\nd = Identity(p)", "t = Reshape(g, m)\nv = Unsqueeze(t, l)\ns = Mul(h, v)",
              inputs="float[8, 8, 8, 12] x", outputs="float[8, 8, 8, 12] y"), {}),
    "kind": (text_model("d = GlobalAveragePool(x)\ng = Sigmoid(d)\ny = Mul(x, g)"), {},
             text_model("d = GlobalAveragePool(x)\ng = Sigmoid(d)\ny = Mul(x, g)"), {"kinds": {"ge"}}),
    "quantised": (
        block("p = GlobalAveragePool(h)\nq, u, z = DynamicQuantizeLinear(p)\nd = DequantizeLinear(q, u, z)"), {},
        block(), {}),
    "opset": (se_model(opset=8, ir=3), {}, version_converter.convert_version(se_model(opset=8, ir=8), 11), {}),
}  # fmt: skip
# Nothing can be done about these, and the page says so, or they are about a choice of the user's, with tests of their own.
NOTHING = {"head", "other-tensor", "channels", "operator", "weights", "rank"}
CHOICES = {"recompute": "test_recompute", "previous": "test_previous", "target": "test_target"}


def reasons(model: ModelProto, asked: dict) -> list[str]:
    """Why the poolings of a model are not converted."""
    return [one.refusal.code for one in tse_onnx.convert(model, rows=4, verify=False, **asked).blocks if one.refusal]


def test_every_reason_has_advice_that_is_tried_or_none():
    assert set(CODES) == set(ADVICE) | NOTHING | set(CHOICES)


@pytest.mark.parametrize("code", ADVICE)
def test_who_follows_the_advice_gets_a_block(code):
    refused, asked, followed, then = ADVICE[code]
    if code == "shape":  # such a model cannot even be measured; it is refused as a whole, with the option to use
        assert [found.refusal.code for found in tse_onnx.find_blocks(refused)] == [code]
    else:
        assert reasons(refused, asked) == [code]
    done = tse_onnx.convert(followed, rows=4, **then)
    assert done.report.buffering.totals.converted == 1
    assert done.verification.passed


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_page_says_to_bind_to_fold_or_to_report_only_where_it_helps(code):
    (row,) = re.findall(rf"^\| `{code}` \|.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    advice = row.split("|")[3]
    assert ("--input-shape" in advice) == (code in ("axes", "size", "shape", "target"))
    assert ("folded" in advice or "Fold" in advice) == (code == "weights")
    assert ("report it" in advice) == (code == "operator")
