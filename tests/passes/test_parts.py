"""The pure parts that everything stands on: names, the index of a graph, dimensions, external locations."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.graphs import se_model, text_model
from tse_onnx.errors import ModelError
from tse_onnx.files.external import locate
from tse_onnx.passes.edit.splice import Edit, splice
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.nested import taken_names
from tse_onnx.passes.graph.types import Inference, model_types, tensor_type, weightless
from tse_onnx.passes.names import fresh, module_of
from tse_onnx.passes.reasons import printable
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.runtime.scores import Meter
from tse_onnx.verification.drift import drift_of
from tse_onnx.verification.outside import outside_differences


def test_fresh_names_never_repeat():
    taken = {"a", "a_2"}
    assert [fresh("a", taken) for _ in range(3)] == ["a_3", "a_4", "a_5"]
    assert fresh("b", taken) == "b"
    assert {"a_3", "a_4", "a_5", "b"} <= taken


def test_the_module_of_torchscript_names():
    names = [f"/blocks/blocks.0/se/{name}" for name in ("a/Relu", "b/Conv", "Mul")]
    nodes = [helper.make_node("Relu", [], [], name=name) for name in names]
    assert module_of(nodes) == "/blocks/blocks.0/se"
    assert module_of([helper.make_node("Relu", [], [], name=name) for name in ("a", "b")]) == ""


def test_taken_names_reach_into_nested_graphs_and_functions():
    body = """c = Constant<value = bool {1}>()
    [outer] y = If (c) <
      then_branch = t () => (float[A] ty) { [inner] ty = Constant<value_floats = [1.0]>() },
      else_branch = f () => (float[B] fy) { fy = Constant<value_floats = [2.0]>() }
    >"""
    model = text_model(body, {"weight": np.ones(1, np.float32)}, outputs="float[C] y")
    inside = [helper.make_node("Neg", ["fin"], ["fout"], name="fnode")]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "F", ["fin"], ["fout"], inside, opsets))
    assert {"x", "y", "c", "outer", "inner", "ty", "fy", "weight", "fin", "fout", "fnode"} <= taken_names(model)


def test_what_is_constant():
    body = """c = Constant<value = float {1}>()
    cc = Neg(c)
    cx = Add(cc, x)
    cw = Add(cc, w)
    rnd = RandomNormalLike(c)
    rand = Neg(rnd)
    y = Identity(cx)"""
    index = GraphIndex.of_graph(
        text_model(body, {"w": np.ones(1, np.float32)}, inputs="float[N] x", outputs="float[N] y").graph
    )
    names = ("c", "cc", "cw", "w", "cx", "x", "y", "rnd", "rand", "nobody")
    assert [name for name in names if index.is_constant(name)] == ["c", "cc", "cw", "w"]
    assert index.short_constant("c") == 1
    assert index.short_constant("cc") is None
    assert [use.slot for use in index.uses("cc")] == [0, 0]


def test_a_chain_of_constants_of_any_length_does_not_recurse():
    nodes = [helper.make_node("Constant", [], ["v0"], value_float=1.0)]
    nodes += [helper.make_node("Neg", [f"v{n}"], [f"v{n + 1}"]) for n in range(20_000)]
    assert GraphIndex.of_graph(helper.make_graph(nodes, "g", [], [])).is_constant("v20000")


def test_constants_in_a_circle_end():
    nodes = [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["a"])]
    assert not GraphIndex.of_graph(helper.make_graph(nodes, "g", [], [])).is_constant("a")


@pytest.mark.parametrize(("dim", "known"), [(5, 5), ("N", "N"), (None, None), (-1, None), (0, 0)])
def test_dimensions(dim, known):
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [dim]).tensor_type
    assert tensor_type(kind).dims == (known,)


def test_stated_types_are_believed_and_bound_ones_are_not():
    model = se_model(stated=True)
    model.graph.value_info[0].type.tensor_type.shape.dim[2].dim_value = 99
    name = model.graph.value_info[0].name
    bound = {"x": (1, 8, 16, 12)}
    assert model_types(model, {}, Inference(model, {}, evaluate))[name].sizes[2] == 99
    assert model_types(model, bound, Inference(model, bound, evaluate))[name].sizes == (1, 8, 16, 12)


def test_the_weightless_copy_has_no_weights_and_all_nodes():
    model = se_model()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((100, 100), np.float32), "big"))
    bare = weightless(model)
    assert [tensor.name for tensor in bare.graph.initializer if np.prod(tensor.dims) > 64] == []
    assert "big" in [value.name for value in bare.graph.input]
    assert [node.SerializeToString() for node in bare.graph.node] == [n.SerializeToString() for n in model.graph.node]


def test_an_edit_replaces_its_nodes_and_keeps_the_order():
    graph = helper.make_graph([helper.make_node(op, [], [op]) for op in "ABCD"], "g", [], [])
    new = tuple(helper.make_node(op, [], [op]) for op in ("B1", "B2"))
    splice(graph, [Edit({1: new}, {}), Edit({3: ()}, {})])
    assert [node.op_type for node in graph.node] == ["A", "B1", "B2", "C"]


def test_differences_outside_an_edit_are_all_named():
    model = se_model(stated=True)
    assert outside_differences(model, model, []) == []
    other = onnx.ModelProto.FromString(model.SerializeToString())
    other.graph.node[0].name = "other"
    other.producer_name = "other"
    other.graph.initializer[0].dims[0] = 3
    del other.graph.value_info[0]
    found = " ".join(outside_differences(model, other, []))
    for word in ("producer_name", "initializer", "value_info", "LeakyRelu"):
        assert word in found


@pytest.mark.parametrize(
    "location", ["../x", "../in/x", "a/../x", "a/../../x", "/x", "", "a\\..\\x", "a\0b", "a\nb", "missing", "."]
)
def test_locations_that_are_not_followed(tmp_path, location):
    (tmp_path / "in" / "a").mkdir(parents=True)
    for name in ("x", "in/x"):  # "a/../x" would even be inside, and is no plain name either
        (tmp_path / name).write_bytes(b"secret")
    with pytest.raises(ModelError):
        locate(tmp_path / "in", location)


@pytest.mark.parametrize("name", ["plain", "ünïcode", "日本語"])
def test_names_that_print_stay(name):
    assert printable(name) == name


@pytest.mark.parametrize("name", ["\x1b[31m", "a\nb", "a\rb", "\x9b", "\u202e", "\x00", "\udcff", "\x7f"])
def test_names_that_do_not_print_are_escaped(name):
    assert printable(name).isprintable()
    assert printable(name).isascii()


# Figures of the verification


def _drift(batches):
    meter = Meter(["y"])
    for original, converted in batches:
        meter.add({"y": original}, {"y": converted})
    return drift_of(meter.result())


def test_drift_adds_up_over_batches_as_over_one():
    random = np.random.default_rng(0)
    a = random.standard_normal((10, 5)).astype(np.float32)
    b = a + random.standard_normal((10, 5)).astype(np.float32)
    (whole,) = _drift([(a, b)])
    (parts,) = _drift([(a[:3], b[:3]), (a[3:], b[3:])])
    assert whole.max_abs == parts.max_abs == pytest.approx(np.abs(b - a).max())
    ratio = 10 * np.log10(np.square(a, dtype=np.float64).sum() / np.square((b - a).astype(np.float64)).sum())
    assert whole.sqnr_db == pytest.approx(ratio, abs=1e-4)
    assert parts.sqnr_db == pytest.approx(ratio, abs=1e-4)
    assert whole.top1_agreement == parts.top1_agreement == np.mean(a.argmax(1) == b.argmax(1))


@pytest.mark.parametrize(("original", "converted", "largest"), [
    ([1.0, 2.0], [1.0, 2.0], 0.0), ([np.nan, 1.0], [np.nan, 1.0], 0.0), ([np.inf, 1.0], [np.inf, 1.0], 0.0),
    ([1.0, 2.0], [np.nan, 2.0], np.inf), ([np.nan, 2.0], [1.0, 2.0], np.inf), ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
    ([1.0, 2.0], [1.0, 5.0], 3.0), ([], [], 0.0),
])  # fmt: skip
def test_drift_of_what_is_not_finite(original, converted, largest):
    (drift,) = _drift([(np.array(original), np.array(converted))])
    assert drift.max_abs == largest
    assert (drift.sqnr_db is None) == (largest == 0)


def test_drift_without_signal_or_of_another_shape():
    assert _drift([(np.zeros(3), np.ones(3))])[0].sqnr_db == -np.inf
    assert _drift([(np.zeros(3), np.zeros(4))])[0].max_abs == np.inf
    assert _drift([(np.array(["a"]), np.array(["a"]))]) == ()
    assert _drift([([np.zeros(3), np.zeros(4)], [np.zeros(3), np.zeros(4)])]) == ()
    assert _drift([(np.array([1, 2]), np.array([1, 4]))])[0].max_abs == 2
