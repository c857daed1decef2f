"""Resize: found out by probing the node itself on unit rows, its output is the matrix that mixes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import NodeProto

from tse_onnx.runtime.single import Single
from tse_onnx.streaming.execute.kernels.attributes import attributes, with_attributes
from tse_onnx.streaming.execute.kernels.cutting import row_shape
from tse_onnx.streaming.execute.kernels.kernel import Kernel, Rows, Site
from tse_onnx.streaming.execute.kernels.probe import probed
from tse_onnx.streaming.execute.kernels.whole import Whole
from tse_onnx.streaming.execute.kernels.windows import PlainRows

_NEGLIGIBLE = 1e-5


def resize(site: Site) -> Kernel:
    """A map that has no rows of its own is resized as a whole."""
    return Interpolated(site) if site.made.rows is not None else Whole(site)


class Interpolated:
    """A Resize that mixes rows: along the columns the node itself, along the rows the matrix that it applies."""

    def __init__(self, site: Site) -> None:
        data, axis = site.read(0), site.made.rows
        assert axis is not None
        self._plain = PlainRows(data, axis.axis)
        self._matrix = _matrix(site, data.dims[axis.axis], site.made.dims[axis.axis], axis.axis, len(data.dims))
        self._used = [np.flatnonzero(np.abs(row) > _NEGLIGIBLE).tolist() for row in self._matrix]
        self._along = _along_columns(site, axis.axis)
        self._extrapolated = attributes(site.node).get("extrapolation_value", 0.0)
        self._shape = row_shape(site.made.dims, site.made.rows)

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        return {self._plain.name: tuple(dict.fromkeys(map(self._plain.token, self._used[row])))}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        used = self._used[row]
        if not used:
            return np.full(self._shape, self._extrapolated, np.float32)
        total: np.ndarray | None = None
        for number in used:
            part = self._along({self._plain.name: self._plain.take(number, rows)})
            weighed = part if self._matrix[row, number] == 1 else part * np.float32(self._matrix[row, number])
            total = weighed if total is None else total + weighed
        assert total is not None
        return total


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
        columns.append(probed(site, node, {node.input[0]: unit}, others).reshape(count))
    return np.stack(columns, axis=1)


def _along_columns(site: Site, axis: int) -> Single:
    """The node without what it does along the rows."""
    rank = len(site.made.dims)
    node, others = _only_along(site, [each for each in range(rank) if each != axis])
    dtypes, shapes = {node.input[0]: site.read(0).dtype}, {node.input[0]: [None] * rank}
    return Single(node, site.opsets, dtypes, others, site.stage.output, shapes)


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
