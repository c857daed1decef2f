"""Targets: limits as data, and what of a model is outside of them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as run
from tests.graphs import text_model
from tse_onnx import CheckFailed, Limit, ModelError, Target, UsageError
from tse_onnx.passes.graph.scope import scopes
from tse_onnx.passes.targets.measures import MEASURES, measured
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.runtime.ort import ort
from tse_onnx.targets.known import TARGETS
from tse_onnx.targets.target_file import parse_target, target_of


def one_node(node, shape=(1, 4, 30, 20), opset=13, out="float y", **weights):
    """A model of one node that reads `x`, of this shape; a word is a dimension that is not known."""
    sizes = ",".join(map(str, shape))
    model = text_model(node, weights, inputs=f"float[{sizes}] x", outputs=out, opset=opset)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def limit(measure, operators=(), **bounds):
    return Limit(tuple(operators), measure, "a page", "1.0", **bounds)


def found(model, *limits, **options):
    """What is found outside: the limit's measure and the text."""
    target = Target("t", "a target", limits)
    return [(one.limit.measure, one.found) for one in tse_onnx.check(model, target, **options).violations]


POOL = "y = AveragePool<kernel_shape = [{}, {}], strides = [{}, {}]>(x)"


@pytest.mark.parametrize(("node", "shape", "measure", "at", "text"), [
    (POOL.format(7, 20, 7, 20), (1, 4, 28, 20), "window", 20, "7 × 20"),
    (POOL.format(7, 20, 7, 20), (1, 4, 28, 20), "window_area", 140, "140"),
    (POOL.format(7, 20, 7, 20), (1, 4, 28, 20), "row_window", 7, "7"),
    (POOL.format(7, 20, 6, 19), (1, 4, 28, 20), "stride", 19, "6, 19"),
    (POOL.format(7, 20, 6, 19), (1, 4, 28, 20), "row_step", 6, "6"),
    (POOL.format(7, 20, 6, 19), (1, 4, 28, 20), "width", 20, "20"),
    ("y = GlobalAveragePool(x)", (1, 4, 13, 11), "window", 13, "13 × 11"),
    ("y = GlobalAveragePool(x)", (1, 4, 13, 11), "window_area", 143, "143"),
    ("y = ReduceMean<axes = [-1, 2]>(x)", (1, 4, 13, 11), "window", 13, "13 × 11"),
    ("y = ReduceMean<axes = [3]>(x)", (1, 4, 13, 11), "window_area", 11, "11"),
    ("y = ReduceMean(x)", (1, 4, 3, 2), "window_area", 24, "24"),
    ("y = MaxPool<kernel_shape = [3, 2], dilations = [5, 2]>(x)", (1, 4, 30, 20), "dilation", 5, "5, 2"),
    ("y = MaxPool<kernel_shape = [3, 3], pads = [1, 2, 0, 1]>(x)", (1, 4, 30, 20), "pads", 2, "1, 0, 2, 1"),
    ("y = MaxPool<kernel_shape = [4, 4], pads = [3, 2, 0, 1]>(x)", (1, 4, 30, 20), "uneven_pads", 3, "3, 1"),
    ("y = Relu(x)", (3, 4, 30, 20), "batch", 3, "3"),
    ("y = Relu(x)", (3, 4, 30, 20), "rank", 4, "4"),
    ("y = ReduceMean<axes = [3], keepdims = 0>(x)", (1, 4, 13, 11), "least_rank", 3, "3"),
    ("y = Relu(x)", (99, 4, 30, 20), "dimension", 30, "30"),
    ("y = Relu(x)", (99, 4, 30, 20), "opset", 13, "13"),
])  # fmt: skip
def test_at_the_limit_and_one_over_it(node, shape, measure, at, text):
    model = one_node(node, shape)
    assert found(model, limit(measure, most=at)) == []
    assert found(model, limit(measure, most=at - 1)) == [(measure, text)]


