"""What looks like squeeze-and-excite and is none: refused with the right code, and left exactly as it was."""

import numpy as np
import pytest

import tse_onnx
from tests.graphs import se_body, se_model, se_weights, text_model

EXCITE = "r = Conv(d, w1, b1)\n a = Relu(r)\n e = Conv(a, w2, b2)\n g = Sigmoid(e)\n"
HEAD = "h = LeakyRelu(x)\n"
BLOCK = HEAD + "d = GlobalAveragePool(h)\n" + EXCITE

# name: (body, codes of the refusals in node order)
CASES = {
    "gate on another tensor (LR-ASPP)": (HEAD + "d = GlobalAveragePool(h)\n" + EXCITE + "o = Relu(x)\n y = Mul(o, g)", ["other-tensor"]),
    "squeeze of a tensor before its activation": (HEAD + "d = GlobalAveragePool(x)\n" + EXCITE + "y = Mul(h, g)", ["other-tensor"]),
    "squared pool": (HEAD + "q = Mul(h, h)\n d = GlobalAveragePool(q)\n" + EXCITE + "y = Mul(h, g)", ["other-tensor"]),
    "division in place of Mul": (BLOCK + "y = Div(h, g)", ["not-mul"]),
    "addition in place of Mul": (BLOCK + "y = Add(h, g)", ["not-mul"]),
    "gate used twice, 1 - g": (BLOCK + "n = Sub(one, g)\n s = Mul(h, g)\n z = Mul(x, n)\n y = Add(s, z)", ["other-tensor"]),
    "gate used on two tensors": (BLOCK + "s = Mul(h, g)\n z = Mul(x, g)\n y = Add(s, z)", ["other-tensor"]),
    "two scales of x": (BLOCK + "s = Mul(h, g)\n g2 = Tanh(e)\n z = Mul(h, g2)\n y = Add(s, z)", ["shared"]),
    "scale and bias from one vector": (BLOCK + "s = Mul(h, g)\n y = Add(s, e)", ["operator", "shared", "weights", "other-tensor"]),
    "descriptor also used elsewhere": (BLOCK + "s = Mul(h, g)\n y = Add(s, d)", ["shared", "weights", "operator", "other-tensor"]),
    "x times its own mean": (HEAD + "d = GlobalAveragePool(h)\n y = Mul(h, d)", ["kind"]),
    "one convolution (ESE)": (HEAD + "d = GlobalAveragePool(h)\n e = Conv(d, wcc)\n g = HardSigmoid(e)\n y = Mul(h, g)", ["kind"]),
    "weights that are not constant": (BLOCK.replace("w1", "v") + "y = Mul(h, g)", ["weights", "other-tensor"]),
    "one-channel gate": (HEAD + "d = GlobalAveragePool(h)\n r = Conv(d, w1)\n a = Relu(r)\n e = Conv(a, w2one)\n g = Sigmoid(e)\n y = Mul(h, g)", ["channels"]),
    "mean over channels as well": (HEAD + "d = ReduceMean<axes = [1, 2, 3]>(h)\n r = Conv(d, w1one)\n a = Relu(r)\n e = Conv(a, w2)\n g = Sigmoid(e)\n y = Mul(h, g)", ["axes"]),
    "mean over the batch as well": (HEAD + "d = ReduceMean<axes = [0, 2, 3]>(h)\n" + EXCITE + "y = Mul(h, g)", ["axes"]),
    "a kernel that mixes tiles": (HEAD + "d = GlobalAveragePool(h)\n r = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(d, w1k3)\n a = Relu(r)\n e = Conv(a, w2)\n g = Sigmoid(e)\n y = Mul(h, g)", ["operator"]),
    "a cumulative sum over the descriptor": (HEAD + "d = GlobalAveragePool(h)\n r = Conv(d, w1)\n a = Relu(r)\n e = Conv(a, w2)\n t = CumSum(e, two)\n g = Sigmoid(t)\n y = Mul(h, g)", ["operator"]),
    "the gate normalised over the positions": (HEAD + "d = GlobalAveragePool(h)\n r = Conv(d, w1)\n a = Relu(r)\n e = Conv(a, w2)\n g = Softmax<axis = 2>(e)\n y = Mul(h, g)", ["operator"]),
    "excite that looks at x again": (BLOCK.replace("g = Sigmoid(e)", "m = GlobalMaxPool(h)\n em = Add(e, m)\n g = Sigmoid(em)") + "y = Mul(h, g)", ["weights", "operator"]),
    "batch normalisation in training mode": (HEAD + "d = GlobalAveragePool(h)\n r = Conv(d, wcc)\n n, rm, rv = BatchNormalization<training_mode = 1>(r, ones, ones, ones, ones)\n e = Conv(n, wcc)\n g = Sigmoid(e)\n y = Mul(h, g)", ["operator"]),
    "x pooled and gate applied through power": (BLOCK + "y = Pow(h, g)", ["not-mul"]),
}  # fmt: skip
WITHOUT_BLOCK = {
    "max pooling": HEAD + "d = GlobalMaxPool(h)\n" + EXCITE + "y = Mul(h, g)",
    "lp pooling": HEAD + "d = GlobalLpPool(h)\n" + EXCITE + "y = Mul(h, g)",
    "mean over one axis (strip attention)": HEAD
    + "d = ReduceMean<axes = [3]>(h)\n r = Conv(d, w1)\n a = Relu(r)\n e = Conv(a, w2)\n g = Sigmoid(e)\n y = Mul(h, g)",
    "mean over channels": HEAD + "d = ReduceMean<axes = [1]>(h)\n g = Sigmoid(d)\n y = Mul(h, g)",
    "sum without division": HEAD
    + "d = ReduceSum(h, spatial)\n r = Conv(d, w1)\n a = Relu(r)\n e = Conv(a, w2)\n g = Sigmoid(e)\n y = Mul(h, g)",
    "pooling with a kernel smaller than the map": HEAD
    + "d = AveragePool<kernel_shape = [8, 12], strides = [8, 12]>(h)\n"
    + EXCITE
    + 'u = Resize<mode = "nearest">(g, , stretch)\n y = Mul(h, u)',
}


