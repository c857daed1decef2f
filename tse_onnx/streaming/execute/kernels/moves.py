"""Kernels of operators that only move numbers.

What goes where is not computed here: the node runs once, in onnxruntime, on the numbers of its elements, and its output
tells where each came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import NodeProto

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.execute.kernels.attributes import attributes, with_attributes
from tse_onnx.streaming.execute.kernels.cutting import cut, row_shape
from tse_onnx.streaming.execute.kernels.kernel import Rows, Rule, Site
from tse_onnx.streaming.execute.kernels.probe import probed
from tse_onnx.streaming.execute.kernels.resize import resize
from tse_onnx.streaming.execute.kernels.whole import told_before

_EXACT = 1 << 24


class Moved:
    """An operator that copies elements: Slice, Pad, Concat, Split, Gather, Transpose, Reshape, DepthToSpace …"""

    def __init__(self, site: Site) -> None:
        self._fill, node = _padding(site)
        dtype = np.float32 if _elements(site) < _EXACT else np.float64
        feed, start = {}, 1
        self._row: list[tuple[str | int, int]] = []
        tokens: list[np.ndarray] = [np.zeros(1, np.int64)]
        places: list[np.ndarray] = [np.zeros(1, np.int64)]
        self._names: list[str] = []
        self._constants: dict[int, np.ndarray] = {}
        values = []
        for name in dict.fromkeys(each for slot, each in enumerate(node.input) if each and _is_data(node, slot)):
            tensor = site.network.tensors.get(name)
            shape = tensor.dims if tensor is not None else site.weights[name].shape
            count = int(np.prod(shape))
            numbers = np.arange(start, start + count, dtype=np.int64).reshape(shape)
            token, place = np.empty(count, np.int64), np.empty(count, np.int64)
            number = len(self._names)
            for row, part in enumerate(cut(numbers, tensor.rows if tensor is not None else None)):
                flat = part.reshape(-1) - start
                token[flat] = (number << 32) + row
                place[flat] = np.arange(len(flat))
            self._names.append(name)
            if tensor is None:
                self._constants[number] = np.ascontiguousarray(site.weights[name]).reshape(-1)
            tokens.append(token)
            places.append(place)
            values.append(name)
            feed[name] = numbers.astype(dtype)
            start += count
        others = {name: site.weights[name] for name in node.input if name and name not in feed}
        found = probed(site, node, feed, others)
        token_of, place_of = np.concatenate(tokens), np.concatenate(places)
        self._shape = row_shape(site.made.dims, site.made.rows)
        self._plans = []
        for part in cut(np.rint(found).astype(np.int64), site.made.rows):
            flat = part.reshape(-1)
            token = token_of[flat]
            used = np.unique(token[flat > 0])
            where = np.searchsorted(used, token) if len(used) else np.zeros(len(flat), np.int64)
            self._plans.append(_Plan(flat > 0, used.tolist(), where, place_of[flat]))

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        found: dict[str, list[int]] = {}
        for token in self._plans[row].used:
            if token >> 32 not in self._constants:
                found.setdefault(self._names[token >> 32], []).append(token & 0xFFFFFFFF)
        return found

    def make(self, row: int, rows: Rows) -> np.ndarray:
        plan = self._plans[row]
        parts = [self._part(token, rows) for token in plan.used]
        if len(parts) == 1 and plan.plain and parts[0].size == len(plan.place):
            return parts[0].reshape(self._shape)
        dtype = parts[0].dtype if parts else self._fill.dtype
        made = np.full(len(plan.place), self._fill, dtype) if not plan.full else np.empty(len(plan.place), dtype)
        for number, part in enumerate(parts):
            here = plan.where[number]
            made[here] = part[plan.from_place[number]]
        return made.reshape(self._shape)

    def _part(self, token: int, rows: Rows) -> np.ndarray:
        number, row = token >> 32, token & 0xFFFFFFFF
        if number in self._constants:
            return self._constants[number]
        return rows[self._names[number]][row].reshape(-1)


class _Plan:
    """Where the elements of one output row come from."""

    def __init__(self, known: np.ndarray, used: list[int], which: np.ndarray, place: np.ndarray) -> None:
        self.used, self.place = used, place
        self.full = bool(known.all())
        self.where = [_span(np.flatnonzero(known & (which == number))) for number in range(len(used))]
        self.from_place = [_span(place[here]) for here in self.where]
        first = self.from_place[0] if self.from_place else None
        self.plain = self.full and isinstance(first, slice) and first == slice(0, len(place))
        if self.plain and len(used) != 1:
            self.plain = False


def _span(indices: np.ndarray) -> slice | np.ndarray:
    """Indices that follow each other, as a slice: it copies faster."""
    if len(indices) and indices[-1] - indices[0] == len(indices) - 1 and np.all(np.diff(indices) == 1):
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return indices


def _is_data(node: NodeProto, slot: int) -> bool:
    return slot == 0 or node.op_type == "Concat"


def _elements(site: Site) -> int:
    names = [name for slot, name in enumerate(site.node.input) if name and _is_data(site.node, slot)]
    return sum(int(np.prod(site.network.tensors[name].dims if name in site.network.tensors else
                           site.weights[name].shape)) for name in names)  # fmt: skip


def _padding(site: Site) -> tuple[np.ndarray, NodeProto]:
    """What stands where nothing was copied, and the node that leaves a zero there."""
    if site.node.op_type != "Pad":
        return np.zeros((), np.float32), site.node
    given = site.constant(2)
    value = given if given is not None else np.float32(attributes(site.node).get("value", 0.0))
    node = with_attributes(site.node, value=None) if "value" in attributes(site.node) else NodeProto()
    if not node.op_type:
        node.CopyFrom(site.node)
    if len(node.input) > 2:
        node.input[2] = ""
    return np.asarray(value).reshape(()), node


MOVES: Rules[Rule] = Rules(
    {
        (
            "DepthToSpace", "Flatten", "Gather", "Pad", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile",
            "Transpose", "Unsqueeze",
        ): told_before(Moved),
        "Concat": Moved,
        ("Resize", "Upsample"): told_before(resize),
    }
)  # fmt: skip
