"""Every constant that the stages of a network read, as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from tse_onnx.errors import ModelError
from tse_onnx.files.external import check_locations, external_tensors, loaded
from tse_onnx.passes.graph.order import in_order
from tse_onnx.passes.reasons import first_line, quoted
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.streaming.network.constants import as_cast
from tse_onnx.streaming.network.network import Network


def weights_of(model: ModelProto, network: Network, folder: Path | None) -> dict[str, np.ndarray]:
    """Constants by name, those that are computed too. `folder` is where weights lie that are in files of their own.

    Raises `ModelError` where they cannot be read.
    """
    wanted = {name for stage in network.stages for name in stage.node.input if name and name not in network.tensors}
    if any(True for _ in external_tensors(model)):
        model = _loaded(model, folder)
    found = {tensor.name: _numbers(tensor) for tensor in model.graph.initializer if tensor.name in wanted}
    computed = wanted - set(found)
    if computed:
        found.update(_computed(model, network, computed))
    return found


def _numbers(tensor: TensorProto) -> np.ndarray:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"cannot read initializer {quoted(tensor.name)}: {first_line(error)}") from error


def _loaded(model: ModelProto, folder: Path | None) -> ModelProto:
    check_locations(model, folder)
    whole = ModelProto()
    whole.CopyFrom(model)
    for tensor in external_tensors(whole):
        tensor.CopyFrom(loaded(tensor, folder or Path()))
    return whole


def _computed(model: ModelProto, network: Network, wanted: set[str]) -> dict[str, np.ndarray]:
    """What nodes without inputs that stream compute, by onnxruntime."""
    order, _ = in_order(model.graph.node)
    nodes = [model.graph.node[position] for position in order]
    nodes = [node for node in nodes if any(name in network.constants.names for name in node.output)]
    needed, kept = set(wanted), list[NodeProto]()
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(_without_streams(node, network))
            needed.update(name for name in kept[-1].input if name)
    graph = helper.make_graph(
        kept[::-1],
        "constants",
        [],
        [ValueInfoProto(name=name) for name in sorted(wanted)],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    folded = ModelProto(ir_version=max(model.ir_version, 8), graph=graph, opset_import=model.opset_import)
    try:
        values = evaluate(folded)
    except Exception as error:  # onnxruntime's own types are not exported in every release
        raise ModelError(f"the model's constants cannot be computed: {first_line(error)}") from error
    return dict(zip(sorted(wanted), values, strict=True))


def _without_streams(node: NodeProto, network: Network) -> NodeProto:
    """The node without the tensors that stream of which it wants to know the shape or the type alone."""
    if node.op_type == "CastLike" and node.input[1] in network.tensors:
        return as_cast(node, network.tensors[node.input[1]].dtype)
    if node.op_type not in ("Shape", "Size") or node.input[0] not in network.tensors:
        return node
    value = network.constants.value(node.output[0])
    tensor: TensorProto = numpy_helper.from_array(np.asarray(value, np.int64))
    return helper.make_node("Constant", [], list(node.output), value=tensor)
