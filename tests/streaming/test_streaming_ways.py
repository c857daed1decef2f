"""What a network holds does not depend on how its tiles are written, but for what the docs say."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import models
import tse_onnx
from tests.graphs import text_model
from tse_onnx import Tiling
from tse_onnx.passes.blocks.tiling import Tile
from tse_onnx.passes.lowering import MEANS
from tse_onnx.streaming.depths.gates import gates_of
from tse_onnx.streaming.network.read import network_of
from tse_onnx.streaming.stream import stream

SHAPES = {"": (1, 1, 32, 32)}


def figures(tiling, execute=False, **ways):
    made = tse_onnx.convert(models.load("digits_se"), tiling=tiling, verify=False, **ways).model
    session = stream(made, input_shapes=SHAPES, execute=execute)
    if execute:
        session.certificate.require()
    return {name: sums.elements for name, sums in session.dataflow.totals.items()}


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 8])
def test_a_view_holds_what_a_pool_holds(rows):
    known = figures(Tiling(rows), means="pads", upsample="resize")
    assert figures(Tiling(rows), execute=True, means="view", upsample="view") == known
    assert figures(Tiling(rows), means="pads", upsample="view") == known
    assert figures(Tiling(rows), means="view", upsample="resize") == known


@pytest.mark.slow
def test_a_gate_as_large_as_the_map_is_held_as_one_column():
    known = figures(Tiling(8), means="pads", upsample="resize")
    assert figures(Tiling(8), execute=True, means="pool", upsample="full") == known


@pytest.mark.slow
@pytest.mark.parametrize("tiling", [Tiling(7), Tiling(3, squeeze="running")], ids=str)
def test_products_hold_a_little_more(tiling):
    means = "matmul" if tiling.squeeze == "running" else "pads"
    known = figures(tiling, means=means, upsample="resize")
    made = figures(tiling, execute=True, means="gemm", upsample="ones")
    assert made["gate"] == known["gate"]
    assert known["min"] <= made["min"] <= 1.03 * known["min"]


@pytest.mark.slow
@pytest.mark.parametrize("means", [way.name for way in MEANS if Tile in way.needs.covers])
@pytest.mark.parametrize("rows", [7, 8])
def test_gates_wait_for_the_same_rows_however_their_means_are_computed(means, rows):
    assert figures(Tiling(rows), means=means)["gate"] == {7: 24_192, 8: 27_648}[rows]


def test_a_reduction_of_what_was_reduced_depends_on_the_map():
    """A second pool of pools; the waiting rows are those of the whole chain."""
    body = (
        "a = AveragePool<kernel_shape = [2, 3], strides = [2, 3]>(x)\n b = ReduceMean<axes = [2, 3], keepdims = 1>(a)\n"
        " y = Mul(x, b)"
    )
    model = text_model(body, {}, inputs="float[1, 2, 8, 6] x", outputs="float[1, 2, 8, 6] y")
    (gate,) = gates_of(network_of(model))
    assert (gate.tensor, gate.rows, gate.columns) == ("x", 8, 6)


def test_a_map_that_was_pooled_waits_for_its_gate_as_others_do():
    body = "a = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)\n m = GlobalAveragePool(a)\n y = Mul(a, m)"
    model = text_model(body, {}, inputs="float[1, 2, 8, 6] x", outputs="float[1, 2, 4, 3] y")
    (gate,) = gates_of(network_of(model))
    assert (gate.tensor, gate.rows, gate.columns) == ("a", 4, 3)


def test_a_row_that_is_no_repeated_column_is_held_whole():
    """Factors that differ from column to column make columns that differ."""
    body = "m = ReduceMean<axes = [3]>(x)\n w = MatMul(m, f)\n y = Mul(x, w)"
    for factors, elements in ((np.ones((1, 6)), 2), (np.arange(6.0)[None], 12)):
        model = text_model(
            body, {"f": factors.astype(np.float32)}, inputs="float[1, 2, 8, 6] x", outputs="float[1, 2, 8, 6] y"
        )
        assert network_of(model).tensors["w"].row_elements == elements
        stream(model).certificate.require()


OTHERS = {
    "the view is an output": ("v = Reshape(x, s)\n m = ReduceMean<axes = [3]>(v)\n y = Mul(v, m)", [1, 2, 4, 12]),
    "laid back otherwise": (
        "v = Reshape(x, s)\n m = ReduceMean<axes = [3]>(v)\n w = Mul(v, m)\n y = Reshape(w, t)",
        [1, 2, 12, 4],
    ),
    "read otherwise": (
        "v = Reshape(x, s)\n m = ReduceMax<axes = [3]>(v)\n w = Mul(v, m)\n y = Reshape(w, b)",
        [1, 2, 8, 6],
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_views_stay_what_they_are(case):
    body, dims = OTHERS[case]
    numbers = {"s": [1, 2, 4, 12], "t": [1, 2, 12, 4], "b": [1, 2, 8, 6]}
    model = text_model(
        body, {name: np.array(each) for name, each in numbers.items() if f", {name})" in body},
        inputs="float[1, 2, 8, 6] x", outputs=f"float{dims} y",
    )  # fmt: skip
    assert "v" in network_of(model).tensors
    stream(model).certificate.require()


def test_a_view_that_is_read_as_rows_is_proved_under_the_names_of_the_model():
    body = "v = Reshape(x, s)\n m = ReduceMean<axes = [3]>(v)\n w = Mul(v, m)\n y = Reshape(w, b)"
    model = text_model(
        body, {"s": np.array([1, 2, 4, 12]), "b": np.array([1, 2, 8, 6])}, inputs="float[1, 2, 8, 6] x",
        outputs="float[1, 2, 8, 6] y",
    )  # fmt: skip
    network = network_of(model)
    assert "v" not in network.tensors
    assert {"m", "y"} <= network.tensors.keys()
    stream(model).certificate.require()
    gathers = [node for node in network.apart.graph.node if node.op_type == "Constant"]
    gathers[0].attribute[0].CopyFrom(
        helper.make_attribute("value", helper.make_tensor("i", TensorProto.INT64, [8], [0] * 8))
    )
    from tse_onnx.streaming.execute.certificate import certify

    feed = {"x": np.random.default_rng(0).random((1, 2, 8, 6), dtype=np.float32)}
    assert not certify(model, network, feed).passed
