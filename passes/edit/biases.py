"""Biases that are moved, and the way back: what they were is kept in one entry of the model's metadata."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tse_onnx.errors import ModelError
from tse_onnx.passes.edit.record import packed, unpacked
from tse_onnx.passes.graph.index import GraphIndex, int_attribute
from tse_onnx.passes.graph.nested import taken_names
from tse_onnx.passes.names import fresh
from tse_onnx.passes.reasons import quoted

BIASES = "tse_onnx.biases"
_FORMAT = 1
_DAMAGED = "what the model's metadata remember of its biases is damaged"


@dataclass(frozen=True, eq=False)
class Bias:
    """The bias of a convolution: the initializer that holds it and that nothing else reads, and what one of its whole
    numbers stands for [channels]; None for a bias in floating point."""

    initializer: str
    step: np.ndarray | None


def with_biases(model: ModelProto, layers: Iterable[str]) -> tuple[ModelProto, dict[str, Bias], dict[str, str]]:
    """A copy of the model in which each of `layers`, convolutions by their outputs, has a bias of its own; the biases,
    and why others cannot have one.

    Where there is none yet it is zeros, in int32 where input and weights are quantised, by the scale of their products.
    """
    made = ModelProto()
    made.CopyFrom(model)
    graph, taken, index = made.graph, taken_names(model), GraphIndex.of_graph(model.graph)
    found, left, new = dict[str, Bias](), dict[str, str](), dict[int, NodeProto]()
    for layer in layers:
        position = index.producer(layer)
        assert position is not None
        node = graph.node[position]
        if len(node.input) > 2 and node.input[2]:
            bias = _there(index, node.input[2])
        else:
            bias = _zeros(index, node, taken, graph, new, position)
        if isinstance(bias, str):
            left[layer] = bias
        else:
            found[layer] = bias
    for position in sorted(new, reverse=True):
        graph.node.insert(position, new[position])
    return made, found, left


def _zeros(
    index: GraphIndex, node: NodeProto, taken: set[str], graph: GraphProto, new: dict[int, NodeProto], position: int
) -> Bias | str:
    """Give a convolution a bias of zeros; a node that makes it is among the `new` ones, by position."""
    scales, weight = [_scale_of(index, name) for name in node.input[:2]], _weight(index, node.input[1])
    if weight is None:
        return "its weights are computed"
    channels = weight.dims[0] if node.op_type == "Conv" else weight.dims[1] * int_attribute(node, "group", 1)
    name = fresh(f"{node.output[0]}_bias", taken)
    if scales[0] is None or scales[1] is None:
        if weight.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
            return "its weights are quantised, and its input is not"
        dtype = helper.tensor_dtype_to_np_dtype(weight.data_type)
        graph.initializer.append(numpy_helper.from_array(np.zeros(channels, dtype), name))
        held, step = name, None
    else:
        weights = np.resize(scales[1], channels)  # the groups of a transposed convolution have the same
        step = scales[0] * weights
        held, scale, zero = (fresh(f"{name}_quantized{end}", taken) for end in ("", "_scale", "_zero_point"))
        zeros = np.zeros(channels, np.int32)
        graph.initializer.append(numpy_helper.from_array(zeros, held))
        graph.initializer.append(numpy_helper.from_array(step, scale))
        graph.initializer.append(numpy_helper.from_array(zeros, zero))
        title = fresh(f"{name}_DequantizeLinear", taken)
        new[position] = helper.make_node("DequantizeLinear", [held, scale, zero], [name], title, axis=0)
    del node.input[2:]
    node.input.append(name)
    return Bias(held, step)


def move(tensor: TensorProto, bias: Bias, by: np.ndarray) -> np.ndarray:
    """Add `by` [channels] to a bias, as near as its numbers come to that; what was added."""
    old = numpy_helper.to_array(tensor)
    added: np.ndarray
    if bias.step is None:
        new = (old.astype(np.float64) + by).astype(old.dtype)
        added = new.astype(np.float64) - old
    else:
        step = bias.step.astype(np.float64)
        ends = np.iinfo(np.int32)
        new = np.clip(old + np.round(by / step), ends.min, ends.max).astype(np.int32)
        added = (new.astype(np.float64) - old) * step
    tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
    return added


def remember(before: ModelProto, after: ModelProto, layers: Iterable[str]) -> None:
    """Have `after` remember the biases of `before`, of which it differs in these `layers`, the outputs of convolutions,
    alone."""
    old = {tensor.name: tensor for tensor in before.graph.initializer}
    kept = GraphProto()
    for tensor in after.graph.initializer:
        if tensor.name in old and tensor != old[tensor.name]:
            kept.initializer.append(old[tensor.name])
    reads = {name: len(node.input) for node in before.graph.node for name in node.output}
    story = {
        "format": _FORMAT,
        "layers": list(layers),
        "initializers": [tensor.name for tensor in after.graph.initializer if tensor.name not in old],
        "nodes": [node.output[0] for node in after.graph.node if node.output[0] not in reads],
        "given": [
            node.output[0] for node in after.graph.node if len(node.input) > reads.get(node.output[0], len(node.input))
        ],
    }
    kept.doc_string = json.dumps(story, separators=(",", ":"))
    after.metadata_props.add(key=BIASES, value=packed(kept.SerializeToString(deterministic=True)))


def put_back(model: ModelProto) -> tuple[ModelProto, tuple[str, ...]]:
    """A copy of the model with the biases that it had, and the convolutions whose biases were moved, by their outputs;
    the model itself where none was.

    Raises `ModelError` where what they were cannot be read, or another tool took away what was moved.
    """
    entries = [place for place, entry in enumerate(model.metadata_props) if entry.key == BIASES]
    if not entries:
        return model, ()
    made = ModelProto()
    made.CopyFrom(model)
    layers: list[str] = []
    for place in reversed(entries):  # what was moved last is put back first
        try:
            kept = GraphProto.FromString(unpacked(made.metadata_props[place].value))
            story = json.loads(kept.doc_string)
            if story["format"] != _FORMAT:
                raise ModelError("its biases were moved by a version of tse-onnx that this one does not know")
            _undo(made.graph, kept, story)
            layers += story["layers"]
        except (ValueError, KeyError, TypeError, AttributeError, zlib.error, DecodeError) as error:
            raise ModelError(_DAMAGED) from error
        del made.metadata_props[place]
    return made, tuple(layers)


def _undo(graph: GraphProto, kept: GraphProto, story: Mapping[str, list[str]]) -> None:
    there = {tensor.name: tensor for tensor in graph.initializer}
    nodes = {node.output[0]: node for node in graph.node if node.output}
    for name in (*(tensor.name for tensor in kept.initializer), *story["initializers"]):
        if name not in there:
            raise _gone(name)
    for name in (*story["nodes"], *story["given"]):
        if name not in nodes:
            raise _gone(name)
    for tensor in kept.initializer:
        there[tensor.name].CopyFrom(tensor)
    for name in story["given"]:
        del nodes[name].input[2:]
    for entries, gone in ((graph.initializer, set(story["initializers"])), (graph.node, set(story["nodes"]))):
        for place in reversed(range(len(entries))):
            entry = entries[place]
            if (entry.name if isinstance(entry, TensorProto) else entry.output[0]) in gone:
                del entries[place]


def _gone(name: str) -> ModelError:
    return ModelError(
        f"{quoted(name)} belongs to a bias that was corrected, and another tool has taken it away since: quantise the "
        "float model anew"
    )


def _there(index: GraphIndex, name: str) -> Bias | str:
    """A bias that is there, quantised or not."""
    step = _scale_of(index, name)
    position = index.producer(name)
    alone = len(index.uses(name)) == 1
    if step is not None and position is not None:
        initializer = index.nodes[position].input[0]
        alone = alone and len(index.uses(initializer)) == 1
        name = initializer
    if name not in index.initializers:
        return "its bias is computed"
    return Bias(name, step) if alone else "it shares its bias"


def _scale_of(index: GraphIndex, name: str) -> np.ndarray | None:
    """The scale of a value that a DequantizeLinear makes."""
    position = index.producer(name)
    if position is None or index.nodes[position].op_type != "DequantizeLinear":
        return None
    scale = index.initializers.get(index.nodes[position].input[1])
    return None if scale is None else numpy_helper.to_array(scale)


def _weight(index: GraphIndex, name: str) -> TensorProto | None:
    position = index.producer(name)
    if position is not None and index.nodes[position].op_type == "DequantizeLinear":
        name = index.nodes[position].input[0]
    return index.initializers.get(name)
