"""Verification fails when the rewrite is wrong: every sabotage is seen by the right check, and nothing is written."""

import os
import re

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import network, se_model, text_model
from tse_onnx.conversion import convert as conversion
from tse_onnx.runtime.session import Session


def _nodes(model, op):
    return [node for node in model.graph.node if node.op_type == op]


def _constant(model, value):
    """The Constant nodes whose values `value` accepts, as arrays that can be put back."""
    for node in _nodes(model, "Constant"):
        (attribute,) = node.attribute
        array = numpy_helper.to_array(attribute.t)
        if value(array):
            yield attribute.t, array


def wrong_pads(model):
    (pool,) = _nodes(model, "AveragePool")
    (pads,) = [attribute for attribute in pool.attribute if attribute.name == "pads"]
    pads.ints[:] = [pads.ints[2], 0, 0, 0]  # the short tile first instead of last


def padding_counted(model):
    (pool,) = _nodes(model, "AveragePool")
    (flag,) = [attribute for attribute in pool.attribute if attribute.name == "count_include_pad"]
    flag.i = 1


def wrong_scales(model):
    """Tiles that drift, on a map of the right size."""
    for tensor, array in _constant(model, lambda array: array.dtype == np.float32 and array.size == 4):
        tensor.CopyFrom(numpy_helper.from_array(array * np.array([1, 1, 7.2 / 7, 1], np.float32)))


def smooth_upsampling(model):
    (resize,) = _nodes(model, "Resize")
    for attribute in resize.attribute:
        if attribute.name == "mode":
            attribute.s = b"linear"


def wrong_crop(model):
    """The last rows instead of the first."""
    (crop,) = _nodes(model, "Slice")
    makers = {node.output[0]: node for node in _nodes(model, "Constant")}
    for slot, number in ((1, 5), (2, 21)):
        tensor = makers[crop.input[slot]].attribute[0].t
        tensor.CopyFrom(numpy_helper.from_array(np.array([number], np.int64)))


def gate_of_the_next_tile(model):
    (resize,) = _nodes(model, "Resize")
    for attribute in resize.attribute:
        if attribute.name == "nearest_mode":
            attribute.s = b"ceil"


def _row_weights(model, change):
    for tensor, array in _constant(model, lambda array: array.ndim == 2 and array.shape[0] == array.shape[1]):
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(array))))


def gate_of_the_next_row(model):
    """The last row of a tile has the gate of the tile below it."""
    _row_weights(model, lambda array: np.hstack([array[:, 1:], array[:, -1:]]))


def short_tile_as_a_whole_one(model):
    _row_weights(model, lambda array: array.clip(max=1 / 7).astype(np.float32))


def wrong_ones(model):
    for tensor, array in _constant(model, lambda array: array.dtype == np.float32 and array.shape[0] == 1):
        tensor.CopyFrom(numpy_helper.from_array(array * np.linspace(1, 1.2, array.size, dtype=np.float32)))


def touched_weight(model):
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.0000002), weight.name))


def dropped_metadata(model):
    del model.metadata_props[:]


def dropped_node_metadata(model):
    del _nodes(model, "Neg")[0].metadata_props[:]


def renamed_output(model):
    model.graph.node[-1].output[0] = model.graph.output[0].name = "renamed"


def other_opset(model):
    model.opset_import[0].version += 1


def removed_node(model):
    last = model.graph.node.pop()
    next(node for node in model.graph.node if node.output[0] == "s").output[0] = last.output[0]


def added_node(model):
    model.graph.node.append(onnx.helper.make_node("Neg", ["x"], ["nobody_reads_this"]))


def replaced_activation(model):
    _nodes(model, "Relu")[0].op_type = "Softplus"


def stale_types(model):
    for value in model.graph.value_info:
        if value.name == "g":
            value.type.tensor_type.shape.dim[2].dim_value = 1


def missing_constant(model):
    model.graph.node.remove(next(node for node in model.graph.node if node.op_type == "Constant"))


POOLED = ("--means", "pads", "--upsample", "resize")
POOLED_FAULTS = [wrong_pads, padding_counted, wrong_scales, smooth_upsampling, wrong_crop, gate_of_the_next_tile]
BLOCK_FAULTS = [(fault, POOLED) for fault in POOLED_FAULTS]
BLOCK_FAULTS += [(fault, ()) for fault in (gate_of_the_next_row, short_tile_as_a_whole_one, wrong_ones)]
OUTSIDE_FAULTS = [touched_weight, dropped_metadata, dropped_node_metadata, renamed_output, other_opset, removed_node,
                  added_node, replaced_activation]  # fmt: skip


