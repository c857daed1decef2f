"""Recomputed blocks as compilers want them that run layers in cascades: the means of rows first, the map before its gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, numpy_helper, parser

import tse_onnx
from tests.command import tse_onnx as run
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.runtime.ort import ort

WIDE = "w = Conv(x, w1) t = Relu(w) "
EXCITE = "r = Conv(m, w2) a = Relu(r) e = Conv(a, w3) g = Sigmoid(e) "
MEAN = "m = GlobalAveragePool(t) "
CASCADE = tse_onnx.Recompute(cascade=True)


def model(lines: str, opset: int = 17) -> ModelProto:
    """A narrow map x [1, 4, 6, 5] that is made wide, squeezed, excited and scaled, with weights of noise."""
    parsed = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[1, 4, 6, 5] x) => (float[1, 12, 6, 5] y) {{ {lines} }}'
    )
    random = np.random.default_rng(0)
    for name, shape in {"w1": (12, 4, 1, 1), "w2": (3, 12, 1, 1), "w3": (12, 3, 1, 1)}.items():
        values = random.standard_normal(shape).astype(np.float32)
        parsed.graph.initializer.append(numpy_helper.from_array(values, name))
    for number, node in enumerate(parsed.graph.node):
        node.name = f"node{number}"
    return parsed


def converted(original: ModelProto) -> ModelProto:
    """The model with its one block recomputed for cascades."""
    result = tse_onnx.convert(original, tiling=CASCADE, expect=1)
    assert result.verification is not None
    return result.model


def outputs(of: ModelProto) -> np.ndarray:
    """What a model makes of noise, nothing merged."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(of.SerializeToString(), options, providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(1).standard_normal((1, 4, 6, 5)).astype(np.float32)
    (made,) = session.run(None, {"x": noise})
    return np.asarray(made)


def only(of: ModelProto, operator: str) -> NodeProto:
    """The one node of this operator."""
    (found,) = [node for node in of.graph.node if node.op_type == operator]
    return found


@pytest.mark.parametrize("opset", [17, 18])
def test_rows_first(opset: int) -> None:
    original = model(f"{WIDE} {MEAN} {EXCITE} y = Mul(t, g)", opset)
    made = converted(original)
    rows, rest = only(made, "ReduceMean"), only(made, "GlobalAveragePool")
    assert rest.input[0] == rows.output[0]
    assert list(rest.output) == ["m"]
    constants = {node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in made.graph.node
                 if node.op_type == "Constant"}  # fmt: skip
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in rows.attribute}
    axes = constants[rows.input[1]].tolist() if opset >= 18 else attributes["axes"]
    assert axes == [3]
    assert attributes["keepdims"] == 1
    assert rows.input[0] != "t"  # but the copy
    assert list(only(made, "Mul").input) == ["t", "g"]
    np.testing.assert_allclose(outputs(made), outputs(original), rtol=1e-5, atol=1e-6)


def test_the_map_comes_first() -> None:
    original = model(f"{WIDE} {MEAN} {EXCITE} y = Mul(g, t)")
    made = converted(original)
    assert list(only(made, "Mul").input) == ["t", "g"]
    np.testing.assert_allclose(outputs(made), outputs(original), rtol=1e-5, atol=1e-6)
    plain = tse_onnx.convert(original, tiling=tse_onnx.Recompute()).model
    assert list(only(plain, "Mul").input) == ["g", "t"]


def test_a_mean_along_the_second_axis_of_a_map_with_channels_last() -> None:
    lines = (
        "l = Transpose<perm = [0, 2, 3, 1]>(t) n = ReduceMean<axes = [1, 2], keepdims = 1>(l) "
        "m = Transpose<perm = [0, 3, 1, 2]>(n) "
    )
    original = model(f"{WIDE} {lines} {EXCITE} y = Mul(t, g)")
    made = converted(original)
    first, second = [node for node in made.graph.node if node.op_type == "ReduceMean"]
    assert onnx.helper.get_attribute_value(first.attribute[0]) == [2]
    assert second.input[0] == first.output[0]
    np.testing.assert_allclose(outputs(made), outputs(original), rtol=1e-5, atol=1e-6)


