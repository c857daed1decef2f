"""From a model to a network: every value gets its dimensions, every node what it needs of its inputs, in order."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import NoReturn

from onnx import GraphProto, ModelProto, NodeProto

from tse_onnx.errors import ModelError, UsageError
from tse_onnx.passes.graph.checker import complaint, unstated
from tse_onnx.passes.graph.held import held_type
from tse_onnx.passes.graph.index import GraphIndex, captured
from tse_onnx.passes.graph.operators import is_default, operator, opset_of
from tse_onnx.passes.graph.order import in_order
from tse_onnx.passes.graph.types import Dim, Inference, TensorType, Types, model_types
from tse_onnx.passes.reasons import first_line, label, quoted
from tse_onnx.passes.settings import setting
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.streaming.network.constants import Constants
from tse_onnx.streaming.network.inputs import input_axes
from tse_onnx.streaming.network.needs.axis import COLUMNS, ROWS, Axis
from tse_onnx.streaming.network.needs.rows import Need, listed
from tse_onnx.streaming.network.needs.rule import count_of
from tse_onnx.streaming.network.needs.table import NEEDS, flow_of
from tse_onnx.streaming.network.needs.unfit import Unfit
from tse_onnx.streaming.network.needs.view import Flow, Operand, View
from tse_onnx.streaming.network.network import Network, Stage, Tensor
from tse_onnx.streaming.network.side_by_side import laid_apart

_LOOPS = frozenset({"Loop", "Scan", "If"})
# What makes of one column many that are the same, where it widens a row of one; a MatMul by equal numbers.
REPEATS = frozenset({"Expand", "MatMul", "Resize", "Tile", "Upsample"})
# Every row of every tensor is a token of the simulation. A network of thousands of tensors and thousands of rows has
# fewer; a size that was written by mistake, or by malice, has more.
_MOST_ROWS = 4_000_000


def network_of(
    model: ModelProto,
    bound: Mapping[str, tuple[Dim, ...]] | None = None,
    most_rows: int = 0,
    types: Types | None = None,
    trusted: Collection[str] = (),
    axis: int = ROWS,
    as_written: bool = False,
) -> Network:
    """Read a model as a pipeline whose maps stream along a spatial `axis`, 0 or 1: what is called a row here is then a
    column of the maps. `bound` gives inputs other dimensions, by name. More than `most_rows` rows of all
    tensors together, and more than four million, are taken for a mistake. `types` are those of the main graph so bound,
    where they are known, `trusted` values whose sizes are known to be sound. What
    a model lays side by side is read as the rows that it is made of, but `as_written`.

    Raises `ModelError` where a tensor's size is not known, a map has no elements, or the graph has loops, and
    `UsageError` for another axis.
    """
    if axis not in (ROWS, COLUMNS):
        raise UsageError(f"maps stream along axis 0, by rows, or 1, by columns, not {axis!r}")
    given, model = model, inlined(model)
    index = _sorted_index(model.graph)
    opset = opset_of(model.opset_import)
    _refuse_loops(index.nodes)
    dims, dtypes, said = _sized(model, index, dict(bound or {}), types if model is given else None, trusted)
    if said is not None:
        # What a model states of its values may be stale, and runtimes go by what they infer.
        dims, dtypes, other = _sized(unstated(model, bound or {}), index, dict(bound or {}), trusted=trusted)
        if other is not None:
            raise ModelError(f"the model is not valid: {said.rstrip('.')}")
    apart = None if as_written else laid_apart(model, index, dims, dtypes)
    if apart is not None:
        model, index = apart.model, _sorted_index(apart.model.graph)
        dims, dtypes = dims | apart.dims, dtypes | apart.dtypes
    constants = Constants(index, dims, dtypes, opset)
    directions = (COLUMNS, ROWS) if axis == COLUMNS else (ROWS, COLUMNS)
    builder = _Builder(model.graph, index, dims, dtypes, constants, opset, max(most_rows, _MOST_ROWS), directions)
    return replace(builder.build(_carried(given)), apart=None if apart is None else apart.model)


def _carried(model: ModelProto) -> Collection[str]:
    """The inputs with defaults that take the gates of the frame before, as far as the model remembers them."""
    defaults = {tensor.name for tensor in model.graph.initializer}
    if not any(value.name in defaults for value in model.graph.input):  # mostly
        return ()
    from tse_onnx.passes.edit.feedback import fed_back

    with contextlib.suppress(ModelError):
        return fed_back(model)
    return ()


def _sized(
    model: ModelProto,
    index: GraphIndex,
    bound: dict[str, tuple[Dim, ...]],
    types: Types | None = None,
    trusted: Collection[str] = (),
) -> tuple[dict[str, tuple[int, ...]], dict[str, int], str | None]:
    """Dimensions and element types of every value, and what onnx's checker says of them.

    The rows that an operator needs follow from its attributes and shapes, which have to fit each other.
    """
    dims, dtypes = _types(model, index, bound, types, trusted)
    kinds = {name: TensorType(dtypes[name], dims[name]) for name in dims}
    sized = all(output.name in kinds for output in model.graph.output)  # else that is what the builder says
    return dims, dtypes, complaint(model, kinds, trusted) if sized else None


def inlined(model: ModelProto) -> ModelProto:
    """The model with the bodies of its local functions in place of their calls; itself, where it has none."""
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(model)
    except Exception as error:  # onnx raises types of its own that are not exported everywhere
        raise ModelError(f"onnx cannot inline the functions of this model: {first_line(error)}") from error


def _sorted_index(graph: GraphProto) -> GraphIndex:
    """The index of a graph, its nodes in topological order."""
    order, cyclic = in_order(graph.node)
    if cyclic:
        raise ModelError(f"the graph has a cycle: {label(graph.node[cyclic[0]])} depends on its own output")
    nodes = [graph.node[position] for position in order]
    inputs, outputs = (value.name for value in graph.input), (value.name for value in graph.output)
    return GraphIndex(nodes, inputs, outputs, graph.initializer, graph.sparse_initializer)


def _refuse_loops(nodes: Iterable[NodeProto]) -> None:
    for node in nodes:
        if node.op_type in _LOOPS and is_default(node.domain):
            raise ModelError(
                f"{label(node)} runs a graph of its own, whose rows this model cannot follow: unroll the loop or fold "
                "the condition first"
            )


def _types(
    model: ModelProto,
    index: GraphIndex,
    bound: dict[str, tuple[Dim, ...]],
    types: Types | None,
    trusted: Collection[str],
) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Dimensions and element types of every value, for one image where the batch is dynamic."""
    types = types or model_types(model, bound, Inference(model, bound, evaluate, trusted))
    batched = {}
    for value in model.graph.input:
        if value.name in index.initializers:
            continue
        sizes = types[value.name].sizes
        if sizes is None:
            raise ModelError(f"input {quoted(value.name)} has no shape; give it one with {setting('input_shapes')}")
        if None in sizes[1:]:
            shown = ", ".join("?" if size is None else str(size) for size in sizes)
            usual = tuple(size if size is not None else (224 if axis else 1) for axis, size in enumerate(sizes))
            raise ModelError(
                f"the height and width of input {quoted(value.name)} are not known: it is [{shown}]; bind it, for "
                f"example {setting('input_shapes', {value.name: usual})}"
            )
        if sizes and sizes[0] is None:
            batched[value.name] = (1, *sizes[1:])
    names = [name for node in index.nodes for name in node.output if name]
    if batched and any(_open(types, name) for name in names):
        types = model_types(model, bound | batched, Inference(model, bound | batched, evaluate, trusted))
    dims: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, int] = {}
    names.extend(value.name for value in model.graph.input)
    names.extend(index.initializers)
    names.extend(index.sparse_initializers)
    for name in names:
        kind = types[name]
        dtypes[name] = kind.dtype
        if kind.sizes is not None and None not in kind.sizes[1:]:
            dims[name] = tuple(1 if size is None else size for size in kind.sizes)
    return dims, dtypes


