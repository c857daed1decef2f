"""Rows that a Reshape lays side by side are rows still.

A view [N, C, H/k, k · W] of a map moves nothing: its rows are those of the map, k of them to each. Where nothing reads
it but means of its rows, and products with one number for each that are laid back at once, the network is read as it
streams: as pools over k rows, and products row by row. What it makes is compared under the names of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tse_onnx.passes.graph.index import GraphIndex, int_attribute, ints_attribute
from tse_onnx.passes.graph.operators import is_default
from tse_onnx.passes.names import fresh

Dims = Mapping[str, tuple[int, ...]]

_POOLED = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})


@dataclass(frozen=True)
class LaidApart:
    """A model without such views, and the dimensions and types of what it has in their place, so that nothing is
    inferred a second time."""

    model: ModelProto
    dims: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)


def laid_apart(model: ModelProto, index: GraphIndex, dims: Dims, dtypes: Mapping[str, int]) -> LaidApart | None:
    """The model without such views; None where it has none. The index is that of its graph."""
    changed: dict[str, tuple[NodeProto, ...]] = {}
    taken = {name for node in index.nodes for name in node.output} | set(index.initializers)
    for node in index.nodes:
        if node.op_type == "Reshape" and is_default(node.domain) and dtypes.get(node.output[0]) in _POOLED:
            changed |= dict(_apart(node, index, dims, taken) or ())
    if not changed:
        return None
    made = ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    for node in index.nodes:
        made.graph.node.extend(changed.get(node.output[0], (node,)) if node.output else (node,))
    apart = LaidApart(made)
    for node in (node for nodes in changed.values() for node in nodes if node.output[0] not in dims):
        name = node.output[0]
        if node.op_type == "Constant":
            rows = numpy_helper.to_array(node.attribute[0].t)
            apart.dims[name], apart.dtypes[name] = rows.shape, TensorProto.INT64
        else:  # the gate of each row
            gate = dims[node.input[0]]
            apart.dims[name] = (*gate[:2], *apart.dims[node.input[1]], *gate[3:])
            apart.dtypes[name] = dtypes[node.input[0]]
    return apart


def _apart(
    view: NodeProto, index: GraphIndex, dims: Dims, taken: set[str]
) -> list[tuple[str, tuple[NodeProto, ...]]] | None:
    """What stands in place of the nodes around a view, by their first outputs; None where that is not such a view."""
    before, after = dims.get(view.input[0], ()), dims.get(view.output[0], ())
    if not (len(before) == len(after) == 4 and before[:2] == after[:2] and 0 < after[2] <= before[2]):
        return None
    rows, rest = divmod(before[2], after[2])
    if rest or view.output[0] in index.outputs:
        return None
    found: list[tuple[str, tuple[NodeProto, ...]]] = [(view.output[0], ())]
    for use in index.uses(view.output[0]):
        reader = index.nodes[use.node] if use.slot >= 0 else NodeProto()
        if reader.op_type == "ReduceMean" and _means_of_rows(reader, index):
            found.append((reader.output[0], (_pool(reader, view.input[0], rows, before[3]),)))
        elif reader.op_type == "Mul" and (gate := _gate(reader, view.output[0], dims, after)):
            back = _laid_back(reader, index, dims, before)
            if back is None:
                return None
            found += [
                (reader.output[0], ()),
                (back.output[0], tuple(_scale(reader, back, view, gate, rows, before, taken))),
            ]
        else:
            return None
    return found


def _means_of_rows(reader: NodeProto, index: GraphIndex) -> bool:
    axes = ints_attribute(reader, "axes")
    if axes is None and len(reader.input) > 1 and (given := index.short_constant(reader.input[1])) is not None:
        axes = tuple(int(axis) for axis in given.reshape(-1))
    return tuple(axes or ()) in ((3,), (-1,)) and bool(int_attribute(reader, "keepdims", 1))


def _pool(reader: NodeProto, source: str, rows: int, width: int) -> NodeProto:
    made = helper.make_node(
        "AveragePool", [source], [reader.output[0]], reader.name, kernel_shape=[rows, width], strides=[rows, width]
    )
    made.metadata_props.extend(reader.metadata_props)
    return made


def _gate(reader: NodeProto, view: str, dims: Dims, after: tuple[int, ...]) -> str:
    """The other operand, if it has one number for each row of the view; "" otherwise."""
    others = [name for name in reader.input if name != view]
    return others[0] if len(others) == 1 and dims.get(others[0], ())[1:] == (*after[1:3], 1) else ""


def _laid_back(reader: NodeProto, index: GraphIndex, dims: Dims, before: tuple[int, ...]) -> NodeProto | None:
    uses = index.uses(reader.output[0])
    if len(uses) != 1 or uses[0].slot != 0 or reader.output[0] in index.outputs:
        return None
    back = index.nodes[uses[0].node]
    return back if back.op_type == "Reshape" and dims.get(back.output[0]) == before else None


def _scale(
    reader: NodeProto, back: NodeProto, view: NodeProto, gate: str, rows: int, before: tuple[int, ...], taken: set[str]
) -> Iterator[NodeProto]:
    """The gate of each row, where a row of the view is several, and the product in place of the Reshape that laid it
    back."""
    spread = gate
    if rows > 1:
        index, spread = (fresh(f"{back.output[0]}/{what}", taken) for what in ("rows", "gates"))
        numbers = numpy_helper.from_array(np.arange(before[2], dtype=np.int64) // rows)
        yield helper.make_node("Constant", [], [index], index, value=numbers)
        yield helper.make_node("Gather", [gate, index], [spread], spread, axis=2)
    made = NodeProto()
    made.CopyFrom(reader)
    for slot, name in enumerate(made.input):
        made.input[slot] = view.input[0] if name == view.output[0] else spread
    made.output[0] = back.output[0]
    yield made
