"""The gates of the frame before: against their definition, in the model's own inputs and outputs, and undone again."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import network, se_body, se_model, se_weights, some_input, text_model
from tests.passes.test_spellings import run, sensible, spellings
from tests.spellings import CHANNELS, model_of, noise_for
from tse_onnx import Frozen, Plan, Previous, Recompute, Tiling, UsageError

BLOCK = se_body("GlobalAveragePool", "Relu", "Sigmoid", False)


def opened(model):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def film(model, frames, gates=()):
    """The outputs for each frame, every gate fed back by the names alone."""
    session = opened(model)
    names = [value.name for value in session.get_outputs()]
    source = session.get_inputs()[0].name
    fed, found = dict(gates), []
    for frame in frames:
        found.append(dict(zip(names, session.run(None, {source: frame, **fed}), strict=True)))
        fed = {
            name.removesuffix("gate_out") + "gate_in": value
            for name, value in found[-1].items()
            if name.endswith(".gate_out")
        }
    return found


def _same_bytes(one, other):
    return one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def _by_definition(model, gate, spelling, frame, before):
    """y, written out: the map of a frame times what the original's gate is for the frame before."""
    relu = np.maximum(frame, 0)
    scaled = np.moveaxis(relu, 1, -1) if spelling.layout == "pooled-first" else relu
    (value,) = run(model, before, gate)
    return scaled * np.broadcast_to(value, scaled.shape)


@pytest.mark.slow
@given(spelling=spellings, first=st.one_of(st.just(None), st.lists(st.floats(-2, 2, width=16), min_size=CHANNELS,
                                                                   max_size=CHANNELS)))  # fmt: skip
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_two_frames_of_any_spelling(spelling, first):
    spelling = sensible(spelling)
    model, gate = model_of(spelling)
    choice = Previous() if first is None else Previous(tuple(first))
    result = tse_onnx.convert(model, tiling=choice)
    assert result.verification.passed
    assert [one.status for one in result.blocks] == ["converted"]
    one, two = noise_for(spelling), np.ascontiguousarray(noise_for(spelling)[..., ::-1, :] * 0.5)
    start, then = film(result.model, [one, two])
    bound = {"float32": 1e-5, "float16": 2e-2}[spelling.dtype]
    expected = _by_definition(model, gate, spelling, two, one)
    assert np.allclose(then["y"].astype(float), expected.astype(float), bound, bound * np.abs(expected).max())
    ends = [value.type.tensor_type.shape for value in (result.model.graph.input[1], result.model.graph.output[1])]
    sizes = [[dim.dim_value for dim in end.dim] for end in ends]
    assert sizes[0] == sizes[1]
    assert not any(dim.dim_param for dim in ends[0].dim)  # of the batch, or of one sample
    channel = [dim.dim_value for dim in ends[0].dim].index(CHANNELS)
    assert start[result.model.graph.output[1].name].shape[channel] == CHANNELS
    if first is not None:
        relu = np.maximum(one, 0)
        last = spelling.layout in ("last", "pooled-last", "pooled-first")
        scaled = np.moveaxis(relu, 1, -1) if spelling.layout == "pooled-first" else relu
        along = [-1 if axis == (relu.ndim - 1 if last else 1) else 1 for axis in range(relu.ndim)]
        wanted = scaled * np.reshape(np.array(first, scaled.dtype), along)
        assert np.array_equal(start["y"], wanted)
    again = tse_onnx.convert(result.model, tiling=choice, verify=False)
    assert again.serialized() == result.model.SerializeToString()
    assert _same_bytes(tse_onnx.restore(result.model).model, model)


def test_the_model_gains_a_pair_for_each_block_and_nothing_else():
    model = network(16, 8)
    result = tse_onnx.convert(model, tiling=Previous((0.25,)))
    graph = result.model.graph
    names = ["block0_squeeze", "block1_squeeze"]
    assert [value.name for value in graph.input] == ["x", *(f"{name}.gate_in" for name in names)]
    assert [value.name for value in graph.output] == ["y", *(f"{name}.gate_out" for name in names)]
    assert [tensor.name for tensor in graph.initializer[-2:]] == [f"{name}.gate_in" for name in names]
    assert graph.initializer[:-2] == model.graph.initializer
    assert all((onnx.numpy_helper.to_array(tensor) == 0.25).all() for tensor in graph.initializer[-2:])
    (first, second), totals = result.report.buffering.blocks[:2], result.report.buffering.totals
    assert (first.before, first.after, first.held, first.macs_added) == (8 * 16 * 12, 8, 8, 0)
    assert (second.before, second.after, second.waits) == (8 * 8 * 12, 8, "block1_squeeze.gate_in")
    assert totals.after == 16
    assert [block.status for block in tse_onnx.find_blocks(result.model)[:2]] == ["previous"] * 2
    again = tse_onnx.convert(result.model, rows=3, verify=False)
    assert again.blocks[0].reason == "is scaled by the gates of the frame before already; retile=True does it anew"
    assert again.report.buffering.totals.after == 16
    tiled = tse_onnx.convert(result.model, rows=3, retile=True)
    assert tiled.serialized() == tse_onnx.convert(model, rows=3).serialized()