def _open(types: Types, name: str) -> bool:
    sizes = types[name].sizes
    return sizes is None or None in sizes[1:]


class _Builder:
    """Builds the network of one graph."""

    def __init__(
        self,
        graph: GraphProto,
        index: GraphIndex,
        dims: dict[str, tuple[int, ...]],
        dtypes: dict[str, int],
        constants: Constants,
        opset: int,
        most_rows: int,
        directions: tuple[int, int],
    ) -> None:
        self._directions = directions
        self._most = most_rows
        self._rows = self._columns = 0
        self._graph, self._index, self._dims, self._dtypes = graph, index, dims, dtypes
        self._constants, self._opset = constants, opset
        self._tensors: dict[str, Tensor] = {}
        self._stages: list[Stage] = []
        self._producer: dict[str, int] = {}
        self._depth: dict[str, int] = {}
        self._unknown: list[str] = []

    def build(self, carried: Collection[str]) -> Network:
        for value in self._graph.input:
            if value.name not in self._constants.names:
                axes = input_axes(value.name, self._index, self._dims)
                along, across = (axes[direction] for direction in self._directions)
                self._add(value.name, along, across, source=True, maker=f"input {quoted(value.name)}")
        if not self._tensors:
            raise ModelError("the model has no inputs: nothing streams through it")
        for position, node in enumerate(self._index.nodes):
            if any(name and name not in self._constants.names for name in node.output):
                self._add_node(position, node)
        readers: dict[str, list[int]] = {name: [] for name in self._tensors}
        for number, stage in enumerate(self._stages):
            for name in stage.inputs:
                readers[name].append(number)
        inputs = (value.name for value in self._graph.input)
        kept = tuple(self._keep(name) for name in inputs if name in carried and name in self._constants.names)
        return Network(
            self._tensors,
            tuple(self._stages),
            {name: tuple(numbers) for name, numbers in readers.items()}
            | {tensor.name: self._readers(tensor.name) for tensor in kept},
            self._producer,
            self._constants,
            self._opset,
            tuple(self._unknown),
            self._directions[0],
            kept,
        )

    def _keep(self, name: str) -> Tensor:
        """What an input with a default takes from the frame before."""
        return Tensor(name, self._dims[name], self._dtypes[name], None, None)

    def _readers(self, name: str) -> tuple[int, ...]:
        """The stages that read a constant, or what is made of it before anything streams."""
        made = {name}
        for node in self._index.nodes:
            if made.intersection(node.input):
                made.update(each for each in node.output if each in self._constants.names)
        return tuple(number for number, stage in enumerate(self._stages) if made.intersection(stage.node.input))

    def _add(
        self,
        name: str,
        rows: Axis | None,
        columns: Axis | None,
        *,
        source: bool,
        maker: str,
        one_column: int | None = None,
    ) -> None:
        dims = self._dims.get(name)
        if dims is None:
            raise ModelError(f"the shape of {quoted(name)}, made by {maker}, is not known and cannot be inferred")
        self._refuse_empty(name, maker)
        leaves = name in self._index.outputs
        held = held_type(name, self._index, self._dtypes.__getitem__)
        self._tensors[name] = Tensor(name, dims, self._dtypes[name], rows, columns, source, leaves, one_column, held)
        self._rows += self._tensors[name].row_count
        self._columns += self._tensors[name].column_count
        if max(self._rows, self._columns) > self._most:
            self._too_many(name, f"{self._rows:,} rows" if self._rows > self._most else f"{self._columns:,} columns")

    def _refuse_empty(self, name: str, maker: str) -> None:
        if 0 in self._dims[name]:
            raise ModelError(f"{quoted(name)}, made by {maker}, has no elements: its shape is {list(self._dims[name])}")

    def _too_many(self, name: str, what: str) -> NoReturn:
        raise ModelError(
            f"the tensors up to {quoted(name)} have {what}, more than the dataflow model follows ({self._most:,}); "
            "bind a smaller input"
        )

    def _add_node(self, position: int, node: NodeProto) -> None:
        slots = [*node.input, *captured(node)] if node.attribute else list(node.input)
        outputs = [name for name in node.output if name]
        for name in outputs:
            if name not in self._dims:
                raise ModelError(
                    f"the shape of {quoted(name)}, made by {label(node)}, is not known and cannot be inferred"
                )
        if operator(node) not in NEEDS:
            self._unknown.append(label(node))
        shapes = tuple(self._dims.get(name, ()) for name in node.output)
        for slot, output in enumerate(node.output):
            read = output in self._index.outputs or self._index.uses(output)
            if not output or (slot and not read):
                continue
            self._refuse_empty(output, label(node))
            if len(self._dims[output]) > 2 and (longest := max(self._dims[output][1:])) > self._most:
                self._too_many(output, f"an axis of {longest:,}")  # before its rows are listed
            rows, columns = (self._flow(node, slots, shapes, slot, direction) for direction in self._directions)
            one = self._one_column(node, output, columns)
            across = columns.axis if one is None else Axis(one, 1)
            self._add(output, rows.axis, across, source=False, maker=label(node), one_column=one)
            self._add_stage(position, node, slots, output, rows, columns)

    def _one_column(self, node: NodeProto, output: str, columns: Flow) -> int | None:
        """The axis along which each row of what a node makes is one column, repeated; None where there is none."""
        axis, data = columns.axis, self._tensors.get(node.input[0]) if node.input else None
        if axis is None or data is None or axis.axis != len(self._dims[output]) - 1 or not axis.plain or axis.size == 1:
            return None
        if data.one_column is not None and operator(node) == "Reshape":  # to rows that end within such a row
            width = data.dims[-1]
            return axis.axis if data.one_column == len(data.dims) - 1 and width % axis.size == 0 else None
        repeated = operator(node) in REPEATS and data.dims[-1] == 1
        if operator(node) == "MatMul" and repeated:
            factors = self._constants.value(node.input[1])
            return axis.axis if factors is not None and bool((factors == factors.flat[0]).all()) else None
        return axis.axis if repeated else None

    def _flow(
        self, node: NodeProto, slots: list[str], shapes: tuple[tuple[int, ...], ...], slot: int, direction: int
    ) -> Flow:
        operands = tuple(self._operand(name, direction) if name else None for name in slots)
        try:
            flow = flow_of(View(node, operands, shapes, slot, self._opset, self._constants.value), direction)
            for operand, need in zip(operands, flow.needs, strict=True):
                if need is not None and max(need.ready, default=-1) >= need.size:
                    raise Unfit("a row that is not there")
                along = direction == self._directions[0]
                if need is not None and operand is not None and along and need.size != operand.tokens:
                    raise Unfit("rows of another number")
                if need is not None and along and len(need.rows) != count_of(flow.axis):
                    raise Unfit("rows for another number")
            return flow
        except Unfit as error:
            raise ModelError(f"{label(node)} does not fit the shapes of its tensors") from error

    def _operand(self, name: str, direction: int) -> Operand:
        tensor = self._tensors.get(name)
        if tensor is None:
            return Operand(name, self._dims.get(name, ()), None, streams=False)
        return Operand(
            name, tensor.dims, tensor.rows if direction == self._directions[0] else tensor.columns, streams=True
        )

    def _add_stage(
        self, position: int, node: NodeProto, slots: list[str], output: str, rows: Flow, columns: Flow
    ) -> None:
        inputs = tuple(dict.fromkeys(name for name in slots if name in self._tensors))
        depth = 1 + max((self._depth.get(name, 0) for name in inputs), default=0)
        self._depth[output] = depth
        self._producer[output] = len(self._stages)
        self._stages.append(
            Stage(
                node,
                position,
                label(node),
                inputs,
                output,
                _merged(slots, inputs, rows),
                _merged(slots, inputs, columns),
                rows.absorbs and len(inputs) == 1,
                rows.accumulates,
                rows.barrier,
                depth,
            )
        )


def _merged(slots: list[str], inputs: tuple[str, ...], flow: Flow) -> tuple[Need, ...]:
    """One need per tensor: what a node reads twice it needs by either slot."""
    merged = []
    for name in inputs:
        needs = [need for slot, need in zip(slots, flow.needs, strict=True) if slot == name and need is not None]
        first = needs[0]
        for other in needs[1:]:
            if other is not first:
                pairs = zip(first.rows, other.rows, strict=True)
                first = listed(first.size, ({*one, *two} for one, two in pairs))
        merged.append(first)
    return tuple(merged)
