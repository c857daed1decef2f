"""A random network on its side: height and width exchanged in every node, so that its columns are what its rows were."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference

from tests.random_networks import OPERATORS

# Those that normalise over the last axis, cut it up, or go on with three axes, of which one alone is of space.
TURNED = tuple(name for name in OPERATORS if name not in ("barrier", "layer_norm", "shuffle"))
_OTHER = {2: 3, 3: 2}
_SIZES = {"Expand": (1,), "Pad": (1,), "Resize": (1, 2, 3), "Reshape": (1,), "Tile": (1,)}
_AXES = {"CumSum": 1, "Slice": 3}


def turned(model: ModelProto) -> ModelProto:
    """The network with height and width exchanged. What a Reshape merges comes in another order: the rows are those of
    the network as it was, the numbers need not be."""
    shapes = _shapes(model)
    made = ModelProto()
    made.CopyFrom(model)
    del made.graph.value_info[:]
    for value in (*made.graph.input, *made.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value in made.graph.output:
            value.type.tensor_type.ClearField("shape")
        elif len(dims) == 4:
            dims[2].dim_value, dims[3].dim_value = dims[3].dim_value, dims[2].dim_value
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    behind = set[str]()  # values whose channels are last
    for node in made.graph.node:
        if node.op_type == "Transpose":
            if helper.get_node_attr_value(node, "perm") == [0, 2, 3, 1]:
                behind.add(node.output[0])
        elif any(name in behind for name in node.input):
            behind.add(node.output[0])
        elif any(len(shapes.get(name, ())) == 4 for name in node.input):
            _turn(node, weights, shapes)
    del made.graph.initializer[:]
    made.graph.initializer.extend(numpy_helper.from_array(np.array(value, order="C"), name)
                                  for name, value in weights.items())  # fmt: skip
    return shape_inference.infer_shapes(made, data_prop=True)


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    known = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    return {each.name: tuple(dim.dim_value for dim in each.type.tensor_type.shape.dim) for each in known}


def _turn(node: NodeProto, weights: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> None:
    """Exchange height and width in a node on [N, C, H, W], and in the constants that it alone reads."""
    for each in node.attribute:
        if each.name in ("kernel_shape", "strides", "dilations", "output_padding"):
            each.ints[:] = each.ints[::-1]
        elif each.name == "pads":
            top, left, bottom, right = each.ints
            each.ints[:] = [left, top, right, bottom]
        elif each.name == "axis":
            each.i = _OTHER.get(each.i, each.i)
    op = node.op_type
    for slot, name in enumerate(node.input):
        value = weights.get(name)
        if value is None:
            continue
        if _spreads(op, value):
            weights[name] = value.swapaxes(-1, -2)
        elif slot in _SIZES.get(op, ()) and value.size in (4, 8):
            halves = value.reshape(-1, 4)[:, [0, 1, 3, 2]]
            weights[name] = halves.reshape(value.shape)
        elif slot == _AXES.get(op, 1 if op.startswith("Reduce") else None):
            weights[name] = np.vectorize(lambda axis: _OTHER.get(axis, axis), otypes=[np.int64])(value)
    if op == "MatMul" and any(name in weights for name in node.input):  # transposed, the factors change places
        node.input[:] = list(node.input)[::-1]


def _spreads(op: str, value: np.ndarray) -> bool:
    """Whether the last two axes of a constant are height and width."""
    if op in ("Conv", "ConvTranspose"):
        return value.ndim == 4
    return op in ("Add", "Mul", "Sub", "Div", "PRelu", "MatMul") and value.ndim > 1
