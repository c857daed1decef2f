"""Scales by a gate: which tensors wait for a descriptor of themselves, and the paper's metric of each.

Vosco, Shenkler, Grobman, "Tiled Squeeze-and-Excite: Channel Attention With Local Spatial Context", 2021: the scale of a
block buffers C · min(h, H) · min(w, W) elements of its input. Here h and w are read off the graph, whatever its form:
the rows and columns between a pixel and the last one that its gate depends on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tse_onnx.errors import ModelError
from tse_onnx.passes.blocks.recompute import Recompute
from tse_onnx.passes.edit.record import record_of
from tse_onnx.streaming.network.network import Network, Stage

# Operators behind which a tensor is still the same map, or a part of it, for the squeeze and for the scale.
_SEEN_THROUGH = frozenset({
    "Cast", "DequantizeLinear", "Dropout", "Flatten", "Gather", "Identity", "Pad", "QuantizeLinear", "Reshape", "Slice",
    "Split", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
# What adds up the branches that are pooled together.
_SUMS = frozenset({"Add", "Sum"})
_SCALES = frozenset({"Mul", "QLinearMul", "Div"})

Reach = tuple[tuple[int, ...], tuple[int, ...]]
"""For each row, and each column, the last one of a map that it depends on; −1 for none."""


@dataclass(frozen=True)
class Gate:
    """A tensor that is scaled by a gate made of itself, or that waits in place of such a one: `rows` × `columns` of
    each channel are held at `scale`, the first of its readers that waits."""

    tensor: str
    scale: str
    rows: int
    columns: int


def gates_of(network: Network) -> tuple[Gate, ...]:
    """Every scale by a gate, in node order, then what waits from frame to frame."""
    descriptors: dict[str, dict[str, Reach]] = {}
    found = []
    for stage in network.stages:
        if (held := _held_instead(network, stage)) is not None:
            found.append(held)
        if stage.absorbs or _narrows(network, stage):
            # What is reduced may be a descriptor already: a chain of pools, say, reduces the map before the first.
            above = _joined(network, stage, descriptors) if stage.inputs[0] in descriptors else {}
            descriptors[stage.output] = above | dict(_roots(network, stage))
            continue
        gate = _gate(network, stage, descriptors)
        if gate is not None:
            found.append(gate)
        elif stage.inputs and all(name in descriptors for name in stage.inputs):
            descriptors[stage.output] = _joined(network, stage, descriptors)
    for tensor in network.carried:  # a gate that waits for the next frame
        readers = network.readers[tensor.name]
        found.append(Gate(tensor.name, network.stages[readers[0]].label if readers else "", 1, 1))
    return tuple(found)


def _held_instead(network: Network, stage: Stage) -> Gate | None:
    """What waits for the gate of a recomputed block, if `stage` is the squeeze of one: all of the value that the map is
    made from once more. Nothing but the block's own record tells it from a value that happens to be read twice."""
    try:
        record = record_of(stage.node)
    except ModelError:  # damaged: then it is like any other graph
        return None
    held = network.tensors.get(record.choice.held or "") if record and isinstance(record.choice, Recompute) else None
    readers = network.readers.get(held.name) if held is not None else None
    if held is None or not readers:
        return None
    first = network.stages[min(readers, key=lambda reader: network.stages[reader].position)]
    return Gate(held.name, first.label, held.row_count, held.column_count)


def _narrows(network: Network, stage: Stage) -> bool:
    """Whether a stage reduces every row of a map to one column: a strip of one row, or what a running mean adds up."""
    op = stage.node.op_type
    if len(stage.inputs) != 1 or not op.startswith(("Reduce", "AveragePool", "MaxPool", "LpPool")):
        return False
    return network.tensors[stage.output].column_count == 1 < network.tensors[stage.inputs[0]].column_count


def _roots(network: Network, stage: Stage) -> Iterator[tuple[str, Reach]]:
    """The maps that an absorbing stage reduces: its input, and what this is a part, a view or a sum of."""
    waiting: list[tuple[str, Reach]] = [(stage.inputs[0], (stage.needs[0].ready, network.column_need(stage, 0).ready))]
    while waiting:
        name, reach = waiting.pop()
        yield name, reach
        above = network.producer.get(name)
        if above is None:
            continue
        maker = network.stages[above]
        op = maker.node.op_type
        if maker.absorbs or not (
            op in _SUMS or (len(maker.inputs) == 1 and (op in _SEEN_THROUGH or op[:6] == "Reduce"))
        ):
            continue
        waiting += [(each, _beyond(network, maker, number, reach)) for number, each in enumerate(maker.inputs)]


def _beyond(network: Network, stage: Stage, number: int, reach: Reach) -> Reach:
    rows, columns = stage.needs[number].ready, network.column_need(stage, number).ready
    return (
        tuple(rows[each] if each >= 0 else -1 for each in reach[0]),
        tuple(columns[each] if each >= 0 else -1 for each in reach[1]),
    )


def _joined(network: Network, stage: Stage, descriptors: Mapping[str, Mapping[str, Reach]]) -> dict[str, Reach]:
    """What a stage that reads descriptors alone depends on."""
    joined: dict[str, Reach] = {}
    for number, name in enumerate(stage.inputs):
        rows, columns = stage.needs[number].ready, network.column_need(stage, number).ready
        for root, (down, across) in descriptors[name].items():
            further: Reach = (
                tuple(down[each] if each >= 0 else -1 for each in rows),
                tuple(across[each] if each >= 0 else -1 for each in columns),
            )
            known = joined.get(root)
            if known is not None:
                further = (tuple(map(max, known[0], further[0])), tuple(map(max, known[1], further[1])))
            joined[root] = further
    return joined


def _gate(network: Network, stage: Stage, descriptors: Mapping[str, Mapping[str, Reach]]) -> Gate | None:
    if stage.node.op_type not in _SCALES or len(stage.inputs) != 2:
        return None
    for number, name in enumerate(stage.inputs):
        gate = stage.inputs[1 - number]
        if gate not in descriptors:
            continue
        for alias, seen in _aliases(network, name):
            if alias in descriptors[gate]:
                reach = _joined(network, _only(stage, 1 - number), descriptors)[alias]
                rows, columns = (_lag(last, own) for last, own in zip(reach, seen, strict=True))
                return Gate(name, stage.label, rows, columns)
    return None


def _only(stage: Stage, number: int) -> Stage:
    """The stage as if it read one input alone."""
    return Stage(
        stage.node, stage.position, stage.label, (stage.inputs[number],), stage.output, (stage.needs[number],),
        (stage.column_needs[number],),
    )  # fmt: skip


def _lag(reach: tuple[int, ...], seen: tuple[int, ...]) -> int:
    """How far behind the last row of the map that its gate depends on a row is, in rows of the view that is scaled, of
    which each has `seen` so many of the map's."""
    alike = seen[0] == seen[-1]
    return max(1, *((len(seen) - 1 if alike else bisect_left(seen, last)) - at + 1 for at, last in enumerate(reach)))


def _aliases(network: Network, name: str) -> Iterator[tuple[str, Reach]]:
    """The tensor and those that it is a view of, each with the last of its rows and columns that are in one of the
    tensor's."""
    tensor = network.tensors[name]
    seen: Reach = tuple(range(tensor.row_count)), tuple(range(tensor.column_count))
    while True:
        yield name, seen
        above = network.producer.get(name)
        if above is None:
            return
        maker = network.stages[above]
        if len(maker.inputs) != 1 or maker.node.op_type not in _SEEN_THROUGH or maker.absorbs:
            return
        seen = _beyond(network, maker, 0, seen)
        name = maker.inputs[0]
