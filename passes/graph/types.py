"""Element types and dimensions of a graph's values.

Exporters often write them down; where they did not, onnx infers them over a copy of the model without its weights, so
that the cost depends on the number of nodes and not on the size of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from tse_onnx.errors import ModelError
from tse_onnx.passes.graph.guard import HIDDEN, guarded, refuse_negative, sound
from tse_onnx.passes.graph.index import attribute, element_count
from tse_onnx.passes.graph.nested import within
from tse_onnx.passes.graph.order import sort_nodes
from tse_onnx.passes.graph.sizes import Evaluate, fold_sizes
from tse_onnx.passes.graph.stand_ins import stand_in
from tse_onnx.passes.reasons import first_line

Dim = int | str | None

# Nodes to infer, in all the runs that folding sizes may take.
_BUDGET = 2_000_000

# Tensors up to this many elements may steer shapes (Reshape targets, axes, scales) and stay in the weightless copy.
_STEERING = 64


BITS: dict[int, int] = {
    getattr(TensorProto, name): bits
    for names, bits in (
        ("COMPLEX128", 128), ("DOUBLE INT64 UINT64 COMPLEX64", 64), ("FLOAT INT32 UINT32", 32),
        ("FLOAT16 BFLOAT16 INT16 UINT16", 16),
        ("INT8 UINT8 BOOL FLOAT8E4M3FN FLOAT8E4M3FNUZ FLOAT8E5M2 FLOAT8E5M2FNUZ FLOAT8E8M0", 8),
        ("INT4 UINT4 FLOAT4E2M1", 4), ("INT2 UINT2", 2), ("STRING", 0),
    )
    for name in names.split() if hasattr(TensorProto, name)
}  # fmt: skip
"""Bits of an element by `TensorProto.DataType`; 0 where elements have no size of their own."""


def bits_of(dtype: int) -> int:
    """Bits of one element of an ONNX type; 32 where its size is not known."""
    return BITS.get(dtype) or 32


@dataclass(frozen=True)
class TensorType:
    """Element type (a `TensorProto.DataType`) and dimensions: a number, a symbol, or None where nothing is known."""

    dtype: int
    dims: tuple[Dim, ...] | None

    @cached_property
    def sizes(self) -> tuple[int | None, ...] | None:
        """The dimensions with every symbol as None."""
        if self.dims is None:
            return None
        return tuple(dim if isinstance(dim, int) else None for dim in self.dims)


class Types:
    """What is known of each value's type in one graph; inference runs once, on the first question that needs it.

    `stated` are the types that the graph itself states for values in between, `known` all that is known from the
    start, `infer` finds more; names of an enclosing graph are looked up in `outer`.
    """

    def __init__(
        self,
        known: Mapping[str, TensorType],
        stated: Mapping[str, TensorType],
        infer: Callable[[], Mapping[str, TensorType]],
        outer: Types | None = None,
    ) -> None:
        self._known, self._stated, self._infer, self._outer = dict(known), stated, infer, outer
        self._inferred = False

    def __getitem__(self, value: str) -> TensorType:
        """The type of `value`, with whatever is known of it."""
        found = self._known.get(value)
        if not self._inferred and (found is None or found.sizes is None or None in found.sizes[1:]):
            # The first dimension is the batch: it is unknown in most models and nothing depends on it.
            self._inferred = True
            self._known |= self._infer()
            found = self._known.get(value)
        if found is None and self._outer is not None:
            return self._outer[value]
        return found or TensorType(TensorProto.UNDEFINED, None)

    def stated(self, value: str) -> TensorType | None:
        """The type that the graph itself states for a value in between, if it does."""
        return self._stated.get(value)


class Inference:
    """onnx's shape inference over a weightless copy of a model, run when first asked for."""

    def __init__(
        self,
        model: ModelProto,
        bound: Mapping[str, tuple[Dim, ...]],
        evaluate: Evaluate,
        trusted: Collection[str] = (),
    ) -> None:
        """`evaluate` computes the sizes that the graph computes from its shapes; `trusted` are values whose sizes are
        known to be sound."""
        self._model, self._bound, self._evaluate, self._trusted = model, bound, evaluate, trusted
        self._done: ModelProto | None = None
        self._places: Sequence[int] = ()

    @property
    def graph(self) -> GraphProto:
        """The graph with the types of all its values, nested graphs included."""
        return self._result().graph

    @property
    def is_sound(self) -> bool:
        """Whether no value comes out with a negative size."""
        try:
            refuse_negative(self.graph)
        except ModelError:
            return False
        return True

    def node(self, position: int) -> NodeProto:
        """The inferred copy of the model's node at `position`."""
        graph = self._result().graph
        return graph.node[self._places[position]]

    def _result(self) -> ModelProto:
        if self._done is None:
            bare = weightless(self._model)
            self._places = sort_nodes(bare.graph)
            if self._bound:
                del bare.graph.value_info[:]
                bind_inputs(bare.graph, self._bound)
                for output in bare.graph.output:
                    output.type.tensor_type.ClearField("shape")
            stand_in(bare.graph)
            self._done = inferred(bare, self._trusted)
            # What is behind one folded size may be another, to be found in the next run.
            runs = _BUDGET // (len(bare.graph.node) + 1)
            while runs > 0 and fold_sizes(bare, self._done.graph, self._evaluate):
                self._done = inferred(bare, self._trusted)
                runs -= 1
        return self._done


