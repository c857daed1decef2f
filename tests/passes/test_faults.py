"""A model may hold anything, and is refused with a reason; a fault inside a rule is a fault of the program."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

import tse_onnx
from tests.graphs import se_model, text_model
from tse_onnx.passes.forms import excite, squeeze
from tse_onnx.passes.forms.act import Forms
from tse_onnx.passes.graph.operators import Rules


def _before_gate(model: ModelProto, *nodes: str, **constants: np.ndarray) -> ModelProto:
    """The model with further nodes, from `a` to `b`, before the gate; `constants` are what they read."""
    for node in model.graph.node:
        if node.op_type == "Sigmoid":
            place, (before, node.input[0]) = list(model.graph.node).index(node), (node.input[0], "b")
    body = "\n".join(nodes).replace("(a", f"({before}")
    for added in reversed(text_model(body).graph.node):
        model.graph.node.insert(place, added)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return model


@pytest.mark.parametrize("error", [KeyError, IndexError, ValueError, ZeroDivisionError, AssertionError])
def test_a_fault_inside_a_rule_is_not_taken_for_a_refusal(monkeypatch, error):
    def faulty(*_: object) -> None:
        raise error("a fault")

    monkeypatch.setattr(excite, "FORMS", Forms({**excite.FORMS, "Sigmoid": faulty}))
    with pytest.raises(error, match="a fault"):
        tse_onnx.find_blocks(se_model())
    monkeypatch.setattr(squeeze, "READERS", Rules({**squeeze.READERS, "GlobalAveragePool": faulty}))
    with pytest.raises(error, match="a fault"):
        tse_onnx.find_blocks(se_model())


@pytest.mark.parametrize("target", [np.array([np.nan, np.inf]), np.array(["one", "two"]), np.array([True, False])],
                         ids=["floats", "words", "truths"])  # fmt: skip
@pytest.mark.parametrize("operator", ["Reshape", "Expand", "Tile", "Squeeze", "Unsqueeze"])
def test_a_view_that_is_steered_by_no_whole_numbers_does_not_fit(operator, target):
    (block,) = tse_onnx.find_blocks(_before_gate(se_model(), f"b = {operator} (a, t)", t=target))
    assert block.refusal.code == "operator"
    assert "does not fit the descriptor" in block.reason


def test_a_window_over_the_channels_with_pads_for_another_rank_does_not_fit():
    nodes = "l = Transpose <perm = [0, 2, 3, 1]> (a)", "c = Conv <pads = [1]> (l, w)", "b = Transpose (c)"
    (block,) = tse_onnx.find_blocks(_before_gate(se_model(), *nodes, w=np.ones((1, 1, 1, 3), np.float32)))
    assert "does not fit the descriptor" in block.reason


def test_a_pad_by_no_whole_numbers_is_no_view():
    body = "m = Identity (nothing)  p = Pad (x, m)  d = GlobalAveragePool (p)  g = Sigmoid (d)  y = Mul (x, g)"
    model = text_model(body, {"nothing": np.full(8, np.nan, np.float32)})
    (block,) = tse_onnx.find_blocks(model, kinds={"ge"})
    assert block.refusal is not None