@pytest.fixture
def sabotage(monkeypatch):
    """Let a function spoil every converted model before it is verified."""
    honest = conversion.rewrite

    def use(spoil):
        def spoiled(*arguments, **options):
            converted, edits = honest(*arguments, **options)
            before = converted.SerializeToString()
            spoil(converted)
            assert converted.SerializeToString() != before, "the sabotage did nothing"
            return converted, edits

        monkeypatch.setattr(conversion, "rewrite", spoiled)

    return use


@pytest.fixture
def folder(tmp_path):
    model = se_model(stated=True)
    model.metadata_props.add(key="license", value="none")
    model.graph.node[-1].metadata_props.add(key="from", value="here")
    onnx.save(model, tmp_path / "se.onnx")
    (tmp_path / "out.onnx").write_bytes(b"what was there before")
    return tmp_path


def _convert(folder, *arguments):
    """The line of a failed conversion, which must have left everything as it was."""
    before = sorted(os.listdir(folder))
    line = refused(command("convert", "se.onnx", "out.onnx", *arguments, "--report", "r.json", cwd=folder), 1)
    assert sorted(os.listdir(folder)) == before
    assert (folder / "out.onnx").read_bytes() == b"what was there before"
    return line


@pytest.mark.parametrize(("fault", "options"), BLOCK_FAULTS, ids=lambda of: getattr(of, "__name__", ""))
def test_a_wrong_rewrite_fails_with_error_tolerance_and_block(folder, sabotage, fault, options):
    sabotage(fault)
    line = _convert(folder, *options)
    (name,) = (block.name for block in tse_onnx.find_blocks(folder / "se.onnx"))
    assert f"block '{name}'" in line
    error, tolerance = (
        float(re.search(rf"{word} ([0-9.e+-]+)", line)[1].rstrip(".")) for word in ("error", "tolerance")
    )
    assert error > 100 * tolerance > 0


@pytest.mark.parametrize("fault", OUTSIDE_FAULTS, ids=lambda fault: fault.__name__)
def test_a_change_outside_the_edit_fails(folder, sabotage, fault):
    sabotage(fault)
    line = _convert(folder)
    assert "outside the edit" in line
    with pytest.raises(tse_onnx.CheckFailed) as caught:
        tse_onnx.convert(folder / "se.onnx")
    failed = [check.name for check in caught.value.verification.checks if not check.passed]
    assert "outside" in failed
    assert not caught.value.verification.passed


def test_types_that_contradict_the_graph_fail(folder, sabotage):
    sabotage(stale_types)
    assert "onnx.checker refuses the output" in _convert(folder)


def test_a_converted_model_that_does_not_load_is_a_failed_check(folder, sabotage):
    sabotage(missing_constant)
    _convert(folder)


def test_a_failed_check_says_what_it_measured(folder, sabotage):
    sabotage(wrong_ones)
    with pytest.raises(tse_onnx.CheckFailed) as caught:
        tse_onnx.convert(folder / "se.onnx", folder / "new.onnx")
    (check,) = caught.value.verification.blocks
    assert not check.passed
    assert check.max_error > check.tolerance
    assert not (folder / "new.onnx").exists()


def test_no_verify_checks_nothing(folder, sabotage):
    sabotage(wrong_ones)
    assert command("convert", "se.onnx", "out.onnx", "--no-verify", cwd=folder).returncode == 0


def test_one_wrong_block_of_three_is_named(tmp_path, sabotage):
    onnx.save(network(28, 14, 14), tmp_path / "net.onnx")

    def second_pool(model):
        pool = _nodes(model, "AveragePool")[2]  # the first is a block's, the second the network's own
        (flag,) = [attribute for attribute in pool.attribute if attribute.name == "count_include_pad"]
        flag.i = 1

    sabotage(second_pool)
    with pytest.raises(tse_onnx.CheckFailed) as caught:
        tse_onnx.convert(tmp_path / "net.onnx", rows=5, means="pads")
    assert [check.passed for check in caught.value.verification.blocks] == [True, False, True]


def test_a_result_that_is_not_a_number_never_passes(folder, sabotage):
    """A power in place of the product: not a number wherever the map is negative."""

    def power(model):
        next(node for node in model.graph.node if node.output[0] == "s").op_type = "Pow"

    sabotage(power)
    assert "error nan" in _convert(folder)


# The seed, the bound, the count


def test_the_seed_decides_the_noise(folder):
    def drift(*arguments):
        done = command("convert", "se.onnx", "out.onnx", "--format", "json", *arguments, cwd=folder)
        return validated(done.stdout, "report")["verification"]["drift"]

    assert drift("--seed", "3") == drift("--seed", "3")
    assert drift("--seed", "3") != drift("--seed", "4")
    assert drift() == drift("--seed", "0")