@pytest.mark.parametrize(("ir", "number"), [(3, 0), (8, 1)])
def test_an_input_with_a_default_is_none_but_a_constant_in_old_files(ir, number):
    gate = numpy_helper.from_array(np.ones((1, 4, 1, 1), np.float32), "g")
    model = one_node("y = Mul(x, g)", (1, 4, 3, 2))
    model.graph.initializer.append(gate)
    model.ir_version = ir
    assert found(model, limit("defaults", most=0)) == []
    model.graph.input.append(helper.make_tensor_value_info("g", TensorProto.FLOAT, [1, 4, 1, 1]))
    assert found(model, limit("defaults", most=0)) == ([("defaults", "1")] if number else [])


def test_constants_and_what_makes_them():
    text = "c = Constant<value = float[1] {1.0}>()\n d = Neg(c)\n e = Add(x, c)\n y = Mul(d, e)"
    model = one_node(text, (1, 4, 3, 2))
    (scope,) = scopes(model, {}, evaluate)
    assert [list(measured("constant", node, scope)) for node in scope.index.nodes[1:]] == [[1], [0], [1]]
    assert [list(measured("constant_nodes", node, scope)) for node in scope.index.nodes[1:]] == [[1], [1], [0]]


def test_from_below_and_among():
    model = one_node("y = MaxPool<kernel_shape = [3, 2]>(x)")
    assert found(model, limit("window", least=2), limit("window", among=(2, 3))) == []
    assert found(model, limit("window", least=3), limit("window", among=(3, 4))) == [("window", "3 × 2")] * 2


def test_pads_that_count_and_pads_that_do_not():
    counted, not_counted = (
        one_node(f"y = AveragePool<kernel_shape = [3, 3], pads = [0, 0, 2, 0], count_include_pad = {flag}>(x)")
        for flag in (1, 0)
    )
    limits = [limit(name, most=0) for name in ("counted_pads", "uneven_counted_pads", "uncounted_pads")]
    assert found(counted, *limits) == [("counted_pads", "0, 2, 0, 0"), ("uneven_counted_pads", "2, 0")]
    assert found(not_counted, *limits) == [("uncounted_pads", "0, 2, 0, 0")]
    assert found(one_node("y = MaxPool<kernel_shape = [3, 3], pads = [0, 0, 2, 0]>(x)"), *limits) == []


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER"])
def test_pads_that_the_operator_finds_itself(auto):
    """By a run: the corners of the mean of ones, pads counted, say how much of a window is pad."""
    checked = 0
    for height, size, stride in itertools.product((5, 6, 7, 11), (2, 3, 4, 5), (1, 2, 3)):
        if stride > size:  # pixels that are in no window, of which onnxruntime makes negative pads
            continue
        node = f'y = AveragePool<kernel_shape = [{size}, 1], strides = [{stride}, 1], auto_pad = "{auto}", '
        model = one_node(node + "count_include_pad = 1>(x)", (1, 1, height, 1))
        ones = np.ones((1, 1, height, 1), np.float32)
        column = ort.InferenceSession(model.SerializeToString()).run(None, {"x": ones})[0].ravel()
        before, behind = (round(size - share * size) for share in (column[0], column[-1]))
        (scope,) = scopes(model, {}, evaluate)
        assert list(measured("pads", scope.index.nodes[0], scope)) == [before, behind, 0, 0], (height, size, stride)
        checked += before + behind
    assert checked


def test_a_last_window_that_hangs_over():
    """By counting: the windows that onnx's inference makes, walked one by one."""
    over = 0
    for height, size, stride, dilation, before, behind in itertools.product(
        (7, 10, 13), (2, 3, 5), (1, 2, 4, 5), (1, 2), (0, 1), (0, 1)
    ):
        if (size - 1) * dilation >= before + height + behind:  # larger than the map: there is no window
            continue
        attributes = f"strides = [{stride}, 1], dilations = [{dilation}, 1], pads = [{before}, 0, {behind}, 0]"
        node = f"y = AveragePool<kernel_shape = [{size}, 1], ceil_mode = 1, {attributes}>(x)"
        model = one_node(node, (1, 1, height, 3), opset=22)
        inferred = onnx.shape_inference.infer_shapes(model)
        windows = inferred.graph.output[0].type.tensor_type.shape.dim[2].dim_value
        rows = {start * stride - before + tap * dilation for start in range(windows) for tap in range(size)}
        (scope,) = scopes(model, {}, evaluate)
        got = measured("overhang", scope.index.nodes[0], scope)
        assert list(got) == [max(0, max(rows) - (height + behind - 1)), 0], node
        over += got[0] > 0
    assert over > 20


