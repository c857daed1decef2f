"""Work out the sizes that a graph computes from the shapes of its tensors.

Networks that pad "as needed" are exported with that arithmetic in the graph: Shape, then divisions and roundings, then
a Pad. onnx's inference follows only some of these operators, and everything behind such a Pad has no known size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from tse_onnx.passes.graph.index import element_count, int_attribute
from tse_onnx.passes.graph.operators import is_default

# Tensors of more elements hold no sizes.
_LONG = 64
# Results between may be longer, as where parts are joined; more than this, and they are no sizes.
_LONGEST = 4096
# The operators that sizes are made with: plain arithmetic, and nothing that fills a tensor.
_ARITHMETIC = frozenset(
    {"Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Div", "Equal", "Floor", "Gather", "Greater", "Identity",
     "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "ReduceProd", "Relu", "Reshape", "Round", "Slice",
     "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"}
)  # fmt: skip
# These may enlarge one; the sizes that they make are as long as a rank.
_FILLING = frozenset({"ConstantOfShape"})

Sizes = Sequence["int | None"]
Evaluate = Callable[[ModelProto], Sequence[np.ndarray]]
"""What a model without inputs computes, output by output: passes run nothing themselves."""


def fold_sizes(bare: ModelProto, inferred: GraphProto, evaluate: Evaluate) -> bool:
    """Replace nodes of `bare` that compute sizes by their results, as `evaluate` finds them; whether any was.

    The shapes come from `inferred`. Where only the batch is not known, what is picked out of the rest counts.
    """
    folded = {tensor.name: tensor for tensor in _fold(bare.graph, _shapes(inferred), bare, evaluate)}
    for node in bare.graph.node:
        if len(node.output) == 1 and node.output[0] in folded and node.op_type != "Constant":
            # In place, so that positions stay what they were.
            result = onnx.helper.make_node("Constant", [], list(node.output), value=folded[node.output[0]])
            node.CopyFrom(result)
    return bool(folded)


def _fold(graph: GraphProto, shapes: Mapping[str, Sizes], bare: ModelProto, evaluate: Evaluate) -> list[TensorProto]:
    """The results of the nodes that compute sizes."""
    weights = [tensor for tensor in graph.initializer if _holds_sizes(tensor)]
    known = {tensor.name: tensor for tensor in weights}
    stated: dict[str, Sizes] = {}  # what a Shape gives, known or not
    picked: list[TensorProto] = []
    sources: list[NodeProto] = []
    computed: list[NodeProto] = []
    lengths = {name: element_count(tensor.dims) for name, tensor in known.items()}
    for node in graph.node:
        if not is_default(node.domain) or len(node.output) != 1:
            continue
        name, first = node.output[0], next(iter(node.input), "")
        if node.op_type == "Constant":
            if _short(node):
                sources.append(node)
                known.update((name, attribute.t) for attribute in node.attribute if attribute.name == "value")
                lengths[name] = element_count(known[name].dims) if name in known else _LONG
            continue
        sizes: Sizes | None = None
        if node.op_type == "Shape" and first in shapes:
            start, end = int_attribute(node, "start", 0), int_attribute(node, "end", len(shapes[first]))
            stated[name] = sizes = shapes[first][start:end]
        elif first in stated and node.op_type in ("Gather", "Slice"):
            sizes = _part(node, stated[first], known)
        if sizes is not None and None not in sizes:
            values = np.array(sizes, np.int64)
            scalar = node.op_type == "Gather" and not known[node.input[1]].dims
            picked.append(numpy_helper.from_array(values.reshape(()) if scalar else values, name))
            lengths[name] = len(sizes)
        elif (node.op_type in _ARITHMETIC or (node.op_type in _FILLING and _fills_little(shapes.get(name)))) and all(
            not source or source in lengths for source in node.input
        ):
            length = _length(node, shapes.get(name), [lengths[source] for source in node.input if source])
            if length <= _LONGEST:
                computed.append(node)
                lengths[name] = length
    if not computed:
        return picked
    try:
        return [*picked, *_run(bare, [*sources, *computed], [*weights, *picked], computed, evaluate)]
    except Exception:  # arithmetic that fails here fails in every runtime, and tells no size
        return picked


def _short(node: NodeProto) -> bool:
    return all(attribute.name != "value" or _holds_sizes(attribute.t) for attribute in node.attribute)


def _holds_sizes(tensor: TensorProto) -> bool:
    return element_count(tensor.dims) <= _LONG and tensor.data_location != TensorProto.EXTERNAL


def _length(node: NodeProto, sizes: Sizes | None, inputs: Sequence[int]) -> int:
    """How many elements a node makes, or a bound of it, from those of its inputs."""
    if sizes is not None and None not in sizes:
        return element_count(size or 0 for size in sizes)
    if node.op_type in _FILLING:
        return _LONG
    longer = [length for length in inputs if length > 1]
    return sum(inputs) if node.op_type == "Concat" else element_count(longer)


def _fills_little(sizes: Sizes | None) -> bool:
    return (
        sizes is not None
        and len(sizes) <= 1
        and None not in sizes
        and element_count(size or 0 for size in sizes) <= _LONG
    )


def _shapes(graph: GraphProto) -> dict[str, Sizes]:
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim
        )
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def _part(node: NodeProto, sizes: Sizes, known: Mapping[str, TensorProto]) -> Sizes | None:
    """What a Gather or a Slice takes out of sizes that are known in part."""
    if any(name and name not in known for name in node.input[1:]):
        return None
    numbers = [numpy_helper.to_array(known[name]).reshape(-1).tolist() if name else [] for name in node.input[1:]]
    if node.op_type == "Gather" and numbers:
        return tuple(sizes[place] for place in numbers[0] if -len(sizes) <= place < len(sizes))
    if len(numbers) >= 2 and len(numbers[0]) == 1:
        step = numbers[3][0] if len(numbers) > 3 and numbers[3] else 1
        return tuple(sizes[numbers[0][0] : numbers[1][0] : step])
    return None


def _run(
    bare: ModelProto,
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
    wanted: Sequence[NodeProto],
    evaluate: Evaluate,
) -> list[TensorProto]:
    """The values that `wanted` compute."""
    alone = ModelProto(ir_version=bare.ir_version, opset_import=bare.opset_import)
    alone.graph.name = "sizes"
    alone.graph.node.extend(nodes)
    alone.graph.initializer.extend(constants)
    alone.graph.output.extend(onnx.ValueInfoProto(name=node.output[0]) for node in wanted)
    return [
        numpy_helper.from_array(np.asarray(result), node.output[0])
        for node, result in zip(wanted, evaluate(alone), strict=True)
        if np.size(result) <= _LONG
    ]