def test_inputs_without_defaults_are_fed_them_and_restored_all_the_same():
    """As tools need it that take an input with a default for a constant."""
    model = network(16, 8)
    made = tse_onnx.convert(model, tiling=Previous((0.25,))).model
    frames = np.random.default_rng(4).standard_normal((2, 1, 8, 16, 12)).astype(np.float32)
    wanted = film(made, frames)
    assert not tse_onnx.check(made, "tract").passed
    first = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in made.graph.initializer[-2:]}
    del made.graph.initializer[-2:]
    assert tse_onnx.check(made, "tract").passed
    for one, other in zip(film(made, frames, first), wanted, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in other)
    for node in (False, True):
        if node:
            for each in made.graph.node:
                del each.metadata_props[:]
        back = tse_onnx.restore(made)
        assert back.exact
        assert _same_bytes(back.model, model)


def test_a_scene_that_stands_still_is_the_original_after_a_frame_for_each_block():
    model = network(16, 16, 8)
    result = tse_onnx.convert(model, tiling=Previous())
    x = np.random.default_rng(2).standard_normal((2, 8, 16, 12)).astype(np.float32)
    (expected,) = opened(model).run(None, {"x": x})
    found = [frame["y"] for frame in film(result.model, [x] * 5)]
    assert [bool(np.allclose(one, expected, 1e-5, 1e-6)) for one in found] == [False, False, False, True, True]
    assert [drift.max_abs for drift in result.verification.drift] == [0.0]
    assert "stands still" in result.verification.notes[0]


def test_a_batch_is_streams_side_by_side():
    """Sample by sample the same as each stream alone, and a first frame's gates serve any batch."""
    result = tse_onnx.convert(network(16, 8), tiling=Previous((0.5,)))
    frames = np.random.default_rng(4).standard_normal((3, 2, 8, 16, 12)).astype(np.float32)
    together = film(result.model, frames)
    for sample in range(2):
        alone = film(result.model, frames[:, sample : sample + 1])
        for one, other in zip(together, alone, strict=True):
            assert np.allclose(one["y"][sample], other["y"][0], 1e-5, 1e-6)
    fixed = tse_onnx.convert(se_model(batch=3), tiling=Previous((0.5,)))
    assert fixed.verification.passed
    assert list(fixed.model.graph.initializer[-1].dims) == [3, 8, 1, 1]


def test_mixed_with_every_other_choice():
    second, third, fourth = ("2", "3", "4")
    lines = ["h = Relu(x)", BLOCK]
    weights = se_weights() | {"wp": np.random.default_rng(3).standard_normal((8, 8, 1, 1)).astype(np.float32)}
    for tag, before in ((second, ""), (third, second), (fourth, third)):
        body = BLOCK
        for letter in "hdraegs":
            body = body.replace(f"{letter} =", f"{letter}{tag} =").replace(f"({letter}", f"({letter}{tag}")
            body = body.replace(f", {letter})", f", {letter}{tag})")
        lines += [f"h{tag} = Conv(s{before}, wp)", body]
    model = text_model("\n".join([*lines, "y = Neg(s4)"]), weights)
    plan = Plan(Tiling(3), {"d": Previous(), "d2": Frozen((0.5,) * 8), "d4": Previous((0.5,))})
    result = tse_onnx.convert(model, plan=plan)
    assert result.verification.passed
    assert [block.status for block in tse_onnx.find_blocks(result.model)] == ["previous", "frozen", "tiled", "previous"]
    assert _same_bytes(tse_onnx.restore(result.model).model, model)
    first = tse_onnx.convert(model, plan=Plan(None, {"d3": Previous()}))
    both = tse_onnx.convert(first.model, plan=Plan(Tiling(5), {"d": Previous()}))
    assert both.verification.passed
    assert _same_bytes(tse_onnx.restore(both.model).model, model)