def test_a_window_as_large_as_the_map():
    spared = limit("window", ["AveragePool"], most=8, unless_global=True)
    whole, tile = (one_node(POOL.format(rows, 20, rows, 20), (1, 4, 28, 20)) for rows in (28, 7))
    assert found(whole, spared) == []
    assert found(whole, dataclasses.replace(spared, unless_global=False)) == [("window", "28 × 20")]
    assert found(tile, spared) == [("window", "7 × 20")]
    assert found(one_node(POOL.format(8, 8, 8, 8), ("N", 4, "H", "W")), spared) == []
    assert found(one_node(POOL.format(9, 8, 8, 8), ("N", 4, "H", "W")), spared) == [("window", "not known")]


def test_what_an_output_of_one_row_never_steps():
    once = one_node(POOL.format(7, 5, 7, 5), (1, 4, 7, 20))
    assert found(once, limit("row_step", most=3)) == []
    assert found(once, limit("stride", most=3)) == [("stride", "7, 5")]


RESIZE = 'y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric">(x, , s)'


@pytest.mark.parametrize(("shape", "scales", "text"), [
    ((1, 4, 3, 2), (1, 1, 2, 8), ""),
    ((1, 4, 3, 2), (1, 1, 7, 1), "7 × 1"),
    ((1, 4, 1, 1), (1, 1, 7, 9), ""),
    ((1, 4, 4, 4), (1, 1, 1.5, 2), "1.5 × 2"),
    ((1, 4, "H", 2), (1, 1, 2, 2), "not known"),
])  # fmt: skip
def test_scales(shape, scales, text):
    model = one_node(RESIZE, shape, s=np.array(scales, np.float32))
    wanted = [("scale", text)] if text else []
    assert found(model, limit("scale", ["Resize"], among=(1, 2, 4, 8))) == wanted


def test_sizes_that_are_not_known_are_said_so():
    model = one_node("y = GlobalAveragePool(x)", ("N", 4, "H", "W"))
    for measure in ("window", "window_area", "batch", "width", "dimension"):
        bound = limit(measure, most=8)
        assert found(model, bound) == [(measure, "not known")]
        assert found(model, bound, input_shapes={"x": (8, 4, 4, 2)}) == []
        assert found(model, bound, input_shapes={"x": (9, 4, 9, 9)}) != []
    half = one_node("y = GlobalAveragePool(x)", (1, 4, 9, "W"))
    assert found(half, limit("window", most=8)) == [("window", "9 × ?")]


def test_operators_and_opsets():
    model = one_node("c = Constant<value = int64[2] {0, 1}>()\n y = Gather<axis = 2>(x, c)")
    assert found(model, limit("operator", ["Gather", "Constant"])) == [("operator", "Gather")]
    assert found(model, limit("operator", ["gather", "ai.onnx::Gather"])) == []
    assert found(model, limit("rank", ["Gather"], most=3, since=14)) == []
    assert found(model, limit("rank", ["Gather"], most=3, since=13)) == [("rank", "4")]


