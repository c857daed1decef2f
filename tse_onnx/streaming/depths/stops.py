"""What stops a stream: the stages that have to see all rows of a map before anything behind them goes on.

Found in the order of the graph, from what each stage needs: such a stage needs the last row of a map for the first that
it makes. It stops the stream if it holds the map itself, or if somebody reads its result together with a map that came
before it, which then waits. A classifier's mean does neither. How many rows wait is what the simulation holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.depths.held import Held
from tse_onnx.streaming.depths.total import held_by_tensor
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.needs.reductions import ARGUMENTS
from tse_onnx.streaming.network.network import Network, Stage


@dataclass(frozen=True)
class Stop:
    """A node that the stream stops at.

    `node` is its name, or its first output where it has none; `what` it does with all rows, and `advice`, what could be
    done. `rows` rows of `tensor` wait for it, `elements` elements of one image: of the first where there are more.
    """

    node: str
    operator: str
    what: str
    rows: int
    tensor: str
    elements: int
    advice: str


def stops_of(network: Network, treated: Collection[str] = ()) -> tuple[Stop, ...]:
    """The stops of a network, in its order, but for the stages that make the `treated` values."""
    seen: list[Stage] = []
    waiting: dict[int, list[tuple[str, Stage | None]]] = {}
    behind: dict[str, int] = {}  # by value, the stops that its first row comes after: a bit for each
    for stage in network.stages:
        joined = 0
        for name in stage.inputs:
            joined |= behind.get(name, 0)
        whole = [name for number, name in enumerate(stage.inputs) if _needs_all(network, stage, number)]
        for name in stage.inputs:
            lacking = joined & ~behind.get(name, 0)
            if lacking and network.tensors[name].row_count > 1 and name not in whole:
                for number in _bits(lacking):
                    waiting.setdefault(number, []).append((name, stage))
        if whole:
            number = len(seen)
            seen.append(stage)
            joined |= 1 << number
            if not stage.absorbs and (kept := [name for name in whole if _keeps_all(network, stage, name)]):
                waiting.setdefault(number, []).append((kept[0], None))
        behind[stage.output] = joined
    stops = [number for number in sorted(waiting) if seen[number].output not in treated]
    held = held_by_tensor(network, Machine(), "asap") if stops else {}
    found = []
    for number in stops:  # a map that is late itself may have no row to wait
        first = next(((name, reader) for name, reader in waiting[number] if held[name].rows > 1), None)
        if first is not None:
            found.append(_stop(held, seen[number], *first))
    return tuple(found)


def _needs_all(network: Network, stage: Stage, number: int) -> bool:
    """Whether the first row of a stage needs the last of a map."""
    rows, need = network.tensors[stage.inputs[number]].row_count, stage.needs[number]
    return rows > 1 and need.size == rows and bool(need.rows) and need.ready[0] == rows - 1


def _keeps_all(network: Network, stage: Stage, name: str) -> bool:
    """Whether a stage reads all rows of a map that it needs the last of first, rather than a few."""
    needs = [need for read, need in zip(stage.inputs, stage.needs, strict=True) if read == name]
    return len({row for need in needs for rows in need.rows for row in rows}) == network.tensors[name].row_count


def _bits(mask: int) -> list[int]:
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return found


def _stop(held: Mapping[str, Held], stage: Stage, name: str, reader: Stage | None) -> Stop:
    what, advice = _said(stage, reader)
    node = stage.node.name or stage.output
    return Stop(node, stage.node.op_type, what, held[name].rows, name, held[name].elements, advice)


_NORMAL = (
    "train with BatchNormalization, whose statistics are constants, or with statistics over the channels of each pixel"
)
_POOL = "train with pools over strips of rows in its place; where it is listed as refused, the reason says more"
_ATTENTION = "attend within windows of rows, or accept that its maps are held whole"
_OTHER = "accept that the map is held whole, or put it where maps are small"


def _mean(stage: Stage, reader: Stage | None) -> tuple[str, str]:
    if reader is not None and reader.node.op_type == "Sub":
        return "takes the mean of a whole map, which is subtracted from it: a normalisation written out", _NORMAL
    if reader is not None and reader.node.op_type == "Div":
        return "takes the mean of a whole map, which something is divided by: a normalisation written out", _NORMAL
    return "takes the mean of a whole map", _POOL


_Says = Callable[["Stage", "Stage | None"], "tuple[str, str]"]


def _as(what: str, advice: str) -> _Says:
    return lambda stage, reader: (what, advice)


_KNOWN: Rules[_Says] = Rules(
    {
        ("GlobalAveragePool", "ReduceMean", "AveragePool"): _mean,
        ("ReduceSum", "ReduceLogSum", "ReduceLogSumExp"): _as("adds up a whole map", _POOL),
        ("GlobalMaxPool", "MaxPool", "ReduceMax", "ReduceMin", *ARGUMENTS): _as(
            "takes the maximum of a whole map", _POOL
        ),
        ("GlobalLpPool", "ReduceL1", "ReduceL2", "ReduceSumSquare"): _as("takes a norm of a whole map", _POOL),
        "InstanceNormalization": _as("normalises each channel by the mean and the variance of a whole map", _NORMAL),
        "GroupNormalization": _as("normalises groups of channels by the mean and the variance of a whole map", _NORMAL),
        ("LayerNormalization", "RMSNormalization", "LpNormalization", "MeanVarianceNormalization"): _as(
            "normalises by the mean and the variance of a whole map", _NORMAL
        ),
        ("Softmax", "LogSoftmax"): _as("is a softmax over all positions of a map: attention", _ATTENTION),
        ("MatMul", "Einsum", "Attention", "Gemm"): _as(
            "is a product over all positions of a map: attention", _ATTENTION
        ),
        (
            "com.microsoft::Attention", "com.microsoft::MultiHeadAttention", "com.microsoft::GroupQueryAttention",
        ): _as("is attention over all positions of a map", _ATTENTION),
    }
)  # fmt: skip


def _said(stage: Stage, reader: Stage | None) -> tuple[str, str]:
    rule = _KNOWN.of(stage.node)
    if rule is not None:
        return rule(stage, reader)
    why = f": {stage.barrier}" if stage.barrier else ""
    return f"needs all rows of a map before it makes one{why}", _OTHER
