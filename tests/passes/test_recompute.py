"""Recompute: the map made twice, from a narrow value that is held; exact, found by dominators, undone byte for byte."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import network, se_body, se_weights, text_model
from tests.passes.test_spellings import sensible, spellings
from tests.spellings import model_of, noise_for
from tse_onnx import Frozen, Plan, Recompute, Tiling, UsageError
from tse_onnx.decision.analysis import analyse
from tse_onnx.decision.bounding import within
from tse_onnx.files.source import open_model
from tse_onnx.passes.blocks.choice import Site
from tse_onnx.passes.blocks.recompute import Recomputed

BLOCK = se_body("GlobalAveragePool", "Relu", "Sigmoid", False)


def _again(body, tag):
    """The same lines with names of their own, weights aside."""
    return re.sub(r"\b([dragesh])\b", rf"\g<1>{tag}", body)


def narrow(front="u = Conv(x, we)\nh = Relu(u)", body=BLOCK, after="y = Neg(s)", **options):
    """A block on a map of 8 channels that is made from one of 2."""
    random = np.random.default_rng(3)
    weights = se_weights() | {
        "we": random.standard_normal((8, 2, 1, 1)).astype(np.float32),
        "wp": random.standard_normal((2, 8, 1, 1)).astype(np.float32),
        "wd": random.standard_normal((8, 1, 3, 3)).astype(np.float32),
        "ws": random.standard_normal((8, 8, 1, 1)).astype(np.float32),
    }
    text = "\n".join((front, body, after))
    used = {name: array for name, array in weights.items() if re.search(rf"\b{name}\b", text)}
    return text_model(text, used, inputs="float[N, 2, 16, 12] x", **options)


def as_written(model, *batches):
    """The outputs without onnxruntime's optimisations, which would merge the copies again."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    opened = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in opened.get_inputs()]
    return opened.run(None, dict(zip(names, batches, strict=True)))


def _noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _same_bytes(one, other):
    return one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def exact(model, *batches, **options):
    """A conversion that changes no bit, is found again, and undone byte for byte."""
    result = tse_onnx.convert(model, tiling=Recompute(), **options)
    assert result.verification.passed
    assert all(check.exact for check in result.verification.blocks)
    for got, expected in zip(as_written(result.model, *batches), as_written(model, *batches), strict=True):
        assert got.tobytes() == expected.tobytes()
    again = tse_onnx.convert(result.model, tiling=Recompute(), verify=False, **options)
    assert again.serialized() == result.model.SerializeToString()
    assert _same_bytes(tse_onnx.restore(result.model).model, model)
    return result


def test_the_narrow_map_is_held_and_the_copies_share_the_weights():
    model = narrow("u = Conv(x, we)\nk = Relu(u)\nh = Conv<group = 8, pads = [1, 1, 1, 1]>(k, wd)")
    result = exact(model, _noise(3, 2, 16, 12))
    (figures,) = result.report.buffering.blocks
    assert (figures.before, figures.after, figures.waits) == (8 * 16 * 12, 2 * 16 * 12, "x")
    assert figures.macs_added == (8 * 2 + 8 * 9) * 16 * 12
    copies = [node for node in result.model.graph.node if "/again/" in node.name]
    assert [node.op_type for node in copies] == ["Conv", "Relu", "Conv", "GlobalAveragePool"]
    assert all(any(entry.key == "tse_onnx.block" for entry in node.metadata_props) for node in copies)
    assert [tensor.name for tensor in result.model.graph.initializer] == [
        tensor.name for tensor in model.graph.initializer
    ]
    assert [block.status for block in tse_onnx.find_blocks(result.model)] == ["recomputed"]
    assert result.blocks[0].choice == Recompute("x")


