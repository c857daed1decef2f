"""Values that do not depend on what the model is fed with: which they are, and, where they are short, what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tse_onnx.passes.graph.held import held_type
from tse_onnx.passes.graph.index import GraphIndex, attribute, element_count, int_attribute

# Longest constant that is read: an index for every row of a tall map, or a matrix over the rows of a small one.
_LONGEST = 1 << 16
RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
"""Operators that make something else in every run."""
_NESTING = frozenset({"If", "Loop", "Scan"})


class Constants:
    """The constants of one graph. `dims` are the known dimensions of its values: a Shape of them is constant too."""

    def __init__(
        self, index: GraphIndex, dims: dict[str, tuple[int, ...]], dtypes: Mapping[str, int], opset: int
    ) -> None:
        self._index, self._dims, self._dtypes, self._opset = index, dims, dtypes, opset
        self._values: dict[str, np.ndarray | None] = {}
        self.names = set(index.initializers) | set(index.sparse_initializers)
        for node in index.nodes:
            if node.op_type in RANDOM or node.op_type in _NESTING:
                continue
            needed = node.input[:1] if node.op_type == "CastLike" else node.input
            if node.op_type in ("Shape", "Size") or all(name in self.names for name in needed if name):
                self.names.update(name for name in node.output if name)

    def kind(self, name: str) -> tuple[tuple[int, ...], int]:
        """The dimensions of a constant, none where its size is not known, and the element type that it is held in."""
        return self._dims.get(name, (0,)), held_type(name, self._index, self._dtypes.__getitem__)

    def value(self, name: str) -> np.ndarray | None:
        """The numbers of a short constant; None for weights, for values in other files and for what is no constant."""
        stack = [name]
        while stack:  # no recursion: a chain of shape computations may be long
            current = stack[-1]
            if current in self._values:
                stack.pop()
                continue
            missing = [each for each in self._sources(current) if each not in self._values]
            if missing:
                stack.extend(missing)
            else:
                self._values[current] = self._evaluate(current)
                stack.pop()
        return self._values[name]

    def _sources(self, name: str) -> Sequence[str]:
        position = self._index.producer(name)
        if name not in self.names or position is None:
            return ()
        node = self._node(position)
        return () if node.op_type in ("Shape", "Size", "Constant") else tuple(each for each in node.input if each)

    def _node(self, position: int) -> NodeProto:
        node = self._index.nodes[position]
        return as_cast(node, self._dtypes[node.output[0]]) if node.op_type == "CastLike" else node

    def _evaluate(self, name: str) -> np.ndarray | None:
        if name not in self.names:
            return None
        tensor = self._index.initializers.get(name)
        if tensor is not None:
            return _read(tensor)
        position = self._index.producer(name)
        if position is None:
            return None
        node = self._node(position)
        if node.op_type in ("Shape", "Size"):
            return self._shape(node)
        if node.op_type == "Constant":
            return _constant(node)
        if element_count(self._dims.get(name, (_LONGEST + 1,))) > _LONGEST:
            return None
        inputs = {each: self._values[each] for each in node.input if each}
        if any(value is None for value in inputs.values()):
            return None
        return _computed(node, {key: value for key, value in inputs.items() if value is not None}, name, self._opset)

    def _shape(self, node: NodeProto) -> np.ndarray | None:
        dims = self._dims.get(node.input[0])
        if dims is None:
            return None
        if node.op_type == "Size":
            return np.array(element_count(dims), np.int64)
        end = attribute(node, "end")
        return np.array(dims[int_attribute(node, "start", 0) : end.i if end is not None else None], np.int64)


def as_cast(node: NodeProto, dtype: int) -> NodeProto:
    """A CastLike as the Cast that it is: of what it is like the type alone matters, and that is known."""
    made = helper.make_node("Cast", node.input[:1], node.output, node.name, to=dtype)
    made.attribute.extend(node.attribute)
    return made


def _read(tensor: TensorProto) -> np.ndarray | None:
    if tensor.data_location == TensorProto.EXTERNAL or element_count(tensor.dims) > _LONGEST:
        return None
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        return None


def _constant(node: NodeProto) -> np.ndarray | None:
    for each in node.attribute:
        if each.name == "value":
            return _read(each.t)
        if each.name in ("value_int", "value_ints"):
            return np.asarray(helper.get_attribute_value(each), np.int64)
        if each.name in ("value_float", "value_floats"):
            return np.asarray(helper.get_attribute_value(each), np.float32)
    return None


def _computed(node: NodeProto, inputs: dict[str, np.ndarray], output: str, opset: int) -> np.ndarray | None:
    from onnx.reference import ReferenceEvaluator

    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
         for key, value in inputs.items()],
        [onnx.ValueInfoProto(name=output)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        (value,) = ReferenceEvaluator(model).run(None, inputs)
    except Exception:  # whatever onnx's own evaluator cannot do stays unknown, and its reader becomes a barrier
        return None
    return np.asarray(value)
