"""What is listed as stopping the stream of a random network, against the simulation, which knows nothing of it.

A tensor that the simulation holds whole, though its readers' own windows are smaller, waits for something; whatever waits is
behind a stop, and a stop makes what it names wait.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from onnx import ModelProto

import tse_onnx
from tests.random_networks import networks
from tests.streaming.test_streaming_random import drawn
from tse_onnx import Machine
from tse_onnx.streaming.depths.model import measured
from tse_onnx.streaming.depths.stops import stops_of
from tse_onnx.streaming.network.network import Network
from tse_onnx.streaming.network.read import network_of


def behind(model: ModelProto, node: str) -> set[str]:
    """The values that are made of what a node makes, by the model's graph alone."""
    found = {name for each in model.graph.node if node in (each.name, *each.output) for name in each.output}
    for each in model.graph.node:  # in topological order
        if found.intersection(each.input):
            found.update(each.output)
    return found


def goes_back(network: Network, name: str) -> bool:
    """Whether a reader of a tensor needs a row of it again that lies before one that it needed."""
    for stage in network.stages:
        for read, need in zip(stage.inputs, stage.needs, strict=True):
            firsts = [min(rows) for rows in need.rows if rows]
            if read == name and firsts != sorted(firsts):
                return True
    return False


def check(model: ModelProto, network: Network) -> None:
    stops = stops_of(network)
    held = {buffer.tensor: buffer for buffer in measured(network, Machine(), "random").buffers}
    apart = measured(network, Machine(storage="per-reader"), "random").buffers if stops else ()
    for stop in stops:
        buffer = held[stop.tensor]
        assert (stop.rows, stop.elements) == (buffer.asap.rows, buffer.asap.elements)
        assert buffer.height >= stop.rows > 1, (stop, buffer)
        own = [each for each in apart if each.tensor == stop.tensor]
        assert any(each.asap.rows > each.window or each.asap.rows == each.height for each in own), (stop, own)
    made = {name: each for each in model.graph.node for name in each.output}
    waits = {stop.node: behind(model, stop.node) for stop in stops}
    for stage in network.stages:
        if stage.barrier and any(network.tensors[name].row_count > 1 for name in stage.inputs):
            assert stage.output in made
            assert any(stop.node in (stage.node.name, stage.output) for stop in stops), (stage.label, stage.barrier)
    for name, buffer in held.items():
        if buffer.height > 1 and buffer.asap.rows >= buffer.height > buffer.window and not goes_back(network, name):
            readers = [each for each in model.graph.node if name in each.input]
            assert any(
                stop.tensor == name or found.intersection(reader.input)
                for reader in readers
                for (stop, found) in zip(stops, waits.values(), strict=True)
            ), (name, buffer.why)


@pytest.mark.slow
@drawn
@given(networks())
def test_what_waits_is_behind_a_stop_and_a_stop_makes_something_wait(model):
    check(model, network_of(model))


@pytest.mark.slow
@drawn
@given(
    networks(ops=("conv", "se", "gate_tile", "normalise", "attention", "barrier", "reduce", "multiply", "add", "split"))
)
def test_networks_of_what_stops_mostly(model):
    check(model, network_of(model))


@pytest.mark.slow
@drawn
@given(networks())
def test_what_is_listed_of_a_model_is_what_no_block_accounts_for(model):
    network = network_of(model)
    found = tse_onnx.inspect(model, kinds="all")
    blocks = {block.squeeze.output for block in found.blocks if block.refusal is None}
    assert {stop.node for stop in found.stops} == {
        stop.node for stop in stops_of(network) if not blocks & set(_outputs(model, stop.node))
    }


def _outputs(model: ModelProto, node: str) -> list[str]:
    return [name for each in model.graph.node if node in (each.name, *each.output) for name in each.output]