@pytest.mark.slow
@given(spelling=spellings)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_any_spelling(spelling):
    """The map is put together from a narrower one along its second axis."""
    spelling = sensible(spelling)
    model, _ = model_of(spelling)
    whole = noise_for(spelling)
    source = model.graph.input[0]
    part = np.ascontiguousarray(whole[:, : -(-whole.shape[1] // 2)])
    first = whole.shape[1] - part.shape[1]
    dims = source.type.tensor_type.shape.dim
    value = helper.make_tensor_value_info(
        "narrow", source.type.tensor_type.elem_type,
        [dims[0].dim_value or dims[0].dim_param or None, part.shape[1], *whole.shape[2:]],
    )  # fmt: skip
    nodes = [
        helper.make_node(
            "Split", ["narrow"], ["kept", "left"], name="cut", axis=1, split=[first, part.shape[1] - first]
        )
        if part.shape[1] > first and spelling.opset < 13
        else helper.make_node("Identity", ["narrow"], ["kept"], name="cut"),
        helper.make_node("Concat", ["narrow", "kept"], [source.name], name="wide", axis=1),
    ]
    if part.shape[1] > first and spelling.opset >= 13:
        nodes[0] = helper.make_node("Slice", ["narrow", "from", "to", "along"], ["kept"], name="cut")
        for name, number in (("from", 0), ("to", first), ("along", 1)):
            model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [number]))
    if first == 0:
        return
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    del model.graph.input[:]
    model.graph.input.append(value)
    result = exact(model, part)
    assert [one.waits for one in result.report.buffering.blocks] == ["narrow"]


def test_several_blocks_each_stop_at_the_scale_before():
    second = _again(BLOCK, "2")
    model = narrow(after=f"p = Conv(s, wp)\nu2 = Conv(p, we)\nh2 = Relu(u2)\n{second}\ny = Neg(s2)")
    result = exact(model, _noise(2, 2, 16, 12))
    assert [one.waits for one in result.report.buffering.blocks] == ["x", "p"]
    wider = narrow(after=f"h2 = Relu(s)\n{second}\ny = Neg(s2)")
    first, other = exact(wider, _noise(2, 2, 16, 12)).blocks
    assert first.status == "converted"
    assert (other.status, other.refusal.code) == ("refused", "recompute")
    assert "is the scale of another block, 'd'" in other.reason


def test_refused_blocks_count_as_what_they_hold():
    model = narrow(after=f"h2 = Relu(s)\n{_again(BLOCK, '2')}\ny = Neg(s2)")
    totals = tse_onnx.convert(model, tiling=Recompute(), verify=False).report.buffering.totals
    assert (totals.converted, totals.refused) == (1, 1)
    assert (totals.before, totals.after) == (2 * 8 * 192, (8 + 2) * 192)


# Graphs of elementwise operators on two inputs, each of one channel, a map of eight at the end.


@st.composite
def _graphs(draw):
    nodes, values = [], ["x", "z"][: draw(st.integers(1, 2))]
    inputs = list(values)
    for number in range(draw(st.integers(1, 10))):
        read = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
        nodes.append(helper.make_node("Concat", read, [f"v{number}"], name=f"n{number}", axis=1))
        values.append(f"v{number}")
    nodes.append(helper.make_node("Conv", [values[-1], "wide"], ["h"], name="widen"))
    return inputs, nodes


def _reaches(inputs, nodes, without):
    """Whether an input reaches `h` where a value is gone."""
    there = {name for name in inputs if name != without}
    for node in nodes:
        if any(name in there for name in node.input):
            there |= {name for name in node.output if name != without}
    return "h" in there


@pytest.mark.slow
@given(graph=_graphs())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_dominators_by_brute_force(graph):
    inputs, nodes = graph
    widths = dict.fromkeys(inputs, 1)
    for node in nodes[:-1]:
        widths[node.output[0]] = sum(widths[name] for name in node.input)
    model = text_model(
        BLOCK + "\ny = Neg(s)", se_weights(), inputs="float[N, 8, 4, 4] h", outputs="float[N, 8, 4, 4] y"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(_noise(8, widths[nodes[-1].input[0]], 1, 1), "wide"))
    del model.graph.input[:]
    for name in inputs:
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1, 4, 4]))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    (part,) = analyse(open_model(model)).parts
    (block,) = part.blocks
    found = {one.value for one in Site(part.scope, 17, False, part.blocks).upstream(block).values}
    assert found == {name for name in widths if not _reaches(inputs, nodes, name)}
    candidates = [widths[name] for name in found if widths[name] < 8]
    if candidates:
        result = exact(model, *(_noise(1, 1, 4, 4, seed=number) for number in range(len(inputs))))
        assert result.report.buffering.blocks[0].after == min(candidates) * 16
    else:
        assert tse_onnx.convert(model, tiling=Recompute(), verify=False).blocks[0].refusal.code == "recompute"


RANDOM = "draws random numbers: two copies would differ"


