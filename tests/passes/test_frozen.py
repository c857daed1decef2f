"""A frozen gate: the numbers of the plan in place of squeeze and excite, folded where that is exact."""

from __future__ import annotations

import re
import sys

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto, helper, numpy_helper

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import network, se_body, se_model, se_weights, some_input, text_model
from tests.passes.test_spellings import run, sensible, spellings
from tests.running import run as first_output
from tests.spellings import model_of, noise_for
from tse_onnx import Frozen, Plan, Tiling, UsageError


def _gate(channels, seed=0):
    return tuple(float(value) for value in np.random.default_rng(seed).uniform(0.1, 1.5, channels).astype(np.float32))


def _freeze(model, **options):
    names = {block.name: block.channels for block in tse_onnx.find_blocks(model, **options) if block.refusal is None}
    plan = Plan(None, {name: Frozen(_gate(channels)) for name, channels in names.items()})
    return tse_onnx.convert(model, plan=plan, **options)


@given(spelling=spellings)
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.slow
def test_any_spelling(spelling):
    """y is what numpy makes of the map and the plan's numbers, and the way back leads to the very bytes."""
    spelling = sensible(spelling)
    model, _ = model_of(spelling)
    result = _freeze(model)
    (decision,) = result.blocks
    assert decision.status == "converted"
    assert result.verification.passed
    x = noise_for(spelling)
    scaled = np.maximum(x, 0).astype(np.float64)
    if spelling.layout == "pooled-first":
        scaled = np.moveaxis(scaled, 1, -1)
    gate = np.array(_gate(6))
    last = spelling.layout in ("last", "pooled-last", "pooled-first")
    expected = scaled * (gate if last else gate.reshape(-1, *(1,) * len(spelling.extents)))
    (got,) = run(result.model, x, "y")
    np.testing.assert_allclose(
        got.astype(np.float64), expected, rtol={"float32": 1e-6, "float16": 2e-3}[spelling.dtype], atol=1e-6
    )
    assert not {"GlobalAveragePool", "ReduceMean", "AveragePool", "Sigmoid"} & {
        n.op_type for n in result.model.graph.node
    }
    back = tse_onnx.restore(result.model)
    assert back.model.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def _between(before, after, group=1):
    """A block with a convolution before it, behind it, both or none."""
    body = se_body("GlobalAveragePool", "Relu", "Sigmoid", False)
    lines = ["h = Conv<pads = [1, 1, 1, 1]>(x, wc, bc)" if before else "h = LeakyRelu(x)", body]
    lines.append(f"y = Conv<pads = [1, 1, 1, 1], group = {group}>(s, wd)" if after else "y = Neg(s)")
    random = np.random.default_rng(2)
    weights = se_weights() | {
        "wc": random.standard_normal((8, 8, 3, 3)).astype(np.float32),
        "bc": random.standard_normal(8).astype(np.float32),
        "wd": random.standard_normal((8, 8 // group, 3, 3)).astype(np.float32),
    }
    return text_model("\n".join(lines), {name: array for name, array in weights.items() if name in "\n".join(lines)})


def _by_numbers(model, gate, batch):
    """The original with its gate replaced by a constant, in as many words."""
    changed = type(model)()
    changed.CopyFrom(model)
    scale = next(node for node in changed.graph.node if node.output[0] == "s")
    scale.input[list(scale.input).index("g")] = "constant_gate"
    constant = np.array(gate, np.float32).reshape(1, -1, 1, 1)
    changed.graph.initializer.append(numpy_helper.from_array(constant, "constant_gate"))
    return first_output(changed, batch)


@pytest.mark.parametrize(
    ("before", "after", "group", "multiplied"),
    [(False, False, 1, True), (True, False, 1, False), (False, True, 1, False), (True, True, 1, False),
     (False, True, 2, False), (False, True, 8, False)],
)  # fmt: skip
def test_it_folds_into_the_convolution_beside_it(before, after, group, multiplied):
    model = _between(before, after, group)
    result = _freeze(model)
    assert result.verification.passed
    assert any(node.op_type == "Mul" for node in result.model.graph.node) == multiplied
    batch = some_input(model)
    got = first_output(result.model, batch)
    np.testing.assert_allclose(got, _by_numbers(model, _gate(8), batch), atol=1e-4)
    names = {tensor.name for tensor in result.model.graph.initializer}
    assert not names & {"w1", "b1", "w2", "b2"}  # nothing reads them any more
    assert [block.status for block in tse_onnx.find_blocks(result.model)] == ["frozen"]
    back = tse_onnx.restore(result.model)
    assert back.model.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def _value(name, dims=("N", 8, 16, 12)):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


@pytest.mark.parametrize("spoil", ["output", "second reader", "shared weight", "weight is input"])
def test_it_does_not_fold_where_somebody_else_would_notice(spoil):
    model = _between(False, True)
    if spoil == "output":
        model.graph.output.append(_value("s"))
    elif spoil == "second reader":
        model.graph.node.add(op_type="Neg", input=["s"], output=["z"])
        model.graph.output.append(_value("z"))
    elif spoil == "shared weight":
        model.graph.node.add(op_type="Conv", input=["x", "wd"], output=["z"])
        model.graph.output.append(_value("z", ("N", 8, 14, 10)))
    else:
        model.graph.input.append(_value("wd", [8, 8, 3, 3]))
    result = _freeze(model)
    assert result.verification.passed
    assert any(node.op_type == "Mul" for node in result.model.graph.node)


def test_half_precision():
    result = _freeze(se_model(dtype=np.float16))
    assert result.verification.passed
    assert result.verification.blocks


def test_two_blocks_that_share_a_convolution_fold_once():
    """Behind the first block and before the second stands the same convolution; its weights take one gate in."""
    body = se_body("GlobalAveragePool", "Relu", "Sigmoid", False)
    second = body
    for name in ("d", "r", "a", "e", "g", "s", "h"):
        second = re.sub(rf"\b{name}\b", f"{name}2", second)
    model = text_model(
        f"h = LeakyRelu(x)\n{body}\nh2 = Conv(s, wd)\n{second}\ny = Neg(s2)",
        se_weights() | {"wd": np.random.default_rng(2).standard_normal((8, 8, 1, 1)).astype(np.float32)},
    )
    result = _freeze(model)
    assert [decision.status for decision in result.blocks] == ["converted"] * 2
    assert result.verification.passed
    assert [node.op_type for node in result.model.graph.node].count("Mul") == 1


def test_a_second_conversion_leaves_it_alone_and_retile_starts_anew():
    model = network(16, 8)
    frozen = _freeze(model)
    again = tse_onnx.convert(frozen.model, rows=3, verify=False)
    assert again.serialized() == frozen.model.SerializeToString()
    assert [decision.reason for decision in again.blocks[:2]] == ["is frozen already; retile=True does it anew"] * 2
    assert {block.status for block in tse_onnx.find_blocks(frozen.model)} == {"frozen", "refused"}
    anew = tse_onnx.convert(frozen.model, rows=3, retile=True)
    assert [decision.tiling for decision in anew.blocks[:2]] == [Tiling(3)] * 2


def test_weights_in_a_file_of_their_own_are_left_there(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save_model(_between(True, True), path, save_as_external_data=True, location="weights", size_threshold=0)
    out = tmp_path / "out" / "model.onnx"
    out.parent.mkdir()
    result = tse_onnx.convert(path, out, plan=Plan(None, {"d": Frozen(_gate(8))}))
    assert result.verification.passed
    assert any(node.op_type == "Mul" for node in result.model.graph.node)
    assert tse_onnx.restore(out).model.SerializeToString(deterministic=True) == onnx.load_model(
        path, load_external_data=False
    ).SerializeToString(deterministic=True)


def test_the_report_says_what_was_saved():
    result = _freeze(network(16, 8))
    first, second, _ = result.report.buffering.blocks
    assert (first.before, first.after, first.descriptors) == (8 * 16 * 12, 0, 0)
    assert first.macs_added == -first.decision.block.anatomy.macs
    assert result.report.buffering.totals.reduction == 1.0


def test_a_plan_file_holds_the_gates(tmp_path):
    plan = Plan(
        Tiling(5), {"block0_squeeze": Frozen(_gate(8)), "block1_squeeze": None}, {"block0_squeeze": "as measured"}
    )
    assert Plan.loads(plan.dumps()) == plan
    path = tmp_path / "plan.toml"
    path.write_text(plan.dumps())
    result = tse_onnx.convert(network(16, 8), plan=Plan.load(path))
    assert [decision.reason for decision in result.blocks[:2]] == ["as measured", "the plan keeps its global mean"]


HEAD = 'schema = "tse-onnx/plan/1"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[blocks]\nb = { squeeze = "frozen" }', "block 'b' needs numbers, but [gates] has none for it"),
        ('[blocks]\nb = { squeeze = "frozen", rows = 3 }', "takes no rows"),
        ("gates = 3", "gates is 3, not a table"),
        ("[gates]\nb = 3", "the gate of block 'b' is 3, not a list of numbers"),
        ("[gates]\nb = []", "a frozen gate has a number for each channel"),
        ("[gates]\nb = [nan]", "not finite"),
        ('[gates]\nb = [1.0, "x"]', "holds 'x', which is no number"),
        ("[gates]\nb = [true]", "holds true, which is no number"),
        ('default = { squeeze = "frozen" }', "default needs [gates], which are for blocks"),
    ],
)
def test_bad_gates_in_plans(text, complaint):
    with pytest.raises(UsageError) as raised:
        Plan.loads(HEAD + text)
    assert complaint in str(raised.value)


