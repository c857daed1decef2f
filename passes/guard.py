"""Keep onnx's shape inference from what would take it down.

Inference is native code that trusts the model: a Slice along an axis that has come out negative ends the process, and a
chain of Concats that doubles a list of sizes fills the memory. Such a Slice is hidden, as an operator that nobody
knows, until a run without it has shown that what it reads is sound; such a Concat stays hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from tse_onnx.errors import ModelError
from tse_onnx.passes.index import element_count
from tse_onnx.passes.reasons import quoted

_HIDDEN = "tse_onnx.hidden"
_DEFAULT_DOMAINS = ("", "ai.onnx")
# Numbers that inference may carry along for one value. Sizes are as long as a rank.
_MOST_NUMBERS = 4096
_RANK = 64
# Nodes to infer in all the runs that one model may take.
_BUDGET = 2_000_000
# Operators whose output cannot have a negative size where their inputs have none: elementwise ones, and those that
# only move, join or drop axes. Every other may, as a window does that is larger than its map.
_SOUND = frozenset(
    "Abs Add And ArgMax ArgMin BatchNormalization Cast CastLike Ceil Clip Concat Constant CumSum DequantizeLinear Div "
    "Dropout Elu Equal Erf Exp Expand Flatten Floor Gather Gelu Gemm GlobalAveragePool GlobalMaxPool Greater "
    "GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LRN LayerNormalization "
    "LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow "
    "QuantizeLinear RMSNormalization Reciprocal ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "Relu Reshape Round Selu Shape Sigmoid Sign Size Softmax Softplus Softsign Sqrt Squeeze Sub Sum Swish Tanh "
    "Transpose Unsqueeze Where".split()
)
_SIZES = frozenset({"Shape", "Size"})


Infer = Callable[[ModelProto], ModelProto]


def guarded(model: ModelProto, infer: Infer) -> ModelProto:
    """`infer(model)`, in as many runs as it takes to be safe. The graph's nodes have to be in topological order.

    Raises `ModelError` where a value comes out with a negative size.
    """
    plan = _planned(model)
    with _without(plan.doubling):
        hidden = _unshown(model, plan, infer)
        with _without(hidden):
            return infer(model)


def sound(model: ModelProto, infer: Infer) -> bool:
    """Whether every Slice of the model is safe to infer, as it has to be for onnx's checker.

    Raises `ModelError` where a value comes out with a negative size.
    """
    plan = _planned(model)
    with _without(plan.doubling):
        return not _unshown(model, plan, infer)


def _unshown(model: ModelProto, plan: _Plan, infer: Infer) -> list[NodeProto]:
    """The Slices that could not be shown to read what is sound, after as many runs as the budget has."""
    runs = sorted({run for run, _ in plan.slices})
    shown = runs[: _BUDGET // (len(model.graph.node) + 1)]
    for run in shown:
        with _without([*plan.unsafe, *(node for needed, node in plan.slices if needed >= run)]):
            _refuse_negative(infer(model).graph)
    return [*plan.unsafe, *(node for run, node in plan.slices if run not in shown)]


def _planned(model: ModelProto) -> _Plan:
    _forget_negative(model.graph)
    plan = _Plan()
    plan.nodes(model.graph.node, _lengths(model.graph))
    entry = max(plan.phases.values(), default=0) | 1
    for function in model.functions:
        inner = _Plan(dict.fromkeys(function.input, entry))
        inner.nodes(function.node, dict.fromkeys(function.input, _RANK))
        # What comes out inside of a function is not told, so only what comes in can be looked at.
        plan.unsafe += [node for run, node in inner.slices if run > entry + 1]
        plan.slices += [(run, node) for run, node in inner.slices if run == entry + 1]
        plan.doubling += inner.doubling
    if plan.slices or plan.unsafe or plan.doubling:
        for part in (model, *model.functions):
            if not any(entry.domain == _HIDDEN for entry in part.opset_import):
                part.opset_import.add(domain=_HIDDEN, version=1)
    return plan


@contextlib.contextmanager
def _without(nodes: Sequence[NodeProto]) -> Iterator[None]:
    """Let nodes be operators that nobody knows."""
    domains = [node.domain for node in nodes]
    for node in nodes:
        node.domain = _HIDDEN
    try:
        yield
    finally:
        for node, domain in zip(nodes, domains, strict=True):
            node.domain = domain


class _Plan:
    """Which Slices need which runs before them, and which Concats double what inference carries along.

    A value's phase is even where nothing on the way to it can have made a size negative since the last Slice, odd
    where something can. A Slice that reads an odd one waits for a run that shows what it reads.
    """

    def __init__(self, phases: dict[str, int] | None = None) -> None:
        self.phases: dict[str, int] = phases or {}
        self.slices: list[tuple[int, NodeProto]] = []
        self.unsafe: list[NodeProto] = []
        self.doubling: list[NodeProto] = []

    def nodes(self, nodes: Iterable[NodeProto], numbers: dict[str, int]) -> None:
        """Look at nodes; `numbers` says how many numbers inference knows of a value, and is added to."""
        phases = self.phases
        for node in nodes:
            operator = node.op_type if node.domain in _DEFAULT_DOMAINS else ""
            phase = max((phases.get(name, 0) for name in node.input), default=0)
            count = max((numbers.get(name, 0) for name in node.input), default=0)
            if operator in _SIZES:
                phase, count = 0, _RANK
            elif operator == "Slice":
                phase += phase & 1
                if phase:
                    self.slices.append((phase, node))
            elif operator not in _SOUND:
                phase |= 1
            if operator == "Concat":
                count = sum(numbers.get(name, 0) for name in node.input)
                if count > _MOST_NUMBERS:
                    self.doubling.append(node)
                    count = 0
            elif operator == "Constant":
                count = max((element_count(one.t.dims) for one in node.attribute if one.name == "value"), default=_RANK)
                count = count if count <= _MOST_NUMBERS else 0
            for graph in _bodies(node):
                inner = {**dict.fromkeys((value.name for value in graph.input), phase)}
                phases.update(inner)
                self.nodes(graph.node, numbers | _lengths(graph))
                phase = max((phase, *(phases.get(value.name, 0) for value in graph.output))) | 1
            for name in node.output:
                if phase:
                    phases[name] = phase
                if count:
                    numbers[name] = count


def _bodies(node: NodeProto) -> Iterable[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def _lengths(graph: GraphProto) -> dict[str, int]:
    """How many numbers each initializer has, of those short enough to be sizes."""
    counts = {tensor.name: element_count(tensor.dims) for tensor in graph.initializer}
    return {name: count for name, count in counts.items() if count <= _MOST_NUMBERS}


def _graphs(graph: GraphProto) -> Iterable[GraphProto]:
    yield graph
    for node in graph.node:
        for body in _bodies(node):
            yield from _graphs(body)


def _values(graph: GraphProto) -> Iterable[ValueInfoProto]:
    for part in _graphs(graph):
        yield from (*part.input, *part.value_info, *part.output)


def _forget_negative(graph: GraphProto) -> None:
    """Negative sizes, which some exporters write for what is not known."""
    for value in _values(graph):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.ClearField("dim_value")


def _refuse_negative(graph: GraphProto) -> None:
    for value in _values(graph):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                raise ModelError(f"{quoted(value.name)} comes out with a size of {dim.dim_value}")
