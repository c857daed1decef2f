"""A block that something else reads, or that is not ONNX's own: refused with the right code, and left exactly as it was.

What looks like squeeze-and-excite and is none stands in tests/cases/no_*.onnxtxt.
"""

import pytest

import tse_onnx
from tests.graphs import se_body, se_model, se_weights, text_model


@pytest.mark.parametrize("value", ["d", "a", "e", "g"])
def test_a_value_of_the_block_that_is_a_graph_output_is_refused(value):
    model = se_model()
    model.graph.output.add(name=value)
    (block,) = tse_onnx.find_blocks(model)
    assert (block.status, block.refusal.code) == ("refused", "output")


@pytest.mark.parametrize("value", ["d", "r", "a", "e", "g"])
def test_a_value_of_the_block_that_a_nested_graph_reads_is_refused(value):
    body = f"""h = LeakyRelu(x)
    {se_body()}
    n = If (cond) <
      then_branch = t () => (float[N, C, A, B] ty) {{ ty = Identity({value}) }},
      else_branch = f () => (float[N, C, A, B] fy) {{ fy = Neg({value}) }}
    >
    y = Neg(s)
    z = Relu(n)"""
    model = text_model(body, se_weights(), inputs="float[N, 8, 16, 12] x, bool cond",
                       outputs="float[N, 8, 16, 12] y, float[N, C, A, B] z")  # fmt: skip
    (block,) = tse_onnx.find_blocks(model)
    assert block.status == "refused"
    _assert_left_alone(model)


def test_the_same_operators_in_a_foreign_domain_are_not_trusted():
    model = se_model()
    model.opset_import.add(domain="vendor", version=1)
    for node in model.graph.node:
        if node.op_type == "Sigmoid":
            node.domain = "vendor"
    (block,) = tse_onnx.find_blocks(model)
    assert (block.status, block.refusal.code) == ("refused", "operator")


def test_an_opset_without_exact_tiles_is_refused_by_convert():
    model = se_model(opset=8, ir=3)
    result = tse_onnx.convert(model, verify=False)
    assert [(decision.status, decision.refusal.code) for decision in result.blocks] == [("refused", "opset")]
    assert result.model.SerializeToString() == model.SerializeToString()


def _assert_left_alone(model):
    before = model.SerializeToString()
    result = tse_onnx.convert(model, rows=3, verify=False)
    assert result.report.buffering.totals.converted == 0
    assert result.model.SerializeToString() == before
    assert model.SerializeToString() == before
