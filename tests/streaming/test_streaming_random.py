"""Random networks: the model's figures against a run with real numbers, and its need rows against onnxruntime.

Fifty networks of each test are drawn from a fixed seed. `TSE_RANDOM_NETWORKS=2000 pytest tests/streaming/test_streaming_random.py`
draws that many new ones.
"""

from __future__ import annotations

import os

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from onnx import helper

from tests.random_networks import OPERATORS, networks
from tests.turned import TURNED, turned
from tse_onnx import Machine
from tse_onnx.streaming.depths.model import measured
from tse_onnx.streaming.execute.certificate import certify
from tse_onnx.streaming.execute.kernels.cutting import cut
from tse_onnx.streaming.network.read import network_of

_MANY = int(os.environ.get("TSE_RANDOM_NETWORKS", "0"))
drawn = settings(
    max_examples=_MANY or 50, derandomize=not _MANY, deadline=None, database=None, print_blob=bool(_MANY),
    suppress_health_check=list(HealthCheck), phases=list(Phase) if _MANY else [Phase.generate],
)  # fmt: skip


def feed_of(network, seed=0):
    random = np.random.default_rng(seed)
    return {each.name: random.standard_normal(each.dims).astype(np.float32) for each in network.sources}


def assert_certified(model, machine=None, axis=0):
    network = network_of(model, axis=axis)
    found = certify(model, network, feed_of(network), machine=machine)
    assert found.passed, [proof.text for proof in found.proofs if not proof.passed]
    return found


@pytest.mark.slow
@drawn
@given(networks())
def test_a_random_network_runs_as_predicted(model):
    assert_certified(model)


@pytest.mark.slow
@drawn
@given(networks(steps=5))
def test_a_random_network_runs_as_predicted_with_a_fifo_per_reader(model):
    assert_certified(model, Machine(storage="per-reader"))


@pytest.mark.slow
@drawn
@given(networks())
def test_a_random_network_runs_by_columns_as_predicted(model):
    assert_certified(model, axis=1)


@pytest.mark.slow
@drawn
@given(networks(ops=TURNED))
def test_a_random_network_on_its_side_holds_by_columns_what_it_held_by_rows(model):
    side = turned(model)
    assert_certified(side, axis=1)
    networks_of_both = [network_of(each, axis=axis) for axis, each in enumerate((model, side))]
    # A row that is one column repeated is held as that column; of columns that are one row repeated nothing is known.
    assume(all(tensor.one_column is None for tensor in networks_of_both[0].tensors.values()))
    upright, sideways = (measured(each, Machine(), "") for each in networks_of_both)
    assert held(sideways) == held(upright)


def held(found):
    """What every tensor holds, without their shapes."""
    return [(each.tensor, each.kind, each.asap, each.min, each.no_stall) for each in found.buffers]


# Operators in which a row that is needed may still not show: a maximum hides the others, a value may round away.
_HIDING = {"Cast", "Greater", "QuantizeLinear", "DequantizeLinear", "ArgMax", "Where"}


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("operator", OPERATORS)
def test_need_rows_are_those_that_onnxruntime_depends_on(operator, axis):
    """Perturb one row of what a node reads, or column: those of its output that change are those that need it."""

    @settings(drawn, max_examples=max(6, _MANY // 10))
    @given(networks(steps=2, ops=(operator,)))
    def check(model):
        network = network_of(model, axis=axis)
        for stage in network.stages:
            if stage.node.op_type not in _HIDING and not stage.barrier and not degenerate(network, stage):
                assert_needs(model, network, stage)

    check()


def degenerate(network, stage):
    """A softmax of one value is 1 whatever that is, and the sum of the channels before the only one is 0."""
    if stage.node.op_type == "CumSum" and not stage.accumulates:
        return any(each.name == "exclusive" and each.i for each in stage.node.attribute)
    dims = network.tensors[stage.output].dims
    axis = next((each.i for each in stage.node.attribute if each.name == "axis"), -1)
    return stage.node.op_type in ("Softmax", "LayerNormalization") and dims[axis] == 1


def assert_needs(model, network, stage):
    """Compare need rows with the rows that move in the node by itself."""
    values = evaluated(model, network)
    graph = helper.make_graph(
        [stage.node],
        "one",
        [helper.make_tensor_value_info(name, network.tensors[name].dtype, network.tensors[name].dims)
         for name in stage.inputs],
        [helper.make_tensor_value_info(stage.output, network.tensors[stage.output].dtype, None)],
        [tensor for tensor in model.graph.initializer if tensor.name in stage.node.input],
    )  # fmt: skip
    session = opened(helper.make_model(graph, opset_imports=model.opset_import, ir_version=8))
    feed = {name: values[name] for name in stage.inputs}
    made = network.tensors[stage.output]
    still = cut(session.run([stage.output], feed)[0], made.rows)
    for name, need in zip(stage.inputs, stage.needs, strict=True):
        tensor = network.tensors[name]
        moved = [set() for _ in still]
        for row in range(tensor.row_count):
            for push in (40.0, -40.0, 0.3):
                changed = feed | {name: perturbed(feed[name], tensor, row, push)}
                for number, part in enumerate(cut(session.run([stage.output], changed)[0], made.rows)):
                    if differs(part, still[number], stage.node.op_type):
                        moved[number].add(row)
        wanted = [set(rows) for rows in need.rows]
        if stage.accumulates:  # what came earlier is in the accumulator
            wanted = [set().union(*wanted[: number + 1]) for number in range(len(wanted))]
        assert moved == wanted, (stage.label, stage.node)


def differs(part, still, op):
    """Whether a row has moved. Coordinates of a Resize are rounded: a weight of 1e-7 stands for none."""
    if op == "Resize":
        return not np.allclose(part, still, rtol=0, atol=1e-3, equal_nan=True)
    return not np.array_equal(part, still, equal_nan=True)


def perturbed(array, tensor, row, push):
    other = array.copy()
    mark = np.zeros(array.shape, np.int64)
    mark += np.arange(mark.size).reshape(mark.shape)
    random = np.random.default_rng(row)
    places = cut(mark, tensor.rows)[row].reshape(-1)
    flat = other.reshape(-1)
    flat[places] = (flat[places] + push * (0.5 + random.random(len(places)))).astype(array.dtype)
    return other


def evaluated(model, network):
    from onnx import ModelProto, ValueInfoProto

    wide = ModelProto()
    wide.CopyFrom(model)
    present = {value.name for value in wide.graph.output}
    names = [stage.output for stage in network.stages]
    wide.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in present)
    feed = feed_of(network)
    session = opened(wide)
    return feed | dict(zip(names, session.run(names, feed), strict=True))


def opened(model):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