@pytest.mark.parametrize(
    ("front", "why"),
    [
        ("u = Conv(x, we)\nn = RandomNormalLike(u)\nh = Add(u, n)", RANDOM),
        ("u = Conv(x, we)\nn = RandomUniform<shape = [1, 8, 16, 12]>()\nh = Add(u, n)", RANDOM),
        ("u = Conv(x, we)\nb = Sigmoid(u)\nh = Bernoulli(b)", RANDOM),
        ("u = Conv(x, we)\nhalf = Constant<value = float {0.5}>()\n"
         "yes = Constant<value = bool {1}>()\nh = Dropout(u, half, yes)", RANDOM),
        ("u = Conv(x, we)\nm = ReduceMax<axes = [2]>(u)\nh = Sub(u, m)", "may need the whole map"),
        ("u = Conv(x, we)\nh = LpNormalization<axis = 2>(u)", "may need the whole map"),
        ("u = Conv(x, we)\nq = SequenceConstruct(u)\nzero = Constant<value = int64 {0}>()\nh = SequenceAt(q, zero)",
         "holds a state or graphs of its own"),
        ("u = Conv(x, we)\nyes = Constant<value = bool {1}>()\n"
         "h = If(yes)<then_branch = t () => (float[N, 8, 16, 12] p) { p = Relu(u) },"
         " else_branch = f () => (float[N, 8, 16, 12] q) { q = Neg(u) }>", "holds a state or graphs of its own"),
    ],
)  # fmt: skip
def test_what_is_never_computed_twice(front, why):
    result = tse_onnx.convert(narrow(front), tiling=Recompute(), verify=False)
    (decision,) = result.blocks
    assert (decision.status, decision.refusal.code) == ("refused", "recompute")
    assert why in decision.reason
    assert result.serialized() == narrow(front).SerializeToString()


def test_behind_what_is_random_there_may_be_something_narrow():
    model = narrow("n = RandomNormalLike(x)\nz = Add(x, n)\nu = Conv(z, we)\nh = Relu(u)")
    assert tse_onnx.convert(model, tiling=Recompute(), verify=False).report.buffering.blocks[0].waits == "z"
    harmless = narrow("o = Dropout(x)\nu = Conv(o, we)\nh = Relu(u)")
    assert exact(harmless, _noise(1, 2, 16, 12)).report.buffering.blocks[0].waits in ("x", "o")


def test_nothing_narrower_is_refused_with_advice_that_works(tmp_path):
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    path.write_bytes(network(16, 8).SerializeToString())
    done = command("convert", path, out, "--squeeze", "recompute", "--format", "json")
    first = validated(done.stdout, "report")["blocks"][0]
    assert (first["status"], first["reason_code"]) == ("refused", "recompute")
    assert "is made from is narrower" in first["reason"]
    assert first["reason"].endswith("give it rows, or leave it out")
    done = command("convert", path, out, "--squeeze", "recompute", "--rows", "block0_squeeze=3", "--format", "json")
    assert json.loads(done.stdout)["blocks"][0]["tiling"]["rows"] == 3


@pytest.mark.parametrize("spoil", ["function", "loop", "if"])
def test_in_a_body_or_a_function(spoil):
    inner = f"u = Conv(x, we)\nh = Relu(u)\n{BLOCK}"
    flat = narrow(after="y = Neg(s)")
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in flat.graph.initializer}
    if spoil == "if":
        lines = f"""yes = ReduceMax<keepdims = 0>(x)
        zero = Constant<value = float {{-100.0}}>()
        c = Greater(yes, zero)
        s = If(c)<then_branch = t () => (float[N, 8, 16, 12] s) {{ {inner} }},
            else_branch = f () => (float[N, 8, 16, 12] o) {{ o = Conv(x, we) }}>
        y = Neg(s)"""
        model = text_model(lines, weights, inputs="float[N, 2, 16, 12] x")
    elif spoil == "loop":
        lines = f"""three = Constant<value = int64 {{3}}>()
        yes = Constant<value = bool {{1}}>()
        o = Loop(three, yes, x)<body = b (int64 i, bool c, float[N, 2, 16, 12] v) =>
            (bool d_, float[N, 2, 16, 12] w) {{ d_ = Identity(c)
            {re.sub(chr(92) + "bx" + chr(92) + "b", "v", inner)}
            w = Conv(s, wp) }}>
        y = Conv(o, we)"""
        weights["wp"] = _noise(2, 8, 1, 1)
        model = text_model(lines, weights, inputs="float[N, 2, 16, 12] x")
    else:
        flat = narrow()
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>\n'
            "g (float[N, 2, 16, 12] x) => (float[N, 8, 16, 12] y) { s = own.block(x, we, w1, b1, w2, b2)\n y = Neg(s) }\n"
            f'<domain: "own", opset_import: ["" : 17]>\nblock (x, we, w1, b1, w2, b2) => (s) {{ {inner} }}'
        )
        model.graph.initializer.extend(flat.graph.initializer)
    result = exact(model, _noise(1, 2, 16, 12))
    assert [one.status for one in result.blocks] == ["converted"]
    assert result.verification.blocks


