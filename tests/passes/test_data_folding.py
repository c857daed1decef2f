"""Folding and unfolding against a convolution written out in numpy, and bit for bit in onnxruntime on whole numbers."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import tse_onnx


def conv_model(weights, size, attributes, nodes=(), source="x", channels=None, dtype=TensorProto.FLOAT):
    """A convolution of `source`, which `nodes` make of the input."""
    groups = attributes.get("group", 1)
    channels = channels or weights.shape[1] * groups
    bias = np.arange(weights.shape[0]).astype(weights.dtype)
    graph = helper.make_graph(
        [*nodes, helper.make_node("Conv", [source, "w", "b"], ["y"], name="conv", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", dtype, [2, channels, *size])],
        [helper.make_tensor_value_info("y", dtype, None)],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return onnx.shape_inference.infer_shapes(model)


def by_definition(x, weights, strides, pads, groups):
    """The convolution, product by product, in double precision."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    outputs, per_group, height, width = weights.shape
    rows, columns = (x.shape[2] - height) // strides[0] + 1, (x.shape[3] - width) // strides[1] + 1
    y = np.zeros((len(x), outputs, rows, columns))
    for m in range(outputs):
        first = m // (outputs // groups) * per_group
        for c in range(per_group):
            for i in range(height):
                for j in range(width):
                    part = x[
                        :, first + c, i : i + strides[0] * rows : strides[0], j : j + strides[1] * columns : strides[1]
                    ]
                    y[:, m] += weights[m, c, i, j] * part[:, :rows, :columns]
        y[:, m] += m
    return y