def test_a_mean_in_several_nodes_stays_as_it_is() -> None:
    lines = "many = Constant<value = float {30}>() s = ReduceSum<keepdims = 1>(t, axes) m = Div(s, many) "
    original = model(f"axes = Constant<value = int64[2] {{2, 3}}>() {WIDE} {lines} {EXCITE} y = Mul(t, g)")
    made = converted(original)
    assert not any(node.op_type == "ReduceMean" for node in made.graph.node)
    np.testing.assert_array_equal(outputs(made), outputs(original))


def test_half_precision() -> None:
    original = model(f"{WIDE} {MEAN} {EXCITE} y = Mul(t, g)")
    for tensor in original.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*original.graph.input, *original.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    assert any(node.op_type == "ReduceMean" for node in converted(original).graph.node)


def test_a_block_in_a_body() -> None:
    inner = f"{WIDE} {MEAN} {EXCITE} s = Mul(g, t)"
    original = model(
        "most = ReduceMax<keepdims = 0>(x) least = Constant<value = float {-100.0}>() c = Greater(most, least) "
        f"y = If(c)<then_branch = one () => (float[1, 12, 6, 5] s) {{ {inner} }}, "
        "else_branch = two () => (float[1, 12, 6, 5] o) { o = Conv(x, w1) }>"
    )
    result = tse_onnx.convert(original, tiling=CASCADE, expect=1)
    assert result.verification is not None
    assert result.verification.blocks
    np.testing.assert_allclose(outputs(result.model), outputs(original), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", ["Mul(t, g)", "Mul(g, t)"])
def test_it_is_restored_and_done_once(scale: str, tmp_path: Path) -> None:
    original, first, second, back = (tmp_path / name for name in ("original", "first", "second", "back"))
    onnx.save_model(model(f"{WIDE} {MEAN} {EXCITE} y = {scale}"), original)
    tse_onnx.convert(original, first, tiling=CASCADE, expect=1)
    tse_onnx.convert(first, second, tiling=CASCADE, expect=0)
    assert second.read_bytes() == first.read_bytes()
    (block,) = tse_onnx.find_blocks(first)
    assert block.tiled == tse_onnx.Recompute("x", cascade=True)
    tse_onnx.restore(first, back)
    assert back.read_bytes() == original.read_bytes()


@pytest.mark.parametrize("wrong", ["ReduceMax", "ReduceSum", "ReduceL2"])
def test_a_wrong_mean_of_rows_is_caught(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reduced = Draft.reduced
    monkeypatch.setattr(Draft, "reduced", lambda self, _, *rest: reduced(self, wrong, *rest))
    with pytest.raises(tse_onnx.CheckFailed):
        converted(model(f"{WIDE} {MEAN} {EXCITE} y = Mul(t, g)"))


def test_a_plan_carries_it(tmp_path: Path) -> None:
    path, plan = tmp_path / "model.onnx", tmp_path / "plan.toml"
    onnx.save_model(model(f"{WIDE} {MEAN} {EXCITE} y = Mul(t, g)"), path)
    plan.write_bytes(run("plan", path, "--squeeze", "recompute", "--cascade").stdout)
    assert "cascade = true" in plan.read_text()
    one, two = tmp_path / "one.onnx", tmp_path / "two.onnx"
    assert run("convert", path, one, "--plan", plan).returncode == 0
    assert run("convert", path, two, "--squeeze", "recompute", "--cascade").returncode == 0
    assert [node.op_type for node in onnx.load_model(one).graph.node] == [
        node.op_type for node in onnx.load_model(two).graph.node
    ]
    assert any(node.op_type == "ReduceMean" for node in onnx.load_model(one).graph.node)


def test_tiles_know_no_cascade(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save_model(model(f"{WIDE} {MEAN} {EXCITE} y = Mul(t, g)"), path)
    done = run("convert", path, tmp_path / "out.onnx", "--cascade")
    assert done.returncode == 2
    assert b"--squeeze tile takes no --cascade" in done.stderr
