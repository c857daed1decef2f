"""What is worked out of a graph's arithmetic is what onnxruntime computes, whatever the sizes that are not known are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import tse_onnx
from tests.graphs import se_body, se_weights, text_model
from tests.running import session
from tse_onnx.passes.graph.folding import Folding, Size
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.types import Types, tensor_types

# One-liners over lists `a` and `b`: what each makes is a further list.
LISTS = {
    "Add": ("Add", {}), "Sub": ("Sub", {}), "Mul": ("Mul", {}), "Div": ("Div", {}), "Min": ("Min", {}),
    "Max": ("Max", {}), "Concat": ("Concat", {"axis": 0}),
}  # fmt: skip


def folding_of(nodes: list[onnx.NodeProto], dims: tuple[int | str, ...]) -> Folding:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
    graph = helper.make_graph(nodes, "sizes", [given], [])
    return Folding(GraphIndex.of_graph(graph), Types(tensor_types(graph.input), {}, dict))


def computed(nodes: list[onnx.NodeProto], value: str, sizes: tuple[int, ...]) -> np.ndarray:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * len(sizes))
    graph = helper.make_graph(nodes, "sizes", [given], [onnx.ValueInfoProto(name=value)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return session(model).run(None, {"x": np.zeros(sizes, np.float32)})[0]


@st.composite
def programs(draw: st.DrawFn) -> list[onnx.NodeProto]:
    """Lists of sizes, made of the shape of x and of numbers."""
    made = ["shape"]
    nodes = [helper.make_node("Shape", ["x"], ["shape"])]

    def constant(numbers: list[int]) -> str:
        name = f"c{len(nodes)}"
        value = onnx.numpy_helper.from_array(np.array(numbers, np.int64))
        nodes.append(helper.make_node("Constant", [], [name], value=value))
        return name

    for number in range(draw(st.integers(1, 8))):
        source, name = draw(st.sampled_from(made)), f"v{number}"
        kind = draw(st.sampled_from([*LISTS, "Gather", "Slice", "Reshape", "Cast", "Prod", "Where", "Unsqueeze"]))
        if kind in LISTS:
            other = draw(st.sampled_from(made)) if draw(st.booleans()) else constant([draw(st.integers(-2, 5))])
            nodes.append(helper.make_node(LISTS[kind][0], [source, other], [name], **LISTS[kind][1]))
        elif kind == "Gather":
            places = draw(st.lists(st.integers(-1, 0), min_size=1, max_size=3))
            nodes.append(helper.make_node("Gather", [source, constant(places)], [name]))
        elif kind == "Slice":
            ends = [constant([draw(st.integers(-2, 1))]), constant([draw(st.integers(1, 9))])]
            nodes.append(helper.make_node("Slice", [source, *ends, constant([0])], [name]))
        elif kind == "Reshape":
            nodes.append(helper.make_node("Reshape", [source, constant([-1])], [name]))
        elif kind == "Unsqueeze":
            nodes.append(helper.make_node("Unsqueeze", [source, constant([0])], [f"{name}u"]))
            nodes.append(helper.make_node("Squeeze", [f"{name}u", constant([0])], [name]))
        elif kind == "Cast":
            nodes.append(helper.make_node("Cast", [source], [f"{name}f"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Floor", [f"{name}f"], [f"{name}r"]))
            nodes.append(helper.make_node("Cast", [f"{name}r"], [name], to=TensorProto.INT64))
        elif kind == "Prod":
            nodes.append(helper.make_node("ReduceProd", [source], [name], keepdims=1))
        else:
            nodes.append(helper.make_node("Equal", [source, constant([-1])], [f"{name}e"]))
            nodes.append(helper.make_node("Where", [f"{name}e", constant([1]), source], [name]))
        made.append(name)
    return nodes


@given(nodes=programs(), known=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.slow
def test_a_number_that_is_known_is_what_onnxruntime_computes(nodes, known):
    value = nodes[-1].output[0]
    dims = (2, 6, 5) if known else ("N", 6, 5)
    found = folding_of(nodes, dims).sizes(value)
    batches = (2,) if known else (1, 2, 7)
    for batch in batches:
        try:
            expected = computed(nodes, value, (batch, 6, 5))
        except Exception:
            return  # shapes that do not fit, or a division by nothing
        if found is None:
            continue
        assert found.shape == expected.shape
        for one, other in zip(found.flat, expected.flat, strict=True):
            if not isinstance(one, Size):
                assert one == other
            elif one.names is not None:
                assert set(one.names) == {"N"}
                assert one.times * batch ** len(one.names) == other


def test_something_is_known_of_a_shape_with_an_open_batch():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Constant", [], ["c"], value_ints=[0, 2]),
        helper.make_node("Gather", ["shape", "c"], ["some"]),
        helper.make_node("Mul", ["some", "some"], ["squares"]),
    ]
    assert folding_of(nodes, ("N", 6, 5)).sizes("squares").tolist() == [Size(("N", "N")), 25]
    assert folding_of(nodes, ("N", 6, 5)).numbers("squares") is None
    assert folding_of(nodes, (3, 6, 5)).numbers("squares").tolist() == [9, 25]


@pytest.mark.parametrize("op", ["Min", "Max"])
def test_nothing_is_said_of_what_depends_on_an_open_size(op):
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Constant", [], ["c"], value_ints=[4]),
        helper.make_node(op, ["shape", "c"], ["bound"]),
    ]
    assert folding_of(nodes, ("N", 6)).sizes("bound").tolist() == [Size(None), 4 if op == "Min" else 6]


def test_a_division_of_whole_numbers_is_cut_towards_zero():
    nodes = [
        helper.make_node("Constant", [], ["a"], value_ints=[-7, 7, -6]),
        helper.make_node("Constant", [], ["b"], value_ints=[2, -2, 2]),
        helper.make_node("Div", ["a", "b"], ["q"]),
    ]
    assert folding_of(nodes, (1,)).numbers("q").tolist() == computed(nodes, "q", (1,)).tolist() == [-3, -3, -3]


def test_a_cycle_is_no_number():
    nodes = [helper.make_node("Add", ["b", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    assert folding_of(nodes, (1,)).numbers("a") is None


# Everything that makes one over the area of a map, or the area, and what the sum meets it in.
AREAS = {
    "a product": ("area = Mul(height, width)\nv = Cast<to = 1>(area)", "Div(t, v)"),
    "a product of numbers that are not whole": (
        "b = Cast<to = 1>(height)\nc = Cast<to = 1>(width)\nv = Mul(b, c)", "Div(t, v)"),
    "one after the other": ("b = Cast<to = 1>(height)\nc = Cast<to = 1>(width)\nu = Div(t, c)", "Div(u, b)"),
    "a list": ("l = Shape<start = 2>(SOURCE)\narea = ReduceProd<keepdims = 0>(l)\nv = Cast<to = 1>(area)", "Div(t, v)"),
    "its reciprocal": ("area = Mul(height, width)\nb = Cast<to = 1>(area)\nv = Reciprocal(b)", "Mul(v, t)"),
    "one over it": (
        "one = Constant<value_float = 1.0>()\narea = Mul(height, width)\nb = Cast<to = 1>(area)\nv = Div(one, b)", "Mul(t, v)"),
    "all elements over those of a pixel": (
        "all = Size(SOURCE)\nz = Constant<value_ints = [0, 1]>()\nl = Gather(shape, z)\n"
        "n = ReduceProd<keepdims = 0>(l)\narea = Div(all, n)\nv = Cast<to = 1>(area)", "Div(t, v)"),
}  # fmt: skip


def summed(area: str, scaled: str, source: str = "h") -> onnx.ModelProto:
    squeeze = f"""axes = Constant<value = int64[2] {{2, 3}}>()
    two = Constant<value = int64 {{2}}>()
    three = Constant<value = int64 {{3}}>()
    shape = Shape({source})
    height = Gather<axis = 0>(shape, two)
    width = Gather<axis = 0>(shape, three)
    t = ReduceSum(h, axes)
    {area.replace("SOURCE", source)}
    d = {scaled}"""
    body = "\n".join(("h = LeakyRelu(x)", squeeze, *se_body().splitlines()[1:], "y = Neg(s)"))
    return text_model(body, se_weights(), inputs="float[N, 8, H, W] x", outputs="float[N, 8, H, W] y")


@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize("source", ["h", "x"])
@pytest.mark.parametrize("asked", [{}, {"dynamic": True}], ids=["bound", "open"])
def test_a_sum_is_a_mean_whether_the_sizes_that_it_is_divided_by_are_known_or_not(area, source, asked):
    model = summed(*AREAS[area], source)
    result = tse_onnx.convert(model, rows=4, input_shapes={"x": (2, 8, 18, 9)}, **asked)
    assert result.report.buffering.totals.converted == 1
    assert result.verification.passed
    assert not any(node.op_type in ("ReduceSum", "Div", "Size") for node in result.model.graph.node)
    assert tse_onnx.restore(result.model).model.graph.node == model.graph.node


@pytest.mark.parametrize(
    ("area", "scaled"),
    [
        ("area = Mul(height, height)\nv = Cast<to = 1>(area)", "Div(t, v)"),
        ("area = Cast<to = 1>(height)\nv = Reciprocal(area)", "Mul(v, t)"),
        ("one = Constant<value_float = 2.0>()\narea = Mul(height, width)\nb = Cast<to = 1>(area)\nv = Div(one, b)", "Mul(t, v)"),
        ("one = Constant<value_float = 1.0>()\narea = Mul(height, width)\nb = Cast<to = 1>(area)\nv = Div(one, b)", "Div(t, v)"),
        ("zero = Constant<value_int = 0>()\nn = Gather(shape, zero)\narea = Mul(height, width)\nb = Div(area, n)\nv = Cast<to = 1>(b)", "Div(t, v)"),
        ("all = Size(h)\nn = Gather(shape, two)\narea = Div(all, n)\nv = Cast<to = 1>(area)", "Div(t, v)"),
        ("one = Constant<value_int = 1>()\narea = Mul(height, width)\nb = Div(one, area)\nv = Cast<to = 1>(b)", "Mul(t, v)"),
    ],
)  # fmt: skip
def test_a_sum_that_is_divided_by_another_size_is_no_mean(area, scaled):
    (block,) = tse_onnx.find_blocks(summed(area, scaled))
    assert (block.status, block.refusal.code) == ("refused", "size")
    result = tse_onnx.convert(summed(area, scaled), rows=4, input_shapes={"x": (2, 8, 18, 9)})
    assert [one.refusal.code for one in result.blocks] == ["axes"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dims", [("N", 6), (7, 6)])
def test_squares_of_squares_neither_grow_nor_warn(dims):
    """Sixty squarings of one size would be a product of 2⁶⁰ names, or a number that no integer of a runtime holds."""
    nodes = [helper.make_node("Shape", ["x"], ["v0"])]
    nodes += [helper.make_node("Mul", [f"v{number}"] * 2, [f"v{number + 1}"]) for number in range(60)]
    first, second = folding_of(nodes, dims).sizes("v60")
    assert first == (Size(None) if dims[0] == "N" else computed(nodes, "v60", dims)[0])
    assert second == computed(nodes, "v60", (7, 6))[1]


@pytest.mark.filterwarnings("error")
def test_lists_that_double_are_given_up():
    nodes = [helper.make_node("Shape", ["x"], ["v0"])]
    nodes += [helper.make_node("Concat", [f"v{number}"] * 2, [f"v{number + 1}"], axis=0) for number in range(90)]
    assert folding_of(nodes, (7, 6)).sizes("v90") is None
    assert folding_of(nodes, (7, 6)).sizes("v4").size == 32