def run(model, x):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@st.composite
def cases(draw):
    factor, groups = draw(st.integers(2, 4)), draw(st.sampled_from([1, 1, 2, 3]))
    strides = [factor * draw(st.integers(1, 2)) for _ in range(2)]
    kernel = [draw(st.integers(1, 6)) for _ in range(2)]
    pads = [draw(st.integers(0, 5)) for _ in range(4)]
    size = [factor * max(draw(st.integers(1, 4)), -(-kernel[axis] // factor)) for axis in range(2)]
    shape = (groups * draw(st.integers(1, 2)), draw(st.integers(1, 3)), *kernel)
    return factor, groups, strides, pads, size, shape, draw(st.integers(0, 2**16))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_folded_and_unfolded_again_it_is_the_convolution_by_definition(case):
    factor, groups, strides, pads, size, shape, seed = case
    random = np.random.default_rng(seed)
    attributes = {"strides": strides, "pads": pads, "group": groups}
    x = random.standard_normal((2, shape[1] * groups, *size))
    weights = random.standard_normal(shape)
    wanted = by_definition(x, weights, strides, pads, groups)
    model = conv_model(weights, size, attributes, dtype=TensorProto.DOUBLE)
    folded = tse_onnx.fold(model, factor=factor, verify=False)
    back = tse_onnx.unfold(folded.model, verify=False)
    for result in (folded, back):  # onnxruntime has no convolution of doubles
        assert [one.name for one in result.changed] == ["conv"]
        found = ReferenceEvaluator(result.model).run(None, {"x": x})[0]
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    assert back.changed[0].after.stride == tuple(strides)
    assert back.changed[0].after.kernel == shape[2:]
    assert back.changed[0].after.before == tuple(pads[:2])
    assert min(back.changed[0].after.pads) >= 0
    assert not any(node.op_type in ("SpaceToDepth", "Reshape", "Transpose") for node in back.model.graph.node)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_on_whole_numbers_onnxruntime_gives_the_same_bits(case):
    factor, groups, strides, pads, size, shape, seed = case
    random = np.random.default_rng(seed)
    x = random.integers(-8, 9, (2, shape[1] * groups, *size)).astype(np.float32)
    weights = random.integers(-8, 9, shape).astype(np.float32)
    model = conv_model(weights, size, {"strides": strides, "pads": pads, "group": groups})
    folded = tse_onnx.fold(model, factor=factor).model
    wanted = run(model, x)
    np.testing.assert_array_equal(wanted, by_definition(x, weights, strides, pads, groups))
    np.testing.assert_array_equal(run(folded, x), wanted)
    np.testing.assert_array_equal(run(tse_onnx.unfold(folded).model, x), wanted)


@pytest.mark.parametrize("way", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_pads_that_a_convolution_works_out_itself(way, kernel):
    random = np.random.default_rng(0)
    x = random.integers(-8, 9, (2, 3, 8, 12)).astype(np.float32)
    weights = random.integers(-8, 9, (4, 3, kernel, kernel)).astype(np.float32)
    model = conv_model(weights, (8, 12), {"strides": [4, 2], "auto_pad": way})
    result = tse_onnx.fold(model)
    np.testing.assert_array_equal(run(result.model, x), run(model, x))
    assert result.changed[0].after.stride == (2, 1)


def split(channels, height, width, by, perm):
    """L3U-Net's spelling of a folding."""
    shapes = {"a": [0, channels, height // by, by, width // by, by],
              "c": [0, channels * by * by, height // by, width // by]}  # fmt: skip
    constants = [
        helper.make_node("Constant", [], [f"{name}s"], value=numpy_helper.from_array(np.array(dims)))
        for name, dims in shapes.items()
    ]
    return [
        *constants,
        helper.make_node("Reshape", ["x", "as"], ["a"]),
        helper.make_node("Transpose", ["a"], ["t"], perm=perm),
        helper.make_node("Reshape", ["t", "cs"], ["f"]),
    ]


@pytest.mark.parametrize("perm", [(0, 3, 5, 1, 2, 4), (0, 1, 3, 5, 2, 4)])
def test_a_network_that_was_made_for_folded_data_is_unfolded(perm):
    random = np.random.default_rng(0)
    weights = random.integers(-8, 9, (5, 12, 3, 3)).astype(np.float32)
    model = conv_model(weights, (8, 12), {"pads": [1, 1, 1, 1]}, split(3, 8, 12, 2, perm), "f", 3)
    result = tse_onnx.unfold(model)
    x = random.integers(-8, 9, (2, 3, 8, 12)).astype(np.float32)
    np.testing.assert_array_equal(run(result.model, x), run(model, x))
    (node,) = result.model.graph.node
    assert node.op_type == "Conv"
    assert result.changed[0].after.kernel == (6, 6)
    assert result.after.bytes < result.before.bytes


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 0, 1)])
@pytest.mark.parametrize("full", [0, 4, 7])
def test_zeros_at_the_edges_of_a_kernel_go_only_where_nothing_changes(pads, full):
    random = np.random.default_rng(0)
    weights = np.zeros((5, 12, 2, 2), np.float32)
    weights[:, full] = random.integers(1, 9, (5, 2, 2))
    model = conv_model(weights, (8, 12), {"pads": pads}, depth(), "f", 3)
    result = tse_onnx.unfold(model)
    x = random.integers(-8, 9, (2, 3, 8, 12)).astype(np.float32)
    np.testing.assert_array_equal(run(result.model, x), run(model, x))
    assert result.changed[0].after.kernel < (4, 4)


def depth():
    return [helper.make_node("SpaceToDepth", ["x"], ["f"], blocksize=2)]


WEIGHTS = np.ones((4, 4, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("model", "back", "said"),
    [
        (conv_model(WEIGHTS, (8, 8), {"strides": [2, 2], "dilations": [2, 2]}), False, "it is dilated"),
        (conv_model(WEIGHTS, (9, 8), {"strides": [2, 2]}), False, "its map of 9 × 8 is not a multiple of 2"),
        (conv_model(WEIGHTS, (8, 8), {"strides": [2, 1]}), False, "strides of 2 × 1 have no factor in common"),
        (conv_model(WEIGHTS, ("H", 8), {"strides": [2, 2]}), False, "by input_shapes"),
        (conv_model(WEIGHTS, (8, 8), {}, split(1, 8, 8, 2, (0, 1, 3, 2, 5, 4)), "f", 1), True, "is no folding"),
        (conv_model(np.ones((4, 2, 3, 3), np.float32), (8, 8), {"group": 2}, depth(), "f", 1), True, "2 groups"),
        (conv_model(WEIGHTS, (8, 8), {"dilations": [2, 2]}, depth(), "f", 1), True, "it is dilated"),
        (
            conv_model(WEIGHTS, (8, 8), {}, [*depth(), helper.make_node("Relu", ["f"], ["r"])], "f", 1),
            True,
            "others read its folded map 'f' as well",
        ),
    ],
)
def test_what_cannot_be_folded_stays_and_says_why(model, back, said):
    change = tse_onnx.unfold if back else tse_onnx.fold
    result = change(model)
    (left,) = result.left
    assert said in left.reason
    assert not result.changed
    assert result.serialized() == model.SerializeToString()
    with pytest.raises(tse_onnx.ModelError, match="'conv' stays as it is"):
        change(model, nodes=["conv"])


def external(model, path):
    copy = onnx.ModelProto.FromString(model.SerializeToString())  # of which onnx takes the weights away
    onnx.save(copy, path, save_as_external_data=True, location="w.bin", size_threshold=0)


@pytest.mark.parametrize("factor", [2, 4])
def test_weights_in_a_file_beside_the_model(tmp_path, factor):
    random = np.random.default_rng(0)
    weights = random.integers(-8, 9, (4, 4, 3, 3)).astype(np.float32)
    model = conv_model(weights, (8, 8), {"strides": [4, 4], "pads": [1, 1, 1, 1]})
    external(model, tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()
    made = tse_onnx.fold(tmp_path / "m.onnx", tmp_path / "out" / "folded.onnx", factor=factor)
    assert len(made.checks) == 1
    back = tse_onnx.unfold(tmp_path / "out" / "folded.onnx", tmp_path / "back.onnx")
    assert back.changed[0].after.kernel == (3, 3)
    x = random.integers(-8, 9, (2, 4, 8, 8)).astype(np.float32)
    for path in (tmp_path / "out" / "folded.onnx", tmp_path / "back.onnx"):
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], run(model, x))


def test_weights_that_are_nowhere_stay(tmp_path):
    model = conv_model(WEIGHTS, (8, 8), {"strides": [2, 2]})
    external(model, tmp_path / "m.onnx")
    (left,) = tse_onnx.fold(onnx.load(tmp_path / "m.onnx", load_external_data=False)).left
    assert "give the model's path" in left.reason
    (tmp_path / "w.bin").write_bytes(b"")
    with pytest.raises(tse_onnx.ModelError, match="has 0"):
        tse_onnx.fold(tmp_path / "m.onnx")


@pytest.mark.parametrize("way", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("groups", [1, 2])
def test_double_precision_is_verified(way, groups, monkeypatch):
    from tse_onnx.passes.data_folding import fold as passes

    weights = np.random.default_rng(0).standard_normal((4, 2, 3, 3))
    attributes = {"strides": [2, 2], "auto_pad": way, "group": groups}
    model = conv_model(weights, (8, 8), attributes, dtype=TensorProto.DOUBLE)
    (check,) = tse_onnx.fold(model).checks
    assert check.error < 1
    right = passes.folded_weights
    monkeypatch.setattr(passes, "folded_weights", lambda *given: right(*given) + 1e-14)
    with pytest.raises(tse_onnx.CheckFailed, match="'conv' differs by"):
        tse_onnx.fold(model)


def test_weights_that_are_read_otherwise_stay_and_convolutions_of_one_map_share_its_folding():
    model = conv_model(WEIGHTS, (8, 8), {"strides": [2, 2]})
    model.graph.node.add(op_type="Conv", name="other", input=["x", "w"], output=["z"]).attribute.append(
        helper.make_attribute("strides", [2, 2])
    )
    model.graph.node.add(op_type="Conv", name="third", input=["x", "w"], output=["q"])
    for name in "zq":
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    result = tse_onnx.fold(model)
    assert [one.name for one in result.changed] == ["conv", "other"]
    assert [node.op_type for node in result.model.graph.node] == ["SpaceToDepth", "Conv", "Conv", "Conv"]
    assert "w" in {tensor.name for tensor in result.model.graph.initializer}
    assert not result.left


def test_weights_laid_wrongly_are_found_and_nothing_is_written(monkeypatch, tmp_path):
    from tse_onnx.passes.data_folding import fold as passes

    right = passes.folded_weights
    monkeypatch.setattr(passes, "folded_weights", lambda *given: right(*given)[:, :, ::-1].copy())
    weights = np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype(np.float32)
    with pytest.raises(tse_onnx.CheckFailed, match="'conv' differs by"):
        tse_onnx.fold(conv_model(weights, (8, 8), {"strides": [2, 2]}), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("factor", [0, 1, -2, True, 2.0, "2"])
def test_a_factor_that_folds_nothing_is_refused(factor):
    with pytest.raises(tse_onnx.UsageError, match="factor of 2 or more"):
        tse_onnx.fold(conv_model(WEIGHTS, (8, 8), {"strides": [2, 2]}), factor=factor)
