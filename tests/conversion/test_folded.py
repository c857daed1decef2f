"""Frozen gates in the weights of convolutions: what becomes of the weights, and the way back, also for files of before."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as command
from tests.conversion.test_other_tools import TOOLS, treated
from tests.graphs import se_body, se_weights, some_input, text_model
from tests.running import run
from tse_onnx import Frozen, Plan
from tse_onnx.errors import ModelError
from tse_onnx.passes.edit.excerpt import excerpt
from tse_onnx.passes.graph.scope import scopes
from tse_onnx.passes.lowering import lower
from tse_onnx.runtime.evaluate import evaluate

SEEDS = {"d": 2, "d2": 3}
OLD = Path(__file__).with_name("folded_into_constants.onnx")
NEW = ["d/folded_weight", "d/folded_bias", "d2/folded_weight"]


def _second(text: str) -> str:
    return re.sub(r"\b([draegsh]|[wb][12])\b", r"\g<1>2", text)


def _weights(*names: str) -> dict[str, np.ndarray]:
    """The weights of two blocks, and those of convolutions of one pixel."""
    random = np.random.default_rng(2)
    own = {name: random.standard_normal((8, 8, 1, 1)[: 1 if name == "bc" else 4]).astype(np.float32) for name in names}
    return se_weights() | {_second(name): array for name, array in se_weights(seed=4).items()} | own


def _model() -> ModelProto:
    """A block behind a convolution with a bias, and one before another."""
    lines = ["h = Conv(x, wc, bc)", se_body(), "h2 = LeakyRelu(s)", _second(se_body()), "y = Conv(s2, wd)"]
    return text_model("\n".join(lines), _weights("wc", "bc", "wd"))


def _between() -> ModelProto:
    """Two blocks with one convolution between them, which either gate could go into."""
    lines = ["h = LeakyRelu(x)", se_body(), "h2 = Conv(s, wd)", _second(se_body()), "y = Neg(s2)"]
    return text_model("\n".join(lines), _weights("wd"))


def _gate(name: str) -> tuple[float, ...]:
    return tuple(map(float, np.random.default_rng(SEEDS[name]).uniform(0.1, 1.5, 8).astype(np.float32)))


def _folded(model: ModelProto, *names: str) -> ModelProto:
    plan = Plan(None, {name: Frozen(_gate(name)) for name in names or SEEDS})
    result = tse_onnx.convert(model, plan=plan)
    assert [one.block.name for one in result.blocks if one.status == "converted"] == list(names or SEEDS)
    assert result.verification.passed
    return result.model


def _bytes(model: ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)


def _forgotten(model: ModelProto) -> ModelProto:
    for node in model.graph.node:
        del node.metadata_props[:]
    return model


def _renamed(model: ModelProto, old: str, new: str) -> ModelProto:
    for tensor in model.graph.initializer:
        tensor.name = new if tensor.name == old else tensor.name
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    return model


def test_the_weights_are_initializers_and_compute_what_constants_did():
    made, old = _folded(_model()), onnx.load_model(OLD)
    assert [node.op_type for node in made.graph.node] == ["Conv", "LeakyRelu", "Conv"]
    assert [node.op_type for node in old.graph.node if node.op_type != "Constant"] == ["Conv", "LeakyRelu", "Conv"]
    assert [tensor.name for tensor in made.graph.initializer] == NEW
    batch = some_input(made)
    np.testing.assert_array_equal(run(made, batch), run(old, batch))
    onnx.checker.check_model(made, full_check=True)


@pytest.mark.parametrize("forgets", [False, True], ids=["nodes", "model"])
@pytest.mark.parametrize("old", [False, True], ids=["today", "before"])
def test_what_was_folded_comes_back(old, forgets):
    made = onnx.load_model(OLD) if old else _folded(_model())
    if forgets:
        _forgotten(made)
    assert [block.status for block in tse_onnx.find_blocks(made)] == ["frozen", "frozen"]
    again = tse_onnx.convert(made, rows=3)
    assert again.serialized() == made.SerializeToString()
    back = tse_onnx.restore(made)
    assert back.exact
    assert back.blocks == ("d", "d2")
    assert _bytes(back.model) == _bytes(_model())
    anew = tse_onnx.convert(made, rows=3, retile=True)
    assert [decision.status for decision in anew.blocks] == ["converted", "converted"]


@pytest.mark.parametrize("forgets", [False, True], ids=["nodes", "model"])
@pytest.mark.parametrize("old", [False, True], ids=["today", "before"])
def test_what_was_folded_comes_back_by_its_names(old, forgets):
    """The graph was changed elsewhere, so that the digest is of no use."""
    made, model = onnx.load_model(OLD) if old else _folded(_model()), _model()
    for each in (made, model):
        each.graph.node.insert(0, helper.make_node("Identity", ["x"], ["extra"]))
    if forgets:
        _forgotten(made)
    back = tse_onnx.restore(made)
    assert (back.exact, back.blocks) == (False, ("d", "d2"))
    assert sorted(map(_bytes, back.model.graph.initializer)) == sorted(map(_bytes, model.graph.initializer))
    assert list(map(_bytes, back.model.graph.node)) == list(map(_bytes, model.graph.node))


@pytest.mark.parametrize("forgets", [False, True], ids=["nodes", "model"])
def test_a_convolution_takes_in_one_gate(forgets):
    """The second conversion finds a convolution with weights of its own again, which has to remember the first."""
    model = _between()
    once = _folded(model, "d")
    assert "Mul" not in [node.op_type for node in once.graph.node[:2]]
    if forgets:
        _forgotten(once)
    twice = _folded(once, "d2")
    assert [node.op_type for node in twice.graph.node].count("Mul") == 1
    assert [block.status for block in tse_onnx.find_blocks(twice)] == ["frozen", "frozen"]
    assert _bytes(tse_onnx.restore(twice).model) == _bytes(model)
    if forgets:  # else the second step's digest is that of a graph that remembers
        assert _bytes(tse_onnx.restore(_forgotten(twice)).model) == _bytes(model)


@pytest.mark.parametrize("name", ["d2/folded_weight", "x"])
def test_weights_and_values_by_other_names_are_refused_in_one_line(tmp_path, name):
    made = _renamed(_folded(_model()), name, "other")
    if name == "x":
        made.graph.input[0].name = "other"
    with pytest.raises(ModelError, match="block 'd"):
        tse_onnx.restore(_forgotten(made))
    (tmp_path / "in.onnx").write_bytes(made.SerializeToString())
    refused(command("restore", tmp_path / "in.onnx", tmp_path / "out.onnx"))
    assert not (tmp_path / "out.onnx").exists()


def test_nodes_by_other_names():
    made = _folded(_model())
    for number, node in enumerate(_forgotten(made).graph.node):
        node.name = f"node_{number}"
    back = tse_onnx.restore(made)
    assert (back.exact, back.blocks) == (False, ("d", "d2"))
    batch = some_input(made)
    np.testing.assert_array_equal(run(back.model, batch), run(_model(), batch))


def _body(model: ModelProto) -> ModelProto:
    """The graph as a branch of an If, with its weights in there."""
    inner = onnx.GraphProto()
    inner.CopyFrom(model.graph)
    del inner.input[:]
    inner.name, inner.output[0].name = "then", "inner"
    inner.node[-1].output[0] = "inner"
    inner.node[0].input[0] = "i"
    inner.node.insert(0, helper.make_node("Identity", ["x"], ["i"]))
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["o"])], "else", [], [_value("o")])
    outer = text_model("")
    outer.graph.input.append(helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []))
    outer.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=other, name="if"))
    return outer


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 8, 16, 12])


def test_in_a_body_the_weights_are_the_bodys():
    model = _body(_model())
    made = _folded(model)
    then = next(attribute.g for attribute in made.graph.node[0].attribute if attribute.name == "then_branch")
    assert [tensor.name for tensor in then.initializer] == NEW
    assert not made.graph.initializer
    assert _bytes(tse_onnx.restore(made).model) == _bytes(model)


def test_weights_of_others_in_files_are_carried(tmp_path):
    """The convolutions' own weights are in the model, all others in a file."""
    path, out = tmp_path / "model.onnx", tmp_path / "out" / "model.onnx"
    out.parent.mkdir()
    model = _model()
    model.graph.initializer.append(numpy_helper.from_array(np.arange(4096, dtype=np.float32), "large"))
    model.graph.node.append(helper.make_node("Identity", ["large"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [4096]))
    onnx.save_model(model, path, save_as_external_data=True, location="weights", size_threshold=2048)
    result = tse_onnx.convert(path, out, plan=Plan(None, {name: Frozen(_gate(name)) for name in SEEDS}))
    assert result.verification.passed
    assert [tensor.name for tensor in onnx.load_model(out).graph.initializer] == ["large", *NEW]
    assert (out.parent / "weights").read_bytes() == (tmp_path / "weights").read_bytes()
    tse_onnx.restore(out, tmp_path / "out" / "back.onnx")
    assert (tmp_path / "out" / "back.onnx").read_bytes() == path.read_bytes()


def test_the_commands_take_it(tmp_path):
    path = tmp_path / "folded.onnx"
    onnx.save_model(_folded(_model()), path)
    said = command("explain", path, "d").stdout.decode()
    assert ("Conv 's' holds the gate that scales 'h'" in said, "multiplies" in said) == (True, False)
    for words in (["stream"], ["inspect"], ["check", "--target", "onnx2torch"]):
        done = command(words[0], path, *words[1:])
        assert done.returncode == 0, done.stderr or done.stdout
    old = command("check", OLD, "--target", "onnx2torch")
    assert (old.returncode, b"constant nodes" in old.stdout) == (1, True)


def test_a_target_that_takes_no_constants_for_weights_takes_these():
    plan = Plan(None, {name: Frozen(_gate(name)) for name in SEEDS})
    made = tse_onnx.convert(_model(), plan=plan, target="onnx2torch")
    assert [decision.status for decision in made.blocks] == ["converted", "converted"]


def test_an_excerpt_has_the_new_weights():
    model = _model()
    (scope,) = scopes(model, {}, evaluate)
    block = next(block for block in tse_onnx.find_blocks(model) if block.name == "d2")
    edit = lower(block, Frozen(_gate("d2")), scope, set())
    part = excerpt(scope.index, {"h2"}, ["y"], edit)
    assert [node.op_type for node in part.nodes] == ["Conv"]
    assert [tensor.name for tensor in part.weights] == ["d2/folded_weight"]
    assert not part.missing


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_other_tools_keep_what_the_way_back_needs(tmp_path, monkeypatch, tool):
    monkeypatch.chdir(tmp_path)
    model = _model()
    left = treated(tool, _folded(model))
    if tool == "onnxruntime, extended":  # one convolution is fused with what stands behind it, and is no Conv any more
        with pytest.raises(ModelError, match="block 'd' was edited"):
            tse_onnx.restore(left)
        return
    back = tse_onnx.restore(left).model
    assert [block.status for block in tse_onnx.find_blocks(back)] == ["convertible", "convertible"]
    batch = some_input(model)
    found = run(back, batch.astype(np.float16) if "half" in tool else batch).astype(np.float64)
    wanted = run(model, batch)
    tolerance = 5e-3 if "half" in tool else 1e-5
    assert np.max(np.abs(found - wanted)) <= tolerance * np.max(np.abs(wanted))