def inferred(model: ModelProto, trusted: Collection[str] = ()) -> ModelProto:
    """The model with what onnx infers of its values' types; its nodes are in topological order. `trusted` are values
    whose sizes are known to be sound.

    Raises `ModelError` where onnx gives up.
    """
    return guarded(model, _inferred, trusted)


def inferable(model: ModelProto, trusted: Collection[str] = ()) -> bool:
    """Whether onnx can infer a model without the guard, as its checker does; `trusted` are as for `inferred`, and so is
    what is raised."""
    return sound(model, _inferred, trusted)


def _inferred(model: ModelProto, sizes: bool) -> ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=sizes)
    except Exception as error:  # onnx raises types of its own that are not exported everywhere
        raise ModelError(f"onnx cannot infer the shapes of this model: {first_line(error)}") from error


def model_types(model: ModelProto, bound: Mapping[str, tuple[Dim, ...]], inference: Inference) -> Types:
    """Types in a model's main graph. With inputs `bound` to other dimensions, what the model says of the values in
    between is not believed."""
    graph = model.graph
    stated = tensor_types(graph.value_info)
    known = tensor_types(graph.input)
    for name, dims in bound.items():
        known[name] = TensorType(known[name].dtype if name in known else TensorProto.UNDEFINED, dims)
    if not bound:
        known |= stated | tensor_types(graph.output)
    known |= weight_types(graph)
    return Types(known, stated, lambda: tensor_types((*inference.graph.value_info, *inference.graph.output)))


