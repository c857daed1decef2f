"""Keep onnx's shape inference from what would take it down.

Inference is native code that trusts the model: a Slice along an axis that has come out negative ends the process, and a
chain of Concats that doubles a list of sizes fills the memory. Such a Slice is hidden, as an operator that nobody
knows, until a run without it has shown that what it reads is sound; such a Concat stays hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from onnx import (
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    numpy_helper,
)

from tse_onnx.errors import ModelError
from tse_onnx.passes.graph.index import element_count, int_attribute, ints_attribute
from tse_onnx.passes.graph.nested import bodies, within
from tse_onnx.passes.graph.operators import is_default
from tse_onnx.passes.reasons import quoted

# The domain of an operator that nobody knows: nothing is inferred of it.
HIDDEN = "tse_onnx.hidden"
# Numbers that inference may carry along for one value. Sizes are as long as a rank.
_MOST_NUMBERS = 4096
_RANK = 64
# Vectors that inference may list, and sizes from which no product makes a longer one by accident.
_LONGEST_VECTOR, _LARGEST_SIZE = 2**18, 2**20
_FILLING = frozenset({"ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"})
# Nodes to infer in all the runs that one model may take.
_BUDGET = 2_000_000
# Operators that make no size negative and leave every axis where it is, those that move axes, and those whose window
# may be larger than its map, which makes a size behind the first two axes negative. Every other may make any negative.
_KEEPING = frozenset({
    "Abs", "Add", "And", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Constant", "CumSum",
    "DequantizeLinear", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "GlobalAveragePool",
    "GlobalMaxPool", "Greater", "GreaterOrEqual", "GroupNormalization", "HardSigmoid", "HardSwish", "Identity",
    "InstanceNormalization", "LRN", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax",
    "LpNormalization", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
    "QuantizeLinear", "RMSNormalization", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softmax",
    "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh", "Where",
})  # fmt: skip
_MOVING = frozenset({
    "ArgMax", "ArgMin", "Expand", "Flatten", "Gather", "Gemm", "MatMul", "ReduceL1", "ReduceL2", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
_WINDOWS = frozenset({"AveragePool", "Conv", "ConvInteger", "LpPool", "MaxPool", "QLinearConv"})
_SIZES = frozenset({"Shape", "Size"})
# Of these, inference carries along the numbers of the first input, whatever else they read.
_PASSING = frozenset({"Cast", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"})

# Inference, with or without the sizes that the graph computes. With them it lists every element of a vector that an
# operator of arithmetic reads, known or not.
Infer = Callable[[ModelProto, bool], ModelProto]


def guarded(model: ModelProto, infer: Infer, trusted: Collection[str] = ()) -> ModelProto:
    """What `infer` makes of the model, in as many runs as it takes to be safe; its nodes are in topological order.

    `trusted` are values whose sizes are known to be sound: each Slice among them or behind them is a run less.

    Raises `ModelError` where a value comes out with a negative size.
    """
    plan = _planned(model, trusted)
    with _without(plan.doubling):
        hidden = _unshown(model, plan, infer)
        with _without(hidden):
            return _run(model, plan, infer)


def sound(model: ModelProto, infer: Infer, trusted: Collection[str] = ()) -> bool:
    """Whether every Slice of the model is safe to infer, as it has to be for onnx's checker.

    `trusted` are as for `guarded`. Raises `ModelError` where a value comes out with a negative size.
    """
    plan = _planned(model, trusted)
    with _without(plan.doubling):
        return not _unshown(model, plan, infer)


def _unshown(model: ModelProto, plan: _Plan, infer: Infer) -> list[NodeProto]:
    """The Slices that could not be shown to read what is sound, after as many runs as the budget has."""
    runs = sorted({run for run, _ in plan.slices})
    shown = runs[: _BUDGET // (len(model.graph.node) + 1)]
    for run in shown:
        with _without([*plan.unsafe, *(node for needed, node in plan.slices if needed >= run)]):
            refuse_negative(_run(model, plan, infer).graph)
    return [*plan.unsafe, *(node for run, node in plan.slices if run not in shown)]


def _planned(model: ModelProto, trusted: Collection[str] = ()) -> _Plan:
    _forget_negative(model.graph)
    plan = _Plan(trusted=trusted)
    plan.graph(model.graph)
    runs = max(plan.phases.values(), default=0) // _PHASES
    for function in model.functions:
        # What comes out inside of a function is not told, so only what comes in can be looked at.
        inner = _Plan(
            dict.fromkeys(function.input, runs * _PHASES + _ANY), dict.fromkeys(function.input, _RANK), trusted
        )
        inner.nodes(function.node)
        plan.unsafe += [node for run, node in inner.slices if run > runs + 1]
        plan.slices += [(run, node) for run, node in inner.slices if run == runs + 1]
        plan.doubling += inner.doubling
        plan.filling |= inner.filling
    if plan.slices or plan.unsafe or plan.doubling:
        parts: list[ModelProto | FunctionProto] = [model, *model.functions]
        for part in parts:
            if not any(entry.domain == HIDDEN for entry in part.opset_import):
                part.opset_import.add(domain=HIDDEN, version=1)
    return plan


@contextlib.contextmanager
def _without(nodes: Sequence[NodeProto]) -> Iterator[None]:
    """Let nodes be operators that nobody knows."""
    domains = [node.domain for node in nodes]
    for node in nodes:
        node.domain = HIDDEN
    try:
        yield
    finally:
        for node, domain in zip(nodes, domains, strict=True):
            node.domain = domain


# What may be negative of a value, beside the runs that show the rest: nothing, an axis behind the first two, or any.
_NONE, _SPATIAL, _ANY, _PHASES = 0, 1, 2, 3


def _run(model: ModelProto, plan: _Plan, infer: Infer) -> ModelProto:
    """One run: with the sizes that the graph computes, unless it has vectors that are too long for that."""
    if plan.filling or _overlong(model.graph):
        found = infer(model, False)
        if _overlong(found.graph):
            return found
    return infer(model, True)


def _overlong(graph: GraphProto) -> bool:
    """Whether a value of the graph is a vector too long to be listed, or has a size that a product may make one."""
    for value in _values(graph):
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if max(sizes, default=0) > (_LONGEST_VECTOR if len(sizes) == 1 else _LARGEST_SIZE):
            return True
    return False


class _Plan:
    """Which Slices need which runs before them, and which Concats double the numbers that inference carries along.

    A value's phase is `_PHASES` times the number of runs that it takes until inference knows it, and what may then be
    negative of it. A Slice along such an axis waits for one run more, which shows what it reads.
    """

    def __init__(
        self,
        phases: dict[str, int] | None = None,
        numbers: dict[str, int] | None = None,
        trusted: Collection[str] = (),
    ) -> None:
        """`phases` of inputs, the most `numbers` that inference knows of them, and values that are `trusted` to be of
        sound sizes."""
        self.phases, self._numbers, self._trusted = phases or {}, numbers or {}, frozenset(trusted)
        self._axes: dict[str, TensorProto] = {}
        self.slices: list[tuple[int, NodeProto]] = []
        self.unsafe: list[NodeProto] = []
        self.filling = False
        """Whether something may make a long vector."""
        self.doubling: list[NodeProto] = []

    def graph(self, graph: GraphProto) -> None:
        """Look at a graph, with what is known around it."""
        for tensor in graph.initializer:
            self._constant(tensor.name, tensor)
        self.nodes(graph.node)

    def nodes(self, nodes: Iterable[NodeProto]) -> None:
        """Look at nodes."""
        phases, numbers = self.phases, self._numbers
        for node in nodes:
            operator = node.op_type if is_default(node.domain) else ""
            phase = max([phases.get(name, 0) for name in node.input], default=0)
            count = 0
            if operator in _SIZES:
                phase, count = 0, _RANK
            elif operator == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self._constant(node.output[0], attribute.t)
                    else:
                        numbers[node.output[0]] = max(len(attribute.ints), len(attribute.floats), 1)
                continue
            elif self._trusted.intersection(node.output):
                phase, count = phase - phase % _PHASES, self._count(node, operator)
            else:
                phase = self._phase(node, operator, phase)
                count = self._count(node, operator)
                self.filling |= operator in _FILLING or (
                    operator == "Reshape" and len(node.input) > 1 and numbers.get(node.input[1], 1) <= 1
                )
            for graph in bodies(node):
                phases.update((value.name, phase) for value in graph.input)
                self.graph(graph)
                phase = max([phase, *(phases.get(value.name, 0) for value in graph.output)])
            for name in node.output:
                if phase:
                    phases[name] = phase
                if count:
                    numbers[name] = count

    def _phase(self, node: NodeProto, operator: str, phase: int) -> int:
        runs, negative = divmod(phase, _PHASES)
        if operator == "Slice":
            if negative == _ANY or (negative == _SPATIAL and not self._leads(node)):
                self.slices.append((runs + 1, node))
                return (runs + 1) * _PHASES
            return phase
        if operator in _KEEPING or (operator.startswith("Reduce") and int_attribute(node, "keepdims", 1)):
            return phase
        if operator in _WINDOWS:
            return runs * _PHASES + max(negative, _SPATIAL)
        if operator in _MOVING:
            return runs * _PHASES + (_ANY if negative else _NONE)
        return runs * _PHASES + _ANY

    def _leads(self, node: NodeProto) -> bool:
        """Whether a Slice cuts along the first two axes alone."""
        axes = ints_attribute(node, "axes")
        if axes is None and len(node.input) > 3 and (tensor := self._axes.get(node.input[3])) is not None:
            try:
                axes = tuple(int(axis) for axis in numpy_helper.to_array(tensor).reshape(-1))
            except (ValueError, TypeError):
                return False
        return axes is not None and all(axis in (0, 1) for axis in axes)

    def _count(self, node: NodeProto, operator: str) -> int:
        counts = [self._numbers.get(name, 0) for name in node.input if name]
        if operator == "Concat":
            if sum(counts) <= _MOST_NUMBERS:
                return sum(counts)
            self.doubling.append(node)
            return 0
        carried = counts[:1] if operator in _PASSING else counts
        return max(counts) if counts and all(carried) else 0

    def _constant(self, name: str, tensor: TensorProto) -> None:
        if (count := element_count(tensor.dims)) <= _MOST_NUMBERS:
            self._numbers[name] = count
            if count <= _RANK and tensor.data_location != TensorProto.EXTERNAL:
                self._axes[name] = tensor


def _values(graph: GraphProto) -> Iterable[ValueInfoProto]:
    for _, part in within(graph):
        yield from (*part.input, *part.value_info, *part.output)


def _forget_negative(graph: GraphProto) -> None:
    """Negative sizes, which some exporters write for what is not known."""
    for value in _values(graph):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.ClearField("dim_value")


def refuse_negative(graph: GraphProto) -> None:
    """Raise `ModelError` for a value with a negative size."""
    for value in _values(graph):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                raise ModelError(f"{quoted(value.name)} comes out with a size of {dim.dim_value}")