def test_a_recomputed_block_beside():
    weights = se_weights() | {
        "we": np.random.default_rng(3).standard_normal((8, 8, 1, 1)).astype(np.float32),
        "wn": np.random.default_rng(5).standard_normal((2, 8, 1, 1)).astype(np.float32),
        "ww": np.random.default_rng(6).standard_normal((8, 2, 1, 1)).astype(np.float32),
    }
    body = BLOCK
    for letter in "hdraegs":
        body = body.replace(f"{letter} =", f"{letter}2 =").replace(f"({letter}", f"({letter}2")
        body = body.replace(f", {letter})", f", {letter}2)")
    model = text_model(f"h = Conv(x, we)\n{BLOCK}\nn = Conv(s, wn)\nh2 = Conv(n, ww)\n{body}\ny = Neg(s2)", weights)
    result = tse_onnx.convert(model, plan=Plan(None, {"d": Previous(), "d2": Recompute()}), certify=True)
    assert result.verification.passed
    assert [one.status for one in result.blocks] == ["converted"] * 2


def _as(dtype):
    """A block of linear layers, which onnxruntime has in every type, in an element type of onnx."""
    body = """h = Relu(x)
        d = ReduceMean<axes = [2, 3], keepdims = 0>(h)
        r = MatMul(d, w1)
        a = Relu(r)
        e = MatMul(a, w2)
        f = Sigmoid(e)
        g = Unsqueeze(f, last)
        s = Mul(h, g)
        y = Neg(s)"""
    model = text_model(body, {"last": np.array([2, 3])})
    for name, shape in (("w1", (8, 4)), ("w2", (4, 8))):
        values = np.random.default_rng(1).standard_normal(shape).reshape(-1).tolist()
        model.graph.initializer.append(onnx.helper.make_tensor(name, dtype, shape, values))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = dtype
    return model


@pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE", "BFLOAT16"])
def test_other_types(kind):
    wanted = getattr(onnx.TensorProto, kind)
    model = _as(wanted)
    result = tse_onnx.convert(model, tiling=Previous((0.5,)))
    assert result.verification.passed
    assert [one.status for one in result.blocks] == ["converted"]
    assert result.model.graph.initializer[-1].data_type == wanted
    assert {value.type.tensor_type.elem_type for value in result.model.graph.output} == {wanted}
    assert _same_bytes(tse_onnx.restore(result.model).model, model)


def test_a_size_that_stays_dynamic():
    result = tse_onnx.convert(se_model("H", "W"), tiling=Previous(), input_shapes={"x": (1, 8, 9, 7)}, dynamic=True)
    assert result.verification.passed
    ends = [result.model.graph.input[1], result.model.graph.output[1]]
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in ends] == ["", "N"]
    frames = [some_input(se_model(20, 9), seed=number) for number in range(2)]
    assert film(result.model, frames)[1]["y"].shape == (2, 8, 20, 9)


def test_after_another_tool_dropped_the_metadata_of_nodes():
    model = network(16, 8)
    result = tse_onnx.convert(model, tiling=Previous())
    for node in result.model.graph.node:
        del node.metadata_props[:]
    assert [block.status for block in tse_onnx.find_blocks(result.model)[:2]] == ["previous"] * 2
    back = tse_onnx.restore(result.model)
    assert back.exact
    assert _same_bytes(back.model, model)


def test_after_another_tool_changed_the_graph():
    model = network(16, 8)
    result = tse_onnx.convert(model, tiling=Previous())
    result.model.graph.node[-1].name = "another"
    result.model.graph.node.insert(0, onnx.helper.make_node("Relu", ["x"], ["x_positive"], name="new"))
    result.model.graph.node[1].input[0] = "x_positive"
    back = tse_onnx.restore(result.model)
    assert not back.exact
    assert [value.name for value in (*back.model.graph.input, *back.model.graph.output)] == ["x", "y"]
    assert not any("gate_" in name for node in back.model.graph.node for name in (*node.input, *node.output))
    assert [tensor.name for tensor in back.model.graph.initializer] == [one.name for one in model.graph.initializer]


# Refusals.


def _in_a_body(kind):
    inner, weights = f"h = Relu(x)\n{BLOCK}", se_weights()
    if kind == "if":
        lines = f"""yes = ReduceMax<keepdims = 0>(x)
        zero = Constant<value = float {{-100.0}}>()
        c = Greater(yes, zero)
        s = If(c)<then_branch = t () => (float[N, 8, 16, 12] s) {{ {inner} }},
            else_branch = f () => (float[N, 8, 16, 12] o) {{ o = Relu(x) }}>
        y = Neg(s)"""
        return text_model(lines, weights)
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>\n'
        "g (float[N, 8, 16, 12] x) => (float[N, 8, 16, 12] y) { s = own.block(x, w1, b1, w2, b2)\n y = Neg(s) }\n"
        f'<domain: "own", opset_import: ["" : 17]>\nblock (x, w1, b1, w2, b2) => (s) {{ {inner} }}'
    )
    model.graph.initializer.extend(text_model("y = Relu(x)", weights).graph.initializer)
    return model


