"""Tables of rules: every operator has one rule, whichever way its domain is written."""

import pytest
from onnx import helper

from tse_onnx.passes.graph.operators import Rules, operator, opset_of


def test_onnx_s_own_domain_is_left_out():
    assert operator(helper.make_node("Relu", ["x"], ["y"])) == "Relu"
    assert operator(helper.make_node("Relu", ["x"], ["y"], domain="ai.onnx")) == "Relu"
    assert operator(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")) == "com.microsoft::Gelu"
    assert opset_of([helper.make_opsetid("other", 3), helper.make_opsetid("ai.onnx", 17)]) == 17
    assert opset_of([]) == 0


def test_a_row_may_speak_of_several_operators():
    rules = Rules({("Relu", "com.microsoft::Gelu"): 1, "Conv": 2}) | Rules({"MatMul": 3})
    assert dict(rules) == {"Relu": 1, "com.microsoft::Gelu": 1, "Conv": 2, "MatMul": 3}
    assert rules.of(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")) == 1
    assert rules.of(helper.make_node("Gelu", ["x"], ["y"])) is None


@pytest.mark.parametrize("join", [
    lambda: Rules({("Relu", "Conv"): 1, "Conv": 2}),
    lambda: Rules({"Conv": 1}) | Rules({"Conv": 1}),
])  # fmt: skip
def test_two_rules_for_an_operator_are_refused(join):
    with pytest.raises(ValueError, match="two rules for Conv"):
        join()
