"""The edit of one block while it is being written: nodes, constants and names that begin with the block's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import NodeProto, TensorProto, ValueInfoProto
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from tse_onnx.passes.blocks.block import Anatomy, Offset, Product
from tse_onnx.passes.blocks.tiling import Tile
from tse_onnx.passes.edit.splice import Edit, Relaid
from tse_onnx.passes.graph.index import element_count, holds_numbers
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.graph.types import Dim, TensorType, Types, value_info
from tse_onnx.passes.names import fresh

# Types whose numbers are moved in the initializer itself where they are transposed.
_MOVED = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})


class Draft:
    """Gathers the nodes of one block. Values on the way keep their names and hold one descriptor per tile; `now` says
    which value a former one has become."""

    def __init__(self, name: str, anatomy: Anatomy, scope: Scope, taken: set[str]) -> None:
        self.name, self.anatomy, self.taken = name, anatomy, taken
        self.index, self.types, self.opset = scope.index, scope.types, scope.opset
        self.now: dict[str, str] = {}
        self._nodes: dict[int, tuple[NodeProto, ...]] = {}
        self._value_types: dict[str, ValueInfoProto | None] = {}
        self._weights: dict[str, Relaid] = {}
        self._initializers: list[TensorProto] = []
        self._made: list[NodeProto] = []
        self.scaled = anatomy.map
        """What the scale of the original reads."""
        self.pooled, self.pooled_type = anatomy.squeeze.input, self.types[anatomy.squeeze.input].dtype
        """What the means are taken of, and its type."""
        self.squeezed = anatomy.squeeze.output
        """What the means are called."""
        self._views: dict[str, str] = {}

    def scale_rows(self) -> None:
        """Let a map that is scaled with its pixels along one axis be scaled before they are laid out so."""
        if self.anatomy.before_flat:
            self.anatomy = replace(self.anatomy, map=self.anatomy.before_flat, map_axes=self.anatomy.input_axes)

    def add_offset(self, offset: Offset, scaled: str) -> None:
        """Go on with what is added to the scaled map: it is spread as the gate is."""
        self.anatomy, self.scaled = replace(self.anatomy, gate=offset.value, map=scaled), scaled

    def scale_product(self, product: Product) -> None:
        """Write of this product from now on."""
        self.anatomy = replace(self.anatomy, gate=product.gate, map=product.map)
        self.scaled = product.map

    @property
    def double(self) -> bool:
        """Whether the block is in double precision, for which onnxruntime lacks convolutions, pools and Resize."""
        return is_double(self.anatomy, self.types)

    def edit(self) -> Edit:
        """What was gathered."""
        new, bearer = tuple(self._initializers), self.anatomy.squeeze.output
        return Edit(self._nodes, self._value_types, self._weights, initializers=new, bearer=bearer)

    def current(self, name: str) -> str:
        """What a value of the original has become."""
        return self.now.get(name, name)

    # Nodes.

    def add(self, node: NodeProto) -> None:
        """Add a finished node."""
        self._made.append(node)

    def put(self, position: int) -> None:
        """Let what was added stand in place of the node at `position`."""
        self._nodes[position] = tuple(self._made)
        self._made = []

    def drop(self, position: int) -> None:
        """Let the node at `position` go, and the types of its values with it."""
        self._nodes[position] = ()
        for value in self.index.nodes[position].output:
            if self.types.stated(value) is not None:
                self._value_types[value] = None

    def unstated(self, value: str) -> None:
        """Let the stated type of a value go."""
        if self.types.stated(value) is not None:
            self._value_types[value] = None

    def keep_type(self, value: str) -> None:
        """Keep the stated type of a value that a dropped node made: another node makes it now."""
        self._value_types.pop(value, None)

    def value(self, op: str, role: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node; the value that it makes."""
        made = self.node(op, role, inputs, **attributes)
        self.add(made)
        return str(made.output[0])

    def node(
        self,
        op: str,
        role: str,
        inputs: Sequence[str],
        output: str = "",
        name: str = "",
        domain: str = "",
        **attributes: Any,
    ) -> NodeProto:
        """Make a node without adding it. `role` names it within the block where it has no `name` of its own."""
        name = name or fresh(f"{self.name}/{role}", self.taken)
        result = output or fresh(f"{name}_output", self.taken)
        frozen = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in attributes.items())
        proto = NodeProto()
        proto.CopyFrom(_template(op, frozen))
        proto.name = name
        if domain:
            proto.domain = domain
        proto.input.extend(inputs)
        proto.output.append(result)
        return proto

    def fresh(self, role: str) -> str:
        """A name that is not taken."""
        return fresh(f"{self.name}/{role}", self.taken)

    def constant(self, role: str, values: np.ndarray) -> str:
        """Add a constant; its value's name."""
        # A Constant node stands in any graph, function or IR version; an initializer does not.
        name = self.fresh(role)
        proto = NodeProto()
        proto.CopyFrom(_constant_template(values.tobytes(), values.dtype.str, values.shape))
        proto.name = name
        proto.output.append(name)
        self.add(proto)
        return name

    def integers(self, role: str, numbers: Sequence[int]) -> str:
        """Add a constant list of integers."""
        return self.constant(role, np.array(numbers, np.int64))

    def reduced(self, op: str, role: str, value: str, axes: Sequence[int]) -> str:
        """A reduction over `axes`, which stay with extent one: an attribute up to opset 17, an input from 18."""
        if self.opset >= 18:
            return self.value(op, role, [value, self.integers(f"{role}_axes", axes)], keepdims=1)
        return self.value(op, role, [value], axes=list(axes), keepdims=1)

    def sliced(self, role: str, value: str, axes: Sequence[int], starts: Sequence[int], ends: Sequence[int]) -> str:
        """Add a part of a value along some axes; its name."""
        made = self.slice(role, value, axes, starts, ends)
        self.add(made)
        return str(made.output[0])

    def slice(
        self, role: str, value: str, axes: Sequence[int], starts: Sequence[int], ends: Sequence[int]
    ) -> NodeProto:
        """A part of a value along some axes, without adding it."""
        if self.opset < 10:
            return self.node("Slice", role, [value], axes=list(axes), starts=list(starts), ends=list(ends))
        listed = [
            self.integers(f"{role}_{what}", numbers)
            for what, numbers in (("starts", starts), ("ends", ends), ("axes", axes))
        ]
        return self.node("Slice", role, [value, *listed])

    def parts(self, role: str, value: str, axis: int, lengths: Sequence[int]) -> list[str]:
        """Add a value cut along an axis; the names of its parts."""
        made = self.split(role, value, axis, lengths)
        made.output.extend(self.fresh(f"{role}_output") for _ in lengths[1:])
        self.add(made)
        return list(made.output)

    def split(self, role: str, value: str, axis: int, lengths: Sequence[int]) -> NodeProto:
        """A value cut along an axis, without adding it, and without the names of further parts."""
        if self.opset < 13:
            return self.node("Split", role, [value], axis=axis, split=list(lengths))
        return self.node("Split", role, [value, self.integers(f"{role}_lengths", lengths)], axis=axis)

    def tiles_as_rows(self, value: str, cover: Tile, own: int = 2) -> str:
        """A map [N, C, H, …] with the rows of each tile side by side, [N, C, tiles, rows of a tile · …]. The first
        `own` of its axes are none of space."""
        if value not in self._views:
            shape = self.integers("tile_rows_shape", [*[0] * own, cover.count, -1])
            self._views[value] = self.value("Reshape", "tile_rows", [value, shape])
        return self._views[value]

    def transposed(self, role: str, value: str, axes: str, wanted: str) -> str:
        """A value whose axes are called `axes`, with its axes as `wanted`."""
        if axes == wanted:
            return value
        return self.value("Transpose", role, [value], perm=[axes.index(letter) for letter in wanted])

    # Weights.

    def weight(self, role: str, values: np.ndarray) -> str:
        """Add an initializer, in a graph that has some already; its name."""
        name = self.fresh(role)
        self._initializers.append(onnx.numpy_helper.from_array(values, name))
        return name

    def relaid(self, name: str, dims: Sequence[int | None], transposed: bool = False) -> str:
        """A constant under other dimensions (−1: all that is left).

        An initializer that nothing else reads is laid anew where it is; anything else goes through nodes, which a
        runtime folds, so that no weights are copied.
        """
        known = self.types[name].sizes or ()
        count = element_count(dim or 0 for dim in known)
        fixed = element_count(dim or 1 for dim in dims if dim != -1)
        wanted = tuple(count // fixed if dim == -1 else dim or 0 for dim in dims)
        if transposed:
            wanted = (wanted[1], wanted[0], *wanted[2:])
        elif known == wanted:
            return name
        tensor = self.index.initializers.get(name)
        alone = tensor is not None and len(self.index.uses(name)) == 1 and name not in self.index.outputs
        loaded = tensor is not None and holds_numbers(tensor) and tensor.data_type in _MOVED
        if alone and name not in self.index.inputs and (loaded or not transposed) and name not in self._weights:
            self._weights[name] = Relaid(wanted, transposed)
            if (stated := self.types.stated(name)) is not None:  # as in dynamo exports
                self._value_types[name] = value_info(name, TensorType(stated.dtype, wanted))
            return name
        if transposed:
            name = self.value("Transpose", "weight_transposed", [name], perm=[1, 0, *range(2, len(known))])
            if (known[1], known[0], *known[2:]) == wanted:
                return name
        return self.value("Reshape", "weight", [name, self.integers("weight_shape", wanted)])

    # Types.

    def state(self, value: str, like: str, grid: Sequence[int | None], joined: bool = False) -> None:
        """Note the type of a value with one entry per tile, if the model states the type of the value `like`; with the
        vector along one axis where it is `joined`."""
        stated = self.types.stated(like)
        if stated is None or stated.dims is None:
            return
        made = (
            result
            for step in self.anatomy.steps
            for name, result in zip(self.index.nodes[step.position].output, step.act.results, strict=False)
            if name == like
        )
        held = next(made, self.anatomy.squeeze.descriptor)
        batch = held.axes.find("N")
        first: Dim = stated.dims[batch] if 0 <= batch < len(stated.dims) else held.batch
        own = (held.channels,) if joined else held.extents
        self._value_types[value] = value_info(value, TensorType(stated.dtype, (first, *own, *grid)))


def is_double(anatomy: Anatomy, types: Types) -> bool:
    """Whether a block is in double precision."""
    return types[anatomy.squeeze.input].dtype == TensorProto.DOUBLE


# A model has many blocks of few sizes, so most nodes differ from one made before in their names alone.


@lru_cache(maxsize=1024)
def _template(op: str, attributes: tuple[tuple[str, Any], ...]) -> NodeProto:
    """A node without names; lists among the attributes come as tuples."""
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in attributes}
    proto: NodeProto = OnnxExporter.export_node(gs.Node(op, "", given))
    return proto


@lru_cache(maxsize=1024)
def _constant_template(data: bytes, dtype: str, shape: tuple[int, ...]) -> NodeProto:
    value = onnx.numpy_helper.from_array(np.frombuffer(data, dtype).reshape(shape))
    return onnx.helper.make_node("Constant", [], [], value=value)