def test_a_gate_of_another_size_fits_no_block(tmp_path):
    path, plan = tmp_path / "model.onnx", tmp_path / "plan.toml"
    path.write_bytes(network(16, 8).SerializeToString())
    plan.write_text(HEAD + '[blocks]\nblock0_squeeze = { squeeze = "frozen" }\n[gates]\nblock0_squeeze = [1.0, 2.0]\n')
    line = refused(command("convert", path, tmp_path / "out.onnx", "--plan", plan))
    assert "freezes 'block0_squeeze' with a gate of 2 numbers; its map has 8 channels" in line


def test_a_wrong_fold_is_found(monkeypatch):
    """The check runs the original's own nodes: a fold that forgets a factor does not pass it."""
    lowering = sys.modules["tse_onnx.passes.lowering.freeze"]
    monkeypatch.setattr(lowering, "_product", lambda values, factors: values)
    with pytest.raises(tse_onnx.CheckFailed, match="differs from the original"):
        _freeze(_between(False, True))


@pytest.mark.parametrize("name", ["efficientnet_b0_torchscript_17", "regnety_800mf_dynamo_18"])
@pytest.mark.slow
def test_bundled_networks(name):
    model = models.load(name)
    result = _freeze(model)
    assert result.verification.passed
    assert not any(node.op_type in ("AveragePool", "Resize") for node in result.model.graph.node)
    back = tse_onnx.restore(result.model)
    assert back.model.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_the_report_file_and_the_table_say_it(tmp_path):
    path, plan, report = tmp_path / "model.onnx", tmp_path / "plan.toml", tmp_path / "report.json"
    path.write_bytes(network(16, 8).SerializeToString())
    chosen = Plan(Tiling(5), {"block0_squeeze": Frozen(_gate(8))}, {"block0_squeeze": "its gate did not move"})
    plan.write_text(chosen.dumps())
    done = command("convert", path, tmp_path / "out.onnx", "--plan", plan, "--report", report)
    assert done.returncode == 0, done.stderr
    assert b"Frozen: block0_squeeze: its gate did not move" in done.stdout
    first = validated(report.read_text(), "report")["blocks"][0]
    assert (first["status"], first["tiling"]["squeeze"], first["buffer_after"]) == ("converted", "frozen", 0)
    listed = command("inspect", tmp_path / "out.onnx", "--format", "json")
    assert [block["status"] for block in validated(listed.stdout, "inspect")["blocks"]] == [
        "frozen",
        "tiled",
        "refused",
    ]
    assert b"block0_squeeze" in command("explain", tmp_path / "out.onnx", "block0_squeeze").stdout
    assert command("stream", tmp_path / "out.onnx").returncode == 0