@pytest.mark.parametrize("options", [
    {"max_drift": -1.0}, {"max_drift": float("nan")}, {"seed": -1}, {"threads": -1}, {"threads": 10**9}, {"rows": 0},
    {"rows": -7}, {"preprocess": "inception"}, {"max_drift": 1.0, "verify": False},
    {"input_shapes": {"x": (1, 8, -16, 12)}}, {"input_shapes": {"x": (1, 8, 2**70, 12)}},
    {"input_shapes": {"x": (1, 8, 16)}}, {"input_shapes": {"z": (1, 2)}},
])  # fmt: skip
def test_the_library_refuses_bad_options_as_well(options):
    with pytest.raises(tse_onnx.UsageError):
        tse_onnx.convert(se_model(), **options)


def test_a_bound_on_the_drift_is_inclusive_and_per_output():
    model = se_model()
    drift = tse_onnx.convert(model).verification.drift[0].max_abs
    assert tse_onnx.convert(model, max_drift=drift).verification.passed
    with pytest.raises(tse_onnx.CheckFailed, match="drift"):
        tse_onnx.convert(model, max_drift=drift * 0.999)


def test_expect_is_checked_without_verification_too():
    with pytest.raises(tse_onnx.CheckFailed, match="1 block"):
        tse_onnx.convert(se_model(), expect=2, verify=False)


def test_outputs_that_hold_no_numbers_do_not_stop_the_verification():
    body = """h = LeakyRelu(x)
    d = GlobalAveragePool(h)
    r = Conv(d, w1)
    a = Relu(r)
    e = Conv(a, w2)
    g = Sigmoid(e)
    y = Mul(h, g)
    b = Greater(y, x)
    q = SequenceConstruct(y, d2)
    d2 = GlobalMaxPool(x)"""
    lines = [line.strip() for line in body.splitlines()]
    lines[-2:] = lines[-1], lines[-2]
    weights = {"w1": np.ones((4, 8, 1, 1), np.float32), "w2": np.ones((8, 4, 1, 1), np.float32)}
    model = text_model("\n".join(lines), weights, outputs="float[N, 8, 16, 12] y, bool[N, 8, 16, 12] b, seq(float[]) q")
    result = tse_onnx.convert(model, rows=7)
    assert result.verification.passed
    assert [drift.output for drift in result.verification.drift] == ["y", "b"]


def test_top1_agreement_is_only_given_where_the_output_looks_like_logits():
    result = tse_onnx.convert(network(16))
    assert result.verification.drift[0].top1_agreement is not None
    assert tse_onnx.convert(se_model()).verification.drift[0].top1_agreement is None


def test_two_inputs_and_integer_inputs_get_noise():
    body = "i = Cast<to = 1>(n)\n h = Add(x, i)\n d = GlobalAveragePool(h)\n r = Conv(d, w1)\n a = Relu(r)\n"
    body += "e = Conv(a, w2)\n g = Sigmoid(e)\n y = Mul(h, g)"
    weights = {"w1": np.ones((4, 8, 1, 1), np.float32), "w2": np.ones((8, 4, 1, 1), np.float32)}
    model = text_model(body, weights, inputs="float[N, 8, 16, 12] x, uint8[N, 8, 16, 12] n")
    assert tse_onnx.convert(model).verification.passed


_LENT = {
    "read by a node": ("(float[N, 64] y)", "y = MatMul(x, w)"),
    "an output as well": ("(float[N, 64] y, float[64, 64] w)", "y = MatMul(x, w)"),
    "read in a body": ("(float[N, 64] y)", "y = If(c) <then_branch = t () => (float[N, 64] o) { o = MatMul(x, w) }, "
                       "else_branch = e () => (float[N, 64] p) { p = Identity(x) }>"),
    "folded": ("(float[N, 64] y)", "v = Identity(w) y = MatMul(x, v)"),
    "not read": ("(float[N, 64] y)", "y = Relu(x)"),
}  # fmt: skip


@pytest.mark.parametrize("name", _LENT)
def test_a_session_gives_with_weights_that_are_lent_what_onnxruntime_gives(name):
    outputs, body = _LENT[name]
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, 64] x, bool c) => {outputs} {{ {body} }}'
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    model.graph.initializer.append(numpy_helper.from_array(random.standard_normal((64, 64)).astype(np.float32), "w"))
    feed = {"x": random.standard_normal((3, 64)).astype(np.float32), "c": np.array(True)}
    found = Session(model)
    assert set(found._lent) == (set() if name == "not read" else {"w"})
    plain = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for one, other in zip(found.run(feed, found.outputs).values(), plain.run(None, feed), strict=True):
        np.testing.assert_array_equal(one, other)
