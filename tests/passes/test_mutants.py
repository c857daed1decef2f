"""Near misses of any spelling: one thing is wrong, so the block is refused and its graph comes out unchanged."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import helper

import tse_onnx
from tests.passes.test_spellings import sensible, spellings
from tests.spellings import model_of


def _index(model):
    return {name: node for node in model.graph.node for name in node.output}


def _scale(model):
    """The place of the product of map and gate: the last node but for a view that is laid back behind it."""
    nodes = model.graph.node
    return next((place for place, node in enumerate(nodes) if "scaled" in node.output), len(nodes) - 1)


def _path(model):
    """Names of the values between the squeeze and the scale, found by walking up from the scale to `v0`, the map."""
    made, scale = _index(model), model.graph.node[_scale(model)]
    map_side = {
        "v0",
        *(node.output[0] for node in model.graph.node if node.op_type == "Transpose" and node.input[0] == "v0"),
        *(name for name in scale.input if name in made and made[name].input[:1] == ["v0"]),
    }
    found, wanted = [], [name for name in scale.input if name not in map_side]
    while wanted:
        name = wanted.pop()
        node = made.get(name)
        if node is None or name in map_side or name in found or node.op_type == "Constant":
            continue
        if any(source in map_side for source in node.input) and node.op_type in ("Shape",):
            continue
        found.append(name)
        wanted += [source for source in node.input if source]
    return found


def second_reader(model, draw):
    """A value on the way is read elsewhere."""
    values = [name for name in _path(model) if _depends(model, name)]
    assume(values)
    name = draw(st.sampled_from(values))
    model.graph.node.append(helper.make_node("Identity", [name], ["seen"], name="seen"))
    model.graph.output.append(onnx.ValueInfoProto(name="seen"))


def output(model, draw):
    """A value on the way is an output of the graph."""
    values = [name for name in _path(model) if _depends(model, name)]
    assume(values)
    model.graph.output.append(onnx.ValueInfoProto(name=draw(st.sampled_from(values))))


def another_map(model, draw):
    """The gate scales another tensor than the one that was pooled."""
    place = _scale(model)
    scale = model.graph.node[place]
    path = set(_path(model))
    slot = next(slot for slot, name in enumerate(scale.input) if name not in path)
    model.graph.node.insert(place, helper.make_node("Tanh", [scale.input[slot]], ["other"], name="other"))
    model.graph.node[place + 1].input[slot] = "other"


def not_a_product(model, draw):
    """The gate is added, subtracted or divided by."""
    model.graph.node[_scale(model)].op_type = draw(st.sampled_from(["Add", "Sub", "Div"]))


def live_weight(model, draw):
    """A weight of the excite comes from outside."""
    heavy = [tensor for tensor in model.graph.initializer if len(tensor.dims) > 1 and max(tensor.dims) > 1]
    assume(heavy)
    tensor = draw(st.sampled_from(heavy))
    model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    model.graph.initializer.remove(tensor)


def maximum(model, draw):
    """A maximum in place of the mean."""
    pools = [node for node in model.graph.node if node.op_type in ("GlobalAveragePool", "ReduceMean", "AveragePool")]
    assume(pools)
    for node in pools:
        node.op_type = {"GlobalAveragePool": "GlobalMaxPool", "AveragePool": "MaxPool", "ReduceMean": "ReduceMax"}[
            node.op_type
        ]


def _depends(model, name):
    """Whether a value depends on the map, and is not the constant or the size of something."""
    made, stack, seen = _index(model), [name], set()
    while stack:
        node = made.get(stack.pop())
        if node is None or node.output[0] in seen or node.op_type in ("Shape", "Constant"):
            continue
        seen.add(node.output[0])
        if "v0" in node.input or node.output[0] == "v0":
            return True
        stack += node.input
    return False


MUTATIONS = [second_reader, output, another_map, not_a_product, live_weight, maximum]


@given(spelling=spellings, mutation=st.sampled_from(MUTATIONS), rows=st.integers(1, 6), data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.slow
def test_a_near_miss_is_refused_and_left_alone(spelling, mutation, rows, data):
    model, _ = model_of(sensible(spelling))
    assume(all(block.status == "convertible" for block in tse_onnx.find_blocks(model)))
    mutation(model, data.draw)
    before = model.SerializeToString()
    result = tse_onnx.convert(model, rows=rows, verify=False)
    assert [decision.status for decision in result.blocks if decision.status != "refused"] == [], mutation.__name__
    assert all(decision.reason and "\n" not in decision.reason for decision in result.blocks)
    assert result.model.SerializeToString() == before
