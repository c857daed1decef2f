"""Every spelling of a block that stock exporters write is found, and tiled to the same numbers."""

import itertools

import numpy as np
import onnx
import pytest

import tse_onnx
from tests.graphs import GATES, INNERS, SQUEEZES, se_model, some_input, text_model
from tests.running import run
from tests.se_by_numpy import whole_model

SPELLINGS = [
    (squeeze, inner, gate, gate_first, opset)
    for squeeze, inner, gate, gate_first in itertools.product(SQUEEZES, INNERS, GATES, (False, True))
    for opset in (11, 17, 18)
    if all(first <= opset <= last for _, first, last in (SQUEEZES[squeeze], INNERS[inner]))
]


@pytest.mark.parametrize(("squeeze", "inner", "gate", "gate_first", "opset"), SPELLINGS)
def test_every_spelling_is_found_and_tiled(squeeze, inner, gate, gate_first, opset):
    model = se_model(squeeze=squeeze, inner=inner, gate=gate, gate_first=gate_first, opset=opset)
    (block,) = tse_onnx.find_blocks(model)
    assert (block.status, block.kind, block.input, block.reason) == ("convertible", "se", "h", None)
    assert (block.squeeze.output, block.scale.output) == ("d", "s")
    assert block.shape == (None, 8, 16, 12)
    converted = tse_onnx.convert(model, rows=5, verify=False).model
    x = some_input(model)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_allclose(run(converted, x), whole_model(x, weights, 5, inner, gate), atol=2e-5)


@pytest.mark.parametrize("bias", ["with bias", "without"])
@pytest.mark.parametrize("reduced", [1, 8, 16])
def test_reduce_width_and_bias_do_not_matter(bias, reduced):
    model = se_model(reduced=reduced)
    if bias == "without":
        for node in model.graph.node:
            if node.op_type == "Conv":
                del node.input[2]
        for tensor in [tensor for tensor in model.graph.initializer if tensor.name in ("b1", "b2")]:
            model.graph.initializer.remove(tensor)
    (block,) = tse_onnx.find_blocks(model)
    assert block.status == "convertible"
    assert tse_onnx.convert(model, rows=5).verification.passed


def test_weights_from_constant_nodes_and_through_identity():
    model = se_model()
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == "w1"]
    made = onnx.helper.make_node("Constant", [], ["w1_raw"], value=weight)
    passed_on = onnx.helper.make_node("Identity", ["w1_raw"], ["w1"])
    model.graph.initializer.remove(weight)
    nodes = [made, passed_on, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    result = tse_onnx.convert(model, rows=5)
    assert [decision.status for decision in result.blocks] == ["converted"]
    assert result.verification.passed


def test_two_blocks_on_one_map_are_two_blocks():
    """Two branches that gate the same tensor, each with a mean of its own."""
    model = se_model()
    branch = [onnx.NodeProto() for _ in range(6)]
    for copy, node in zip(branch, model.graph.node[1:7], strict=True):
        copy.CopyFrom(node)
        for slot, name in enumerate(copy.input):
            if name in "dragge":
                copy.input[slot] = f"{name}_2"
        copy.output[0] += "_2"
    model.graph.node.pop()
    model.graph.node.extend([*branch, onnx.helper.make_node("Add", ["s", "s_2"], ["y"])])
    result = tse_onnx.convert(model, rows=5)
    assert [decision.status for decision in result.blocks] == ["converted", "converted"]
    assert len({decision.block.name for decision in result.blocks}) == 2


def test_a_block_that_reads_the_graph_input_and_makes_the_graph_output():
    body = "d = GlobalAveragePool(x)\n r = Conv(d, w1)\n a = Relu(r)\n e = Conv(a, w2)\n g = Sigmoid(e)\n y = Mul(x, g)"
    random = np.random.default_rng(0)
    weights = {"w1": random.standard_normal((4, 8, 1, 1)), "w2": random.standard_normal((8, 4, 1, 1))}
    model = text_model(body, {name: array.astype(np.float32) for name, array in weights.items()})
    result = tse_onnx.convert(model, rows=3)
    assert result.verification.passed
    assert [output.name for output in result.model.graph.output] == ["y"]
