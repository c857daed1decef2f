"""FINN's depths, against layers that hand words to each other through queues as short as FINN may make them.

The oracle has its own layers, each a coroutine that reads and writes words: windows from a line buffer, copies word by word,
joins that read one operand after the other. Only queues into joins are as deep as is exported; all others have two words.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import helper, shape_inference

from benchmarks.hls4ml.network import CHANNELS, NETWORKS, network
from tse_onnx import Machine
from tse_onnx.streaming.handover import finn_folding
from tse_onnx.streaming.network.read import network_of

LAYERS = {"Add": "AddStreams_hls", "Concat": "StreamingConcat_hls", "Mul": "ElementwiseMul_hls"}
SHORT = 2


class Queue:
    def __init__(self, room):
        self.room, self.words, self.moved = room, 0, 0


def read(queue):
    while not queue.words:
        yield
    queue.words -= 1
    queue.moved += 1


def write(queue):
    while queue.words >= queue.room:
        yield
    queue.words += 1


def windows(source, sink, words_in, words_out, last):
    """A layer with a line buffer: it reads as far as the next pixel needs, then writes that; in the end it reads all."""
    taken = 0
    for pixel, upto in enumerate(last):
        final = pixel == len(last) - 1
        while taken < (words_in[1] if final else upto + 1):
            for _ in range(words_in[0]):
                yield from read(source)
            taken += 1
        for _ in range(words_out):
            yield from write(sink)


def joins(sources, sink, words, pixels, op):
    """Add and Mul take a word of each; Concat the words of a pixel of one, then those of the other."""
    for _ in range(pixels):
        for times, group in [(words, sources)] if op != "Concat" else [(words, [each]) for each in sources]:
            for _ in range(times):
                for source in group:
                    yield from read(source)
                yield from write(sink)


def copies(source, sinks, words):
    for _ in range(words):
        yield from read(source)
        for sink in sinks:
            yield from write(sink)


def feeds(sink, words):
    for _ in range(words):
        yield from write(sink)


def drains(source, words):
    for _ in range(words):
        yield from read(source)


def last_needed(node, before, after):
    """For each pixel of the output the last one of the input that it needs, in raster order, by definition."""
    (height, width), (high, wide) = before, after
    said = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    found = []
    for row in range(high):
        for column in range(wide):
            if node.op_type in ("Conv", "AveragePool"):
                kernel, strides = said["kernel_shape"], said.get("strides", [1, 1])
                pads = said.get("pads", [0, 0, 0, 0])
                down = min(height - 1, row * strides[0] - pads[0] + kernel[0] - 1)
                across = min(width - 1, column * strides[1] - pads[1] + kernel[1] - 1)
            else:
                down, across = row * height // high, column * width // wide
            found.append(down * width + across)
    return list(np.maximum.accumulate(found))


def completes(model, depths, lanes):
    graph = shape_inference.infer_shapes(model).graph
    dims = {each.name: tuple(axis.dim_value for axis in each.type.tensor_type.shape.dim)
            for each in (*graph.input, *graph.value_info, *graph.output)}  # fmt: skip
    words = {name: shape[1] // lanes for name, shape in dims.items()}
    pixels = {name: math.prod(shape[2:]) for name, shape in dims.items()}
    read_by, counts, actors = {name: [] for name in dims}, dict.fromkeys(LAYERS, 0), []
    out = {name: Queue(SHORT) for name in dims}  # what a layer writes into
    for node in model.graph.node:
        streams = [name for name in node.input if name in dims]
        rooms = [SHORT] * len(streams)
        if len(streams) > 1:
            rooms = depths[f"{LAYERS[node.op_type]}_{counts[node.op_type]}"]["inFIFODepths"]
            counts[node.op_type] += 1
        queues = [Queue(room) for room in rooms]
        for name, queue in zip(streams, queues, strict=True):
            read_by[name].append(queue)
        (made,) = node.output
        if len(streams) > 1:
            actors.append(joins(queues, out[made], words[streams[0]], pixels[made], node.op_type))
        else:
            (source,) = streams
            last = last_needed(node, dims[source][2:], dims[made][2:])
            actors.append(windows(queues[0], out[made], (words[source], pixels[source]), words[made], last))
    actors.append(feeds(out["x"], words["x"] * pixels["x"]))
    for name, queues in read_by.items():
        if queues:
            actors.append(copies(out[name], queues, words[name] * pixels[name]))
        else:
            actors.append(drains(out[name], words[name] * pixels[name]))
    every = [*out.values(), *(queue for queues in read_by.values() for queue in queues)]
    before = None
    while actors:
        actors = [actor for actor in actors if step(actor)]
        now = [(queue.moved, queue.words) for queue in every]
        if now == before:
            return False
        before = now
    return True


def step(actor):
    """Let a layer go on until it waits; whether it is not done."""
    for _ in actor:
        return True
    return False


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_short_streams_and_joins_as_exported_never_halt(name, lanes):
    model = network(name)
    depths = finn_folding(network_of(model), Machine(macs_per_cycle=9, elements_per_cycle=lanes))
    assert completes(model, depths, lanes)
    # The deepest is no more than two pixels for each layer deeper than it has to be.
    layer, port = max(((layer, port) for layer in depths for port in (0, 1) if layer != "Defaults"),
                      key=lambda each: depths[each[0]]["inFIFODepths"][each[1]])  # fmt: skip
    depths[layer]["inFIFODepths"][port] -= 2 * len(model.graph.node) * CHANNELS // lanes
    assert not completes(model, depths, lanes)