def _clash(name):
    model = network(16, 8)
    model.graph.node.append(onnx.helper.make_node("Relu", ["y"], [name], name="other"))
    model.graph.output.append(onnx.ValueInfoProto(name=name, type=model.graph.output[0].type))
    return model


def _clip():
    """Clips of three frames, which become a batch: what clip t hands on is of other frames than those of clip t + 1."""
    body = f"k = Reshape(x, frames)\nh = Relu(k)\n{BLOCK}\ny = Neg(s)"
    weights = se_weights() | {"frames": np.array([6, 8, 16, 12])}
    return text_model(body, weights, inputs="float[2, 3, 8, 16, 12] x", outputs="float[6, 8, 16, 12] y")


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (_in_a_body("if"), "stands in then_branch of If 's', and what is made there for the next frame cannot leave"),
        (_in_a_body("function"), "stands in function 'block'"),
        (se_model(ir=3, opset=8), "the model is of IR version 3, in which an input has no default"),
        (_clip(), "the map of 'd' is a batch of 6 where 'x', an input, is one of 2: frames of one stream may lie side"),
        (_clash("block0_squeeze.gate_in"), "the model has a value 'block0_squeeze.gate_in' already"),
        (_clash("block0_squeeze.gate_out"), "the model has a value 'block0_squeeze.gate_out' already"),
        (text_model(BLOCK.replace("e = ", "n = ").replace("Sigmoid(e)", "Sigmoid(e)").replace(
            "g = ", "sizes = Constant<value = int64[4] {1, 8, 16, 12}>()\ne = Expand(n, sizes)\ng = ").replace(
            "(h)", "(x)").replace("(h,", "(x,") + "\ny = Neg(s)", se_weights()), "is not the last before the scale"),
    ],
    ids=["if", "function", "ir", "clip", "in", "out", "spread"],
)  # fmt: skip
def test_refused_with_a_reason(model, why, tmp_path):
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    path.write_bytes(model.SerializeToString())
    done = command("convert", path, out, "--squeeze", "previous", "--format", "json")
    assert done.returncode == 0, done.stderr.decode()
    blocks = validated(done.stdout, "report")["blocks"]
    first = next(block for block in blocks if block["reason_code"] == "previous")
    assert why in first["reason"]
    assert first["status"] == "refused"
    if len(blocks) == 1:  # it holds what it held, and the file is what it was
        assert first["buffer_before"] == first["buffer_after"] > 0
        assert out.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("count", [2, 9])
def test_numbers_for_another_block(count, tmp_path):
    path, plan = tmp_path / "model.onnx", tmp_path / "plan.toml"
    path.write_bytes(network(16, 8).SerializeToString())
    plan.write_text(Plan(None, {"block0_squeeze": Previous((0.5,) * count)}).dumps())
    said = refused(command("convert", path, tmp_path / "out.onnx", "--plan", plan))
    assert f"scales a first frame at 'block0_squeeze' by {count} numbers; its map has 8 channels" in said
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("numbers", [(), (float("nan"),), (float("inf"), 1.0)])
def test_numbers_that_scale_nothing(numbers):
    with pytest.raises(UsageError, match="first frame is scaled by"):
        Previous(numbers)


# Plans, reports, commands.


def test_plan_files():
    plan = Plan(Previous(), {"a": Previous((0.5,)), "b": Previous((0.25, 0.1)), "c": None, "d": Previous()})
    text = plan.dumps()
    assert Plan.loads(text) == plan
    assert '"a" = { squeeze = "previous" }' in text
    assert '[first]\n"a" = [0.5]\n"b" = [0.25, 0.1]\n' in text
    assert Plan.loads(text.replace('"b" = [0.25, 0.1]', "")).choices["b"] == Previous()
    with pytest.raises(UsageError, match="first is for block 'e', which has no line in blocks"):
        Plan.loads(text.replace('"b" = [0.25', '"e" = [0.25'))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('[first]\nb = 0.5', "the first gate of block 'b' is 0.5, not a list of numbers"),
        ('[first]\nb = ["x"]', "the first gate of block 'b' holds 'x', which is no number"),
        ('[first]\nb = []', "a first frame is scaled by a number for each channel, or one for all"),
        ('[first]\nb = [nan]', "holds a number that is not finite"),
        ('[blocks]\nb = { squeeze = "previous", rows = 3 }', 'squeeze = "previous" takes no rows'),
    ],
)  # fmt: skip
def test_bad_plans(line, complaint):
    with pytest.raises(UsageError) as raised:
        Plan.loads('schema = "tse-onnx/plan/1"\n' + line)
    assert complaint in str(raised.value)