def weight_types(graph: GraphProto) -> dict[str, TensorType]:
    """Types of a graph's initializers."""
    types = {tensor.name: TensorType(tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer}
    for sparse in graph.sparse_initializer:
        types[sparse.values.name] = TensorType(sparse.values.data_type, tuple(sparse.dims))
    return types


def tensor_types(values: Iterable[ValueInfoProto]) -> dict[str, TensorType]:
    """Types by name, of those values that are tensors."""
    types = ((value.name, _read(value.type.SerializePartialToString())) for value in values)
    return {name: kind for name, kind in types if kind is not None}


def tensor_type(proto: TypeProto.Tensor) -> TensorType:
    """The frozen form of a tensor's type."""
    if not proto.HasField("shape"):
        return TensorType(proto.elem_type, None)
    return TensorType(proto.elem_type, tuple(_dim(dim) for dim in proto.shape.dim))


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    which = dim.WhichOneof("value")
    if which == "dim_value":
        return dim.dim_value if dim.dim_value >= 0 else None  # some exporters write -1 for what is not known
    return dim.dim_param or None if which == "dim_param" else None


def bind_inputs(graph: GraphProto, bound: Mapping[str, tuple[Dim, ...]]) -> None:
    """Write `bound` into the types of the graph's inputs."""
    for value in graph.input:
        dims = bound.get(value.name)
        if dims is not None:
            value.type.tensor_type.shape.CopyFrom(shape_proto(dims))


def shape_proto(dims: Iterable[Dim]) -> onnx.TensorShapeProto:
    """The protobuf form of dimensions."""
    return onnx.TensorShapeProto(
        dim=[{"dim_value": dim} if isinstance(dim, int) else {"dim_param": dim} if dim else {} for dim in dims]
    )


def value_info(name: str, kind: TensorType) -> ValueInfoProto:
    """The protobuf form of a value's type."""
    proto = ValueInfoProto(name=name)
    proto.type.CopyFrom(_type_proto(kind))
    return proto


# A model has many values of few types.


@lru_cache(maxsize=4096)
def _type_proto(kind: TensorType) -> TypeProto:
    """Not to be changed."""
    proto = TypeProto()
    proto.tensor_type.elem_type = kind.dtype
    if kind.dims is not None:
        proto.tensor_type.shape.CopyFrom(shape_proto(kind.dims))
    return proto


@lru_cache(maxsize=4096)
def _read(serialised: bytes) -> TensorType | None:
    """The frozen form of a type; None where it is no tensor's."""
    proto = TypeProto.FromString(serialised)
    return tensor_type(proto.tensor_type) if proto.HasField("tensor_type") else None


def weightless(model: ModelProto) -> ModelProto:
    """A copy with every weight replaced by an input of its type: small, yet whole for inference and for the checker."""
    bare = ModelProto(ir_version=max(model.ir_version, 4), opset_import=model.opset_import, functions=model.functions)
    source, graph = model.graph, bare.graph
    graph.name = source.name or "graph"
    graph.input.extend(source.input)
    graph.output.extend(source.output)
    graph.value_info.extend(source.value_info)
    graph.node.extend(source.node)
    present = {value.name for value in source.input}
    for tensor in source.initializer:
        if element_count(tensor.dims) <= _STEERING and tensor.data_location != TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        elif tensor.name not in present:
            graph.input.append(value_info(tensor.name, TensorType(tensor.data_type, tuple(tensor.dims))))
    for sparse in source.sparse_initializer:
        if sparse.values.name not in present:
            kind = TensorType(sparse.values.data_type, tuple(sparse.dims))
            graph.input.append(value_info(sparse.values.name, kind))
    _hide_external(bare)
    return bare


def described(model: ModelProto) -> ModelProto:
    """A copy with every weight only described, by its name, type and dimensions; its inputs are as they were."""
    bare = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    for field, value in model.graph.ListFields():
        if field.name == "initializer":
            bare.graph.initializer.extend(
                tensor
                if element_count(tensor.dims) <= _STEERING
                else TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
                for tensor in value
            )
        elif field.name in ("name", "doc_string"):
            setattr(bare.graph, field.name, value)
        else:
            getattr(bare.graph, field.name).extend(value)
    return bare


def _hide_external(bare: ModelProto) -> None:
    """Let Constants whose data lie in other files be operators that nobody knows, whose types are stated: native code
    would look for the files, and in whatever folder it runs."""
    found = False
    for _, graph in within(bare.graph):
        for node in graph.node:
            value = attribute(node, "value") if node.op_type == "Constant" else None
            if value is not None and value.t.data_location == TensorProto.EXTERNAL:
                found, node.domain = True, HIDDEN
                kind = TensorType(value.t.data_type, tuple(value.t.dims))
                graph.value_info.append(value_info(node.output[0], kind))
                del node.attribute[:]
    if found:
        bare.opset_import.add(domain=HIDDEN, version=1)