def test_beside_a_frozen_block_nothing_is_folded_that_is_copied():
    second = _again(BLOCK, "2")
    model = narrow(after=f"p = Conv(s, wp)\nu2 = Conv(p, we)\nh2 = Relu(u2)\n{second}\ny = Neg(s2)")
    plan = Plan(None, {"d": Frozen((0.5,) * 8), "d2": Recompute("s")})
    assert tse_onnx.convert(model, plan=plan, verify=False).blocks[1].status == "refused"  # s is as wide as the map
    weights = {"wq": _noise(32, 8, 1, 1), "w1b": _noise(4, 32, 1, 1), "w2b": _noise(32, 4, 1, 1)}
    lines = (
        "h2 = Conv(s, wq)\nd2 = GlobalAveragePool(h2)\nr2 = Conv(d2, w1b)\na2 = Relu(r2)\ne2 = Conv(a2, w2b)\n"
        "g2 = Sigmoid(e2)\ns2 = Mul(h2, g2)\ny = Neg(s2)"
    )
    model = narrow(after=lines, outputs="float[N, 32, 16, 12] y")
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    plan = Plan(None, {"d": Frozen((0.5,) * 8), "d2": Recompute()})
    result = tse_onnx.convert(model, plan=plan)
    assert [one.status for one in result.blocks] == ["converted"] * 2
    assert result.verification.passed
    assert _same_bytes(tse_onnx.restore(result.model).model, model)


def test_tiles_and_recompute_mix_and_come_one_after_the_other():
    second = _again(BLOCK, "2")
    model = narrow(after=f"p = Conv(s, wp)\nu2 = Conv(p, we)\nh2 = Relu(u2)\n{second}\ny = Neg(s2)")
    together = tse_onnx.convert(model, plan=Plan(Tiling(3), {"d2": Recompute()}))
    assert together.verification.passed
    assert [block.status for block in tse_onnx.find_blocks(together.model)] == ["tiled", "recomputed"]
    first = tse_onnx.convert(model, plan=Plan(None, {"d2": Recompute()}))
    both = tse_onnx.convert(first.model, rows=3)
    assert both.verification.passed
    assert [one.status for one in both.blocks] == ["converted", "unchanged"]
    assert both.blocks[1].reason == "is recomputed already, from 'p'; retile=True does it anew"
    assert both.report.buffering.blocks[1].after == 2 * 192
    assert _same_bytes(tse_onnx.restore(both.model).model, model)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_types(dtype):
    model = narrow()
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(dtype), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    try:
        as_written(model, _noise(1, 2, 16, 12).astype(dtype))
    except Exception:
        pytest.skip("onnxruntime has no such convolution")
    exact(model, _noise(1, 2, 16, 12).astype(dtype))