def test_the_command_line(tmp_path):
    path, out, report, plan = (tmp_path / name for name in ("model.onnx", "out.onnx", "report.json", "plan.toml"))
    path.write_bytes(network(16, 8).SerializeToString())
    done = command("convert", path, out, "--squeeze", "previous", "--report", report, "--certify")
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode()
    assert (
        "Previous: block0_squeeze: feed 'block0_squeeze.gate_out' [N, 8, 1, 1] back as 'block0_squeeze.gate_in' with "
        "the next frame; the first has 1" in said
    )
    assert "bit for bit" in said
    block = validated(report.read_text(), "report")["blocks"][0]
    assert (block["status"], block["tiling"]["squeeze"], block["held"]) == (
        "converted", "previous", "block0_squeeze.gate_in",
    )  # fmt: skip
    assert block["frames"] == {
        "input": "block0_squeeze.gate_in", "output": "block0_squeeze.gate_out", "shape": [None, 8, 1, 1], "first": [1.0],
    }  # fmt: skip
    listed = validated(command("inspect", out, "--format", "json").stdout, "inspect")["blocks"]
    assert listed[0]["status"] == "previous"
    assert b"scaled by the gates of the frame before already" in command("explain", out, "block0_squeeze").stdout
    again = validated(command("report", out, "--format", "json").stdout, "report")["blocks"][0]
    assert again["frames"]["output"] == "block0_squeeze.gate_out"
    plan.write_bytes(command("plan", path, "--squeeze", "previous").stdout)
    assert '"block0_squeeze" = { squeeze = "previous" }' in plan.read_text()
    assert command("convert", path, tmp_path / "other.onnx", "--plan", plan).returncode == 0
    assert (tmp_path / "other.onnx").read_bytes() == out.read_bytes()
    assert command("restore", out, tmp_path / "back.onnx").returncode == 0
    assert (tmp_path / "back.onnx").read_bytes() == path.read_bytes()
    done = command("convert", path, out, "--squeeze", "previous", "--rows", "3")
    assert "--squeeze previous takes no --rows" in refused(done)


def test_no_barrier_is_left(tmp_path):
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    path.write_bytes(network(16, 8).SerializeToString())
    assert command("convert", path, out, "--squeeze", "previous", "--no-verify").returncode == 0
    flow = tse_onnx.stream(out)
    before = tse_onnx.stream(path)
    assert flow.held_elements < before.held_elements if hasattr(flow, "held_elements") else True
    said = json.loads(command("stream", out, "--format", "json").stdout)
    assert "block0_squeeze.gate_out" in json.dumps(said)


# Faults.


@pytest.mark.parametrize("fault", ["gate stays", "wrong gate out", "wrong first", "extra output"])
def test_a_wrong_edit_is_found(fault, monkeypatch):
    from dataclasses import replace

    from tse_onnx.passes.lowering import previous
    from tse_onnx.passes.lowering.draft import Draft

    honest_rescaled, honest_node, honest_default = previous.rescaled, Draft.node, previous._default

    def node(self, op, role, inputs, **options):
        if role == "previous/gate" and fault == "wrong gate out":
            inputs = [self.anatomy.squeeze.output]
        return honest_node(self, op, role, inputs, **options)

    def rescaled(draft, gate, position):
        honest_rescaled(draft, draft.anatomy.gate if fault == "gate stays" else gate, position)

    def default(form, *rest):
        return honest_default(replace(form, first=(0.75,)) if fault == "wrong first" else form, *rest)

    monkeypatch.setattr(previous, "rescaled", rescaled)
    monkeypatch.setattr(previous, "_default", default)
    monkeypatch.setattr(Draft, "node", node)
    if fault == "extra output":
        from tse_onnx.passes.edit import splice

        honest = splice.splice

        def careless(graph, edits):
            honest(graph, edits)
            graph.output.append(graph.output[-1])

        monkeypatch.setattr(splice, "splice", careless)
    with pytest.raises(tse_onnx.CheckFailed) as raised:
        tse_onnx.convert(network(16, 8), tiling=Previous())
    assert ("outside the edit" if fault == "extra output" else "differs from the original") in str(raised.value)