def _weights():
    weights = se_weights()
    weights |= {
        "one": np.array(1, np.float32), "ones": np.ones(8, np.float32), "two": np.array(1, np.int64),
        "spatial": np.array([2, 3]), "stretch": np.array([1, 1, 8, 12], np.float32),
        "wcc": np.ones((8, 8, 1, 1), np.float32), "w2one": np.ones((1, 4, 1, 1), np.float32),
        "w1one": np.ones((4, 1, 1, 1), np.float32), "w1k3": np.ones((4, 8, 3, 3), np.float32),
    }  # fmt: skip
    return weights


def _model(body):
    used = {name: array for name, array in _weights().items() if name in body}
    inputs = "float[N, 8, 16, 12] x" + (", float[4, 8, 1, 1] v" if "v, b1" in body else "")
    return text_model(body, used, inputs=inputs)


@pytest.mark.parametrize("case", CASES)
def test_near_misses_are_refused_with_their_code(case):
    body, codes = CASES[case]
    model = _model(body)
    blocks = tse_onnx.find_blocks(model)
    assert {block.status for block in blocks} == {"refused"}  # a maximum beside the mean is listed, too
    assert blocks[0].refusal.code in codes
    assert blocks[0].reason == blocks[0].refusal.text
    _assert_left_alone(model)


@pytest.mark.parametrize("case", WITHOUT_BLOCK)
def test_other_poolings_are_never_converted(case):
    model = _model(WITHOUT_BLOCK[case])
    assert all(block.status == "refused" for block in tse_onnx.find_blocks(model))
    _assert_left_alone(model)


def test_a_classifier_head_is_refused_as_a_head():
    body = "h = LeakyRelu(x)\n p = GlobalAveragePool(h)\n f = Flatten(p)\n y = Gemm(f, wh)"
    model = text_model(body, {"wh": np.ones((8, 10), np.float32)}, outputs="float[N, 10] y")
    (block,) = tse_onnx.find_blocks(model)
    assert (block.status, block.refusal.code) == ("refused", "head")
    _assert_left_alone(model)


def test_the_head_of_mobilenetv3_scales_the_descriptor_itself():
    """GAP → Conv → HardSwish spelled as HardSigmoid · x: a Mul, but not with the pooled map."""
    body = "h = LeakyRelu(x)\n p = GlobalAveragePool(h)\n c = Conv(p, w1, b1)\n q = HardSigmoid(c)\n y = Mul(c, q)"
    weights = {name: array for name, array in se_weights().items() if name in ("w1", "b1")}
    (block,) = tse_onnx.find_blocks(text_model(body, weights, outputs="float[N, 4, 1, 1] y"))
    assert (block.status, block.refusal.code) == ("refused", "head")


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


def test_every_reason_names_the_node_and_is_one_line():
    for body, _ in CASES.values():
        for block in tse_onnx.find_blocks(_model(body)):
            assert "\n" not in block.reason
            assert "'" in block.reason
            assert len(block.reason) > 20


def _assert_left_alone(model):
    before = model.SerializeToString()
    result = tse_onnx.convert(model, rows=3, verify=False)
    assert result.report.buffering.totals.converted == 0
    assert result.model.SerializeToString() == before
    assert model.SerializeToString() == before