def test_a_size_that_stays_dynamic():
    model = narrow(outputs="float[N, 8, H, W] y")
    for axis, name in ((2, "H"), (3, "W")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    result = tse_onnx.convert(model, tiling=Recompute(), input_shapes={"x": (1, 2, 16, 12)}, dynamic=True)
    assert result.verification.passed
    assert result.report.buffering.blocks[0].after == 2 * 16 * 12
    batch = _noise(1, 2, 20, 9)
    assert as_written(result.model, batch)[0].tobytes() == as_written(model, batch)[0].tobytes()


def test_a_wrong_copy_is_found(monkeypatch):
    """The copies run as they are written: onnxruntime would merge only right ones."""
    import sys

    lowering = sys.modules["tse_onnx.passes.lowering.recompute"]
    honest = lowering._copy

    def careless(node, *rest, **options):
        made = honest(node, *rest, **options)
        if made.op_type == "Relu":
            made.op_type = "Abs"
        return made

    monkeypatch.setattr(lowering, "_copy", careless)
    with pytest.raises(tse_onnx.CheckFailed, match="differs from the original"):
        tse_onnx.convert(narrow(), tiling=Recompute())


@given(
    limit=st.integers(0, 60),
    blocks=st.lists(
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 19)), min_size=1, max_size=3), min_size=1, max_size=4
    ),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_best_within_a_limit_by_brute_force(limit, blocks):
    offered = [(20, [Recomputed("z", elements, macs, 1) for macs, elements in ways]) for ways in blocks]
    chosen = within(limit, offered)
    assert sum(way.macs for way in chosen if way) <= limit
    best = max(
        sum(20 - way.elements for way in some if way)
        for some in itertools.product(*((None, *ways) for _, ways in offered))
        if sum(way.macs for way in some if way) <= limit
    )
    assert sum(20 - way.elements for way in chosen if way) == best


def test_a_limit_of_macs(tmp_path):
    path, plan = tmp_path / "model.onnx", tmp_path / "plan.toml"
    models.save("efficientnet_b0_torchscript_17", path)
    whole = tse_onnx.buffering(path, tiling=Recompute()).totals
    assert (whole.before, whole.after, whole.macs_added) == (2_306_528, 715_008, 211_552_992)
    for percent in (5, 20):
        found = tse_onnx.buffering(path, plan=Plan(Recompute(), max_macs=percent))
        assert 0 < found.totals.macs_added <= 400e6 * percent / 100
        assert whole.after < found.totals.after < whole.before
        kept = next(one.decision for one in found.blocks if one.decision.status == "unchanged")
        assert f"{percent} % of the network's, the limit" in kept.reason
    plan.write_bytes(command("plan", path, "--squeeze", "recompute", "--max-macs", 20).stdout)
    assert "max_macs = 20\n" in plan.read_text()
    assert Plan.load(plan).max_macs == 20
    assert "the limit, have no room for it" in plan.read_text()
    done = command("report", path, "--plan", plan, "--format", "json", "--no-dataflow")
    assert json.loads(done.stdout)["totals"]["macs_added"] == found.totals.macs_added


@pytest.mark.slow
def test_efficientnet_equals_itself_bit_for_bit():
    model = models.load("efficientnet_b0_torchscript_17")
    batch = models.images("efficientnet_b0_torchscript_17", 1)
    result = exact(model, batch)
    assert result.report.buffering.totals.reduction >= 0.69
    assert result.report.buffering.totals.converted == 16


