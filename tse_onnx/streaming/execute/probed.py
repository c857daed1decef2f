"""Kernels of operators that only move numbers, or mix rows linearly: found out by probing the node itself.

What goes where is not computed here: the node runs once, in onnxruntime, on the numbers of its elements, and its output
tells where each came from. A Resize that interpolates runs on unit rows, and its output is the matrix that mixes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import NodeProto, TensorProto

from tse_onnx.runtime.single import Single
from tse_onnx.streaming.execute.attributes import attributes, with_attributes
from tse_onnx.streaming.execute.cutting import cut, row_shape
from tse_onnx.streaming.execute.kernel import Rows, Site

_EXACT = 1 << 24
_NEGLIGIBLE = 1e-5


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
        found = _probe(site, node, feed, others)
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


class Interpolated:
    """A Resize that mixes rows: along the columns the node itself, along the rows the matrix that it applies."""

    def __init__(self, site: Site) -> None:
        data, axis = site.read(0), site.made.rows
        assert axis is not None
        self._name, self._axis = site.node.input[0], axis.axis
        self._matrix = _matrix(site, data.dims[axis.axis], site.made.dims[axis.axis], axis.axis, len(data.dims))
        self._used = [np.flatnonzero(np.abs(row) > _NEGLIGIBLE).tolist() for row in self._matrix]
        self._along = _along_columns(site, axis.axis)
        self._extrapolated = attributes(site.node).get("extrapolation_value", 0.0)
        self._shape = row_shape(site.made.dims, site.made.rows)
        self._cache: dict[int, np.ndarray] = {}

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        return {self._name: self._used[row]}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        used = self._used[row]
        if not used:
            return np.full(self._shape, self._extrapolated, np.float32)
        total: np.ndarray | None = None
        for number in used:
            part = self._along({self._name: rows[self._name][number]})
            weighed = part if self._matrix[row, number] == 1 else part * np.float32(self._matrix[row, number])
            total = weighed if total is None else total + weighed
        assert total is not None
        return total


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


def _probe(site: Site, node: NodeProto, feed: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> np.ndarray:
    """The node's output for other numbers, of another type than the network's."""
    made = NodeProto()
    made.CopyFrom(node)
    kept = list(node.output)
    dtype = TensorProto.DOUBLE if next(iter(feed.values())).dtype == np.float64 else TensorProto.FLOAT
    run = Single(
        made,
        site.opsets,
        dict.fromkeys(feed, dtype),
        others,
        kept[kept.index(site.stage.output)],
        {name: array.ndim for name, array in feed.items()},
    )
    return run(feed)


def _matrix(site: Site, size: int, count: int, axis: int, rank: int) -> np.ndarray:
    """[count, size]: what the node does to unit rows."""
    shape = [1] * rank
    shape[axis] = size
    columns = []
    node, others = _only_along(site, [axis])
    node = with_attributes(node, extrapolation_value=None)
    for row in range(size):
        unit = np.zeros(shape, np.float32)
        unit[(0,) * axis + (row,)] = 1
        columns.append(_probe(site, node, {node.input[0]: unit}, others).reshape(count))
    return np.stack(columns, axis=1)


def _along_columns(site: Site, axis: int) -> Single:
    """The node without what it does along the rows."""
    rank = len(site.made.dims)
    node, others = _only_along(site, [each for each in range(rank) if each != axis])
    data = site.read(0)
    return Single(node, site.opsets, {node.input[0]: data.dtype}, others, site.stage.output, {node.input[0]: rank})


def _only_along(site: Site, axes: Sequence[int]) -> tuple[NodeProto, dict[str, np.ndarray]]:
    """The Resize that acts along `axes` alone, with its constants."""
    given, rank = attributes(site.node), len(site.made.dims)
    old = len(site.node.input) == 2 or site.node.op_type == "Upsample" or "scales" in given
    node = with_attributes(site.node, axes=None) if "axes" in given else NodeProto()
    if not node.op_type:
        node.CopyFrom(site.node)
    stated = [each % rank for each in given.get("axes", range(rank))]
    others: dict[str, np.ndarray] = {}
    if "scales" in given:
        scales = [float(each) if axis in axes else 1.0 for axis, each in enumerate(given["scales"])]
        return with_attributes(node, scales=scales), others
    slot = 1 if old else 2
    values = site.constant(slot)
    sizes = None if old or (values is not None and values.size) else site.constant(3)
    if sizes is not None and "keep_aspect_ratio_policy" in given:
        node = with_attributes(node, keep_aspect_ratio_policy=None)
    before, after = site.read(0).dims, site.made.dims
    if sizes is not None:
        # Sizes of the axes that stay: what a unit row, or a row, has there.
        wanted = [1] * rank if len(axes) == 1 else [1 if axis not in axes else after[axis] for axis in range(rank)]
        for axis in axes:
            wanted[axis] = after[axis]
        others[node.input[3]] = np.array(wanted, np.int64)
    else:
        assert values is not None
        scales = [1.0] * rank
        for axis, scale in zip(stated, values.reshape(-1).tolist(), strict=True):
            if axis in axes:
                scales[axis] = scale
        others[node.input[slot]] = np.array(scales, np.float32)
    region = site.constant(1) if not old else None
    if region is not None and region.size:
        starts, ends = [0.0] * rank, [1.0] * rank
        for number, axis in enumerate(stated):
            if axis in axes:
                starts[axis], ends[axis] = region.reshape(-1)[[number, number + len(stated)]].tolist()
        others[node.input[1]] = np.array(starts + ends, region.dtype)
    elif not old and node.input[1]:
        others[node.input[1]] = np.zeros(0, np.float32)
    assert len(before) == rank
    return node, others