def test_inside_bodies_and_functions():
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
      g (float[1, 4, 9, 9] x, bool b) => (float y) {
        h = If (b) <
          then_branch = t () => (float p) { p = AveragePool<kernel_shape = [9, 9]>(x) },
          else_branch = e () => (float q) { q = GlobalAveragePool(x) }>
        y = own.pool<k = [9, 9]>(h)
      }
      <domain: "own", opset_import: ["" : 17]>
      pool<k> (a) => (z) { z = AveragePool<kernel_shape: ints = @k>(a) }"""
    model = parser.parse_model(text)
    target = Target("t", "a target", (limit("window", most=8),))
    outside = tse_onnx.check(model, target).violations
    assert [(one.node, one.found) for one in outside] == [("p", "9 × 9"), ("q", "9 × 9"), ("z", "not known")]
    assert all(one.scope for one in outside)


MADE_BADLY = {
    "strides too few": "y = AveragePool<kernel_shape = [3, 3], strides = [2], ceil_mode = 1>(x)",
    "no stride": 'y = AveragePool<kernel_shape = [3, 3], strides = [0, 0], auto_pad = "SAME_UPPER">(x)',
    "pads too many": "y = AveragePool<kernel_shape = [3], pads = [1, 1, 1, 1, 1, 1, 1], ceil_mode = 1>(x)",
    "no kernel": 'y = AveragePool<auto_pad = "SAME_UPPER", ceil_mode = 1>(x)',
    "axes that are none": "y = ReduceMean<axes = [7, -9]>(x)",
    "no input": "y = GlobalAveragePool()",
    "no sizes": "y = Resize(x)",
    "a convolution without weights": "y = Conv(x)",
}


@pytest.mark.parametrize("node", MADE_BADLY.values(), ids=MADE_BADLY)
def test_a_node_that_no_operator_allows_is_no_fault_of_ours(node):
    limits = [limit(name, most=1) for name in MEASURES if name != "operator"]
    for shape in ((1, 4, 30, 20), ("N", 4, "H", "W"), (0, 0, 0, 0), (3,)):
        with contextlib.suppress(ModelError):  # of the reader, which refuses some of them
            found(one_node(node, shape), *limits)


@pytest.mark.parametrize("name", TARGETS)
def test_every_limit_says_where_it_is_from(name):
    target = TARGETS[name]
    assert target.name == name
    assert target_of(name) is target
    for one in target.limits:
        assert one.source.startswith("https://") or "compared with" in one.source or "measurements.md" in one.source
        assert any(letter.isdigit() for letter in one.version)
    assert target.limits or "no limit" in target.note


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if not target.limits])
def test_a_target_without_limits_says_that_nothing_was_checked(folder, name):
    done = run("check", "tiled.onnx", "--target", name, cwd=folder)
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"Nothing was checked: no limit is known of {name}." in done.stdout.decode()


def test_core_ml_is_what_onnxruntime_says_of_it():
    version, (operators,) = "1.32.0", [one for one in TARGETS["coreml"].limits if one.except_for]
    assert version in operators.version
    if onnxruntime.__version__ != version:
        pytest.skip(f"the table is that of onnxruntime {version}")
    table = Path(onnxruntime.__file__).parent / "tools" / "mobile_helpers" / "coreml_supported_mlprogram_ops.md"
    rows = re.findall(r"^\|([\w.]+):(\w+)\|", table.read_text(encoding="utf-8"), re.MULTILINE)
    own = {"Argmax": "ArgMax"}  # as onnx spells it
    taken = {own.get(name, name) if domain == "ai.onnx" else f"{domain}::{name}" for domain, name in rows}
    assert set(operators.except_for) == taken


@pytest.mark.parametrize(("name", "patch"), [("hls4ml", None), ("finn", None), ("hls4ml", (8, 8))])
def test_what_takes_no_tile_in_any_form(folder, name, patch):
    tiling = tse_onnx.Tiling(*patch) if patch else tse_onnx.Tiling(8)
    figures = tse_onnx.buffering(folder / "digits.onnx", tiling=tiling, target=name)
    assert figures.totals.converted == 0
    assert "would be there, an operator that is not taken (https://" in (figures.blocks[0].decision.reason or "")


@pytest.mark.parametrize(("rows", "each"), [(8, {"Reshape": 2}), (7, {"Reshape": 2, "MatMul": 1})])
def test_what_vela_has_fewest_operators_of(folder, rows, each):
    """Views where the rows divide, and elsewhere one product for the means and none for the gates."""
    made = tse_onnx.convert(folder / "digits.onnx", rows=rows, target="ethos-u", verify=False)
    count = made.report.buffering.totals.converted
    before, after = (
        Counter(node.op_type for node in model.graph.node if node.op_type != "Constant")
        for model in (onnx.load_model(folder / "digits.onnx"), made.model)
    )
    assert after - before == {name: number * count for name, number in each.items()}


def test_all_but_some():
    one = Limit((), "operator", "https://page", "1", except_for=("Relu", "other::Gelu"))
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "other" : 1]> g (float[2] x) => (float[2] y) '
        "{ a = Relu(x) b = other.Gelu(a) c = other.Relu(b) y = Abs(c) }"
    )
    assert [found.operator for found in tse_onnx.check(model, Target("t", "t", (one,))).violations] == [
        "other::Relu", "Abs",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("targets")
    models.save("digits_se", path / "digits.onnx")
    tse_onnx.convert(path / "digits.onnx", path / "tiled.onnx", rows=7, means="pads", upsample="resize", verify=False)
    tse_onnx.convert(path / "digits.onnx", path / "even.onnx", rows=8, means="pads", upsample="resize", verify=False)
    return path


def pools(path):
    """The windows, the pads, and the scales of a converted digits.onnx, read from the nodes as they are written."""
    model = onnx.load(path)
    attributes = [
        {one.name: helper.get_attribute_value(one) for one in node.attribute}
        for node in model.graph.node
        if node.op_type == "AveragePool"
    ]
    return [(one["kernel_shape"], one["pads"]) for one in attributes]


@pytest.mark.parametrize("model", ["tiled.onnx", "even.onnx"])
def test_a_converted_network_by_its_nodes(folder, model):
    written = pools(folder / model)
    assert len(written) == {"tiled.onnx": 4, "even.onnx": 3}[model]  # the last map is no higher than a tile of 8
    checked = {name: len(tse_onnx.check(folder / model, name).violations) for name in TARGETS}
    assert checked["ascend"] == sum(window[0] * window[1] > 256 for window, _ in written)
    assert checked["mediatek-mdla"] == sum(max(window) > 8 for window, _ in written)
    assert checked["rknn"] == checked["ncnn"] == checked["opencv4"] == sum(any(pads) for _, pads in written)
    assert checked["onnxruntime"] == 0
    resizes = [node for node in onnx.load(folder / model).graph.node if node.op_type == "Resize"]
    assert checked["tflite-edgetpu"] == len(resizes) > 0


def test_the_command(folder):
    done = run("check", "tiled.onnx", "--target", "rknn", "--format", "json", cwd=folder)
    assert done.returncode == 1
    assert done.stderr == b"Error: 4 nodes are outside the limits of rknn\n"
    told = validated(done.stdout, "check")
    assert (told["target"], told["passed"], len(told["violations"])) == ("rknn", False, 4)
    first = told["violations"][0]
    pads = ", ".join(map(str, np.reshape(pools(folder / "tiled.onnx")[0][1], (2, 2)).T.ravel()))
    assert (first["operator"], first["found"]) == ("AveragePool", pads)
    assert first["node"].endswith("tiled_squeeze")
    assert first["source"].endswith("/issues/217")
    passed = run("check", "even.onnx", "--target", "rknn", "--format", "json", cwd=folder)
    assert (passed.returncode, passed.stderr) == (0, b"")
    assert validated(passed.stdout, "check")["violations"] == []
    for form in ("text", "markdown"):
        printed = run("check", "tiled.onnx", "--target", "rknn", "--format", form, cwd=folder).stdout
        assert b"uncounted pads at most 0" in printed


def test_the_list(folder):
    told = validated(run("targets", "--format", "json").stdout, "targets")
    assert [one["name"] for one in told["targets"]] == list(TARGETS)
    text, markdown = (run("targets", "--format", form).stdout.decode() for form in ("text", "markdown"))
    for target in TARGETS.values():
        assert target.title in text
        assert all(one.source in text and str(one) in text for one in target.limits)
    assert "| operators |" in markdown
    assert run("targets", "rknn").stdout.count(b"\n") == 4


def test_a_failed_check_is_an_error_of_the_library(folder):
    with pytest.raises(CheckFailed, match="4 nodes are outside the limits of rknn"):
        tse_onnx.check(folder / "tiled.onnx", "rknn").require()
    tse_onnx.check(folder / "even.onnx", "rknn").require()


OWN = """
name = "board"
note = "revision A is another"