def test_the_command_line_and_the_plan_file(tmp_path):
    path, out, report, plan = (tmp_path / name for name in ("model.onnx", "out.onnx", "report.json", "plan.toml"))
    path.write_bytes(narrow().SerializeToString())
    done = command("convert", path, out, "--squeeze", "recompute", "--report", report, "--certify")
    assert done.returncode == 0, done.stderr.decode()
    assert b"Recomputed: d: holds 'x' instead" in done.stdout
    assert b"bit for bit" in done.stdout
    (block,) = validated(report.read_text(), "report")["blocks"]
    assert (block["status"], block["tiling"]["squeeze"], block["held"]) == ("converted", "recompute", "x")
    assert (block["buffer_before"], block["buffer_after"], block["macs_added"]) == (1536, 384, 3072)
    (listed,) = validated(command("inspect", out, "--format", "json").stdout, "inspect")["blocks"]
    assert listed["status"] == "recomputed"
    assert b"recomputed already, from 'x'" in command("explain", out, "d").stdout
    written = command("plan", path, "--squeeze", "recompute").stdout
    assert b'"d" = { squeeze = "recompute" }' in written
    plan.write_bytes(written)
    assert command("convert", path, tmp_path / "other.onnx", "--plan", plan).returncode == 0
    assert (tmp_path / "other.onnx").read_bytes() == out.read_bytes()
    assert command("restore", out, tmp_path / "back.onnx").returncode == 0
    assert (tmp_path / "back.onnx").read_bytes() == path.read_bytes()
    assert Plan.loads(Plan(None, {"b": Recompute("x"), "c": Recompute()}, max_macs=12.5).dumps()) == Plan(
        None, {"b": Recompute("x"), "c": Recompute()}, max_macs=12.5
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--squeeze", "recompute", "--rows", "3"], "--squeeze recompute takes no --rows"),
        (["--squeeze", "recompute", "--patch", "3"], "--squeeze recompute takes no --patch"),
        (["--squeeze", "recompute", "--axis", "1"], "--squeeze recompute takes no --axis"),
        (["--squeeze", "recompute", "--max-macs", "-1"], "--max-macs"),
        (["--rows", "3", "--max-macs", "5"], "no block is to be recomputed: add --squeeze recompute"),
    ],
)
def test_bad_options(options, complaint, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(narrow().SerializeToString())
    done = command("report", path, *options)
    assert done.returncode == 2
    assert complaint in done.stderr.decode()


def test_what_is_to_be_held_is_in_the_model(tmp_path):
    path, plan = tmp_path / "model.onnx", tmp_path / "plan.toml"
    path.write_bytes(narrow().SerializeToString())
    plan.write_text(Plan(None, {"d": Recompute("nope")}).dumps())
    for words in (("convert", path, tmp_path / "out.onnx"), ("report", path)):
        line = refused(command(*words, "--plan", plan))
        assert "the plan holds 'nope' in place of the map of 'd'; the model has no value of that name" in line
    assert not (tmp_path / "out.onnx").exists()


def test_a_limit_of_what_is_recomputed_goes_with_a_plan_that_recomputes(tmp_path):
    path, plan = tmp_path / "model.onnx", tmp_path / "plan.toml"
    path.write_bytes(narrow().SerializeToString())
    plan.write_text(Plan(None, {"d": Recompute()}).dumps())
    assert command("report", path, "--plan", plan, "--max-macs", "5").returncode == 0
    plan.write_text(Plan(None, {"d": None}, max_macs=5).dumps())  # as tune writes where tiles are better
    assert command("report", path, "--plan", plan).returncode == 0
    assert "no block is to be recomputed" in refused(command("report", path, "--plan", plan, "--max-macs", "6"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[blocks]\nb = { squeeze = "recompute", rows = 3 }', 'squeeze = "recompute" takes no rows'),
        ('[blocks]\nb = { squeeze = "recompute", held = 3 }', "held is 3, not a string"),
        ('[blocks]\nb = { squeeze = "recompute", held = "" }', "what is held is the name of a value"),
        ('[blocks]\nb = { rows = 3, held = "x" }', "takes no held"),
        ('max_macs = "much"', "max_macs is 'much', not a number"),
        ("max_macs = -1", "zero or more per cent"),
        ("max_macs = nan", "zero or more per cent"),
    ],
)
def test_bad_plans(text, complaint):
    with pytest.raises(UsageError) as raised:
        Plan.loads('schema = "tse-onnx/plan/1"\n' + text)
    assert complaint in str(raised.value)


@pytest.mark.parametrize(
    ("held", "why"),
    [("y", "'y' is not what all of 'h' is made from"), ("u", "'u' is no narrower than 'h'")],
)
def test_a_value_that_cannot_be_held(held, why):
    decision = tse_onnx.convert(narrow(), plan=Plan(None, {"d": Recompute(held)}), verify=False).blocks[0]
    assert decision.status == "refused"
    assert why in decision.reason


def test_refused_in_one_line(tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text('schema = "tse-onnx/plan/1"\nmax_macs = true\n')
    path = tmp_path / "model.onnx"
    path.write_bytes(narrow().SerializeToString())
    assert "max_macs is true, not a number" in refused(command("report", path, "--plan", plan))


@pytest.mark.parametrize("storage", ["shared", "per-reader"])
def test_the_dataflow_model_knows_what_waits(tmp_path, storage):
    """The figure of the gate is that of what is held, and not nothing."""
    path = tmp_path / "model.onnx"
    path.write_bytes(narrow().SerializeToString())
    done = command("report", path, "--squeeze", "recompute", "--storage", storage, "--format", "json")
    found = validated(done.stdout, "report")
    waits = [one for one in found["dataflow"]["after"]["tensors"] if one["gate"] is not None]
    assert [(one["tensor"], one["gate"]["elements"]) for one in waits] == [("x", 2 * 16 * 12)]
    assert [one["tensor"] for one in found["dataflow"]["before"]["tensors"] if one["gate"] is not None] == ["h"]