[[limits]]
operators = ["AveragePool"]
measure = "window_area"
most = 100
source = "data sheet"
version = "B"
"""


def test_a_target_of_ones_own(folder):
    (folder / "board.toml").write_text(OWN)
    wanted = Limit(("AveragePool",), "window_area", "data sheet", "B", most=100)
    assert target_of(folder / "board.toml") == Target("board", "board", (wanted,), "revision A is another")
    told = json.loads(run("check", "tiled.onnx", "--target", "board.toml", "--format", "json", cwd=folder).stdout)
    areas = [window[0] * window[1] for window, _ in pools(folder / "tiled.onnx")]
    assert [one["found"] for one in told["violations"]] == [str(area) for area in areas if area > 100]
    assert b"board: board\n" in run("targets", "board.toml", cwd=folder).stdout


def changed(old, new):
    assert old in OWN
    return OWN.replace(old, new)


@pytest.mark.parametrize(("text", "said"), [
    (changed("most", "mots"), "limit 1: there is no key 'mots'; did you mean most?"),
    (changed('name = "board"', ""), "name is missing"),
    (changed('name = "board"', 'name = ""'), "name is empty"),
    (changed('name = "board"', "name = 3"), "name is a text, not 3"),
    ('name = "board"', "limits is missing"),
    ('name = "board"\nlimits = []', "limits is empty"),
    ('name = "board"\nlimits = [3]', "limits is a list of tables"),
    ('name = "board"\nlimits = "none"', "limits is a list of tables"),
    (changed("note", "notes"), "there is no key 'notes'; did you mean note?"),
    (changed('source = "data sheet"', ""), "limit 1: source is missing"),
    (changed('source = "data sheet"', 'source = " "'), "limit 1: source is a text that says where"),
    (changed('version = "B"', "version = 2"), "limit 1: version is a text that says where"),
    (changed('"window_area"', '"area"'), "limit 1: measure is operator, opset"),
    (changed('"window_area"', "[1]"), "limit 1: measure is operator, opset"),
    (changed("most = 100", ""), "limit 1: measure window_area needs least, most or among"),
    (changed("most = 100", 'most = "big"'), "limit 1: most is a number, not 'big'"),
    (changed("most = 100", "most = true"), "limit 1: most is a number, not True"),
    (changed("most = 100", "most = nan"), "limit 1: most is a number, not nan"),
    (changed("most = 100", "most = 1" + "0" * 400), "limit 1: most is a number, not 1000"),
    (changed("most = 100", "most = 1\nleast = 2"), "limit 1: least is 2, and most is 1"),
    (changed("most = 100", "among = 3"), "limit 1: among is a list of numbers, not 3"),
    (changed("most = 100", 'among = ["a"]'), "limit 1: among is a list of numbers, not ['a']"),
    (changed("most = 100", "most = 1\nunless_global = 1"), "limit 1: unless_global is true or false, not 1"),
    (changed("most = 100", "most = 1\nsince = 1.5"), "limit 1: since is an opset, not 1.5"),
    (changed("most = 100", "most = 1\neffect = 1"), "limit 1: effect is a text, not 1"),
    (changed('["AveragePool"]', '"AveragePool"'), "limit 1: operators is a list of names, not 'AveragePool'"),
 (changed("most = 100", 'most = 1\nexcept_for = ["Relu"]'), "limit 1: except_for goes with every operator"),
    (changed("most = 100", "most = 1\nexcept_for = 1"), "limit 1: except_for is a list of names, not 1"),
    (changed('["AveragePool"]', "[1]"), "limit 1: operators is a list of names, not [1]"),
    (changed('"window_area"', '"operator"'), "limit 1: least, most and among do not go with the measure operator"),
    ('name = "a"\n[[limits]]\nmeasure = "operator"\nsource = "a"\nversion = "1"', "operators has to name what is not"),
    ("name = ", "is not TOML"),
])  # fmt: skip
def test_a_bad_file_is_one_line_with_the_key(folder, text, said):
    path = folder / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        parse_target(text, "bad.toml")
    assert str(error.value).startswith("bad.toml")
    assert said in str(error.value)
    assert said in refused(run("check", "tiled.onnx", "--target", "bad.toml", cwd=folder))


@pytest.mark.parametrize(("words", "said"), [
    (["--target", "ascent"], "not 'ascent'; did you mean ascend?"),
    (["--target", "missing.toml"], "cannot read the target missing.toml"),
    ([], "Missing option '--target'"),
    (["--target", "rknn", "--input-shape", "other:1,2"], "names 'other', which is no input"),
])  # fmt: skip
def test_bad_words(folder, words, said):
    assert said in refused(run("check", "tiled.onnx", *words, cwd=folder))
