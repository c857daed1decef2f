"""Kernels that make row i of row i."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.execute.kernels.attributes import attributes
from tse_onnx.streaming.execute.kernels.broadcast import Broadcast, Part
from tse_onnx.streaming.execute.kernels.cutting import cut, row_shape, stackable
from tse_onnx.streaming.execute.kernels.kernel import Kernel, Rows, Rule, Site, Stacking, Stored
from tse_onnx.streaming.execute.kernels.whole import Whole, told_before
from tse_onnx.streaming.network.needs.axis import Axis
from tse_onnx.streaming.network.needs.rowwise import ONE_OPERAND, QUANTISERS, SPREAD_OPERANDS


def rowwise(site: Site) -> Kernel:
    """The node itself on rows; as a whole where what it reads does not come in the rows of its output, but whole."""
    counts = {tensor.row_count for tensor in site.inputs.values()}
    in_step = site.made.row_count in counts and counts <= {1, site.made.row_count}
    return RowWise(site) if in_step else Whole(site)


class RowWise(Stacking):
    """The node itself on rows. A parameter that differs from row to row is cut like a tensor."""

    def __init__(self, site: Site) -> None:
        self._site, self._height = site, site.made.row_count
        self._tokens = {name: tensor.row_count for name, tensor in site.inputs.items()}
        self._cut: dict[str, list[np.ndarray]] = {}
        self._whole: dict[str, int] = {}
        """Slots of what is stored whole and differs from row to row: cut once an image."""
        for slot, name in enumerate(site.node.input):
            value = site.weights.get(name)
            if name in self._tokens and self._tokens[name] < self._height:
                value = np.zeros(site.network.tensors[name].dims, np.float32)
            if value is None or self._height == 1 or (rows := varying(site, slot, value)) is None:
                continue
            if name in self._tokens:
                self._whole[name] = slot
            else:
                self._cut[name] = rows
        self._run = site.single(fed={name: rows[0] for name, rows in self._cut.items()})
        self._stacks = (
            (site.node.op_type in ONE_OPERAND or site.node.op_type == "BatchNormalization")
            and not self._cut and not self._whole and stackable(site.made)
            and all(tensor.rows == site.made.rows for tensor in site.inputs.values())
        )  # fmt: skip

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        return {name: (row if tokens == self._height else 0,) for name, tokens in self._tokens.items()}

    def stack(self, made: range, rows: Mapping[str, Stored]) -> np.ndarray | None:
        return self._run({name: rows[name].together(made) for name in self._tokens}) if self._stacks else None

    def make(self, row: int, rows: Rows) -> np.ndarray:
        feed = {name: rows[name][row if tokens == self._height else 0] for name, tokens in self._tokens.items()}
        for name, slot in self._whole.items():
            if row == 0 or name not in self._cut:
                parts = varying(self._site, slot, feed[name])
                assert parts is not None
                self._cut[name] = parts
        for name, cuts in self._cut.items():
            feed[name] = cuts[row]
        return self._run(feed)


def varying(site: Site, slot: int, value: np.ndarray) -> list[np.ndarray] | None:
    """What an operand is for each row, where it differs from row to row: one number for each place of an axis along
    which the rows lie, or a block of them."""
    axis, rank, op = site.made.rows, len(site.made.dims), site.node.op_type
    if axis is None or not value.ndim:
        return None
    at: int | None
    if not slot:  # the data themselves
        at = axis.axis if value.ndim == rank else None
    elif op in ("DequantizeLinear", "QuantizeLinear"):
        along = attributes(site.node).get("axis", 1) % rank
        if value.ndim == 1:
            at = 0 if along == axis.axis and value.size > 1 else None
        else:
            at = axis.axis
            block = attributes(site.node).get("block_size", 0)
            if block and along == axis.axis:
                value = value.repeat(block, axis=at).take(range(site.made.dims[at]), axis=at)
    elif op == "BatchNormalization":
        at = 0 if axis.axis == 1 and value.size > 1 else None
    elif op in ("LayerNormalization", "RMSNormalization"):
        found = axis.axis - rank + value.ndim
        at = found if found >= 0 and value.shape[found] > 1 else None
    else:
        return None
    return None if at is None else cut(value, Axis(at, axis.size, axis.outer, axis.inner))


class Spread:
    """Expand: a row, repeated to the shape of the output's."""

    def __init__(self, site: Site) -> None:
        self._part = Part.of(site.made, site.read(0))
        self._name, self._shape = site.node.input[0], row_shape(site.made.dims, site.made.rows)

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        return {self._name: self._part.takes(row)}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        value = self._part.make(row, rows[self._name])
        return np.ascontiguousarray(np.broadcast_to(value, self._shape))


class RunningSum:
    """CumSum along the rows: the sum so far is all it keeps."""

    def __init__(self, site: Site) -> None:
        self._name, self._site = site.node.input[0], site
        self._exclusive = any(each.name == "exclusive" and each.i for each in site.node.attribute)
        self._sum: np.ndarray | None = None

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        if self._exclusive:
            return {self._name: (row - 1,) if row else ()}
        return {self._name: (row,)}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        if row == 0:
            self._sum = None
        for number in self.takes(row)[self._name]:
            value = rows[self._name][number]
            self._sum = value if self._sum is None else self._sum + value
        if self._sum is None:
            dtype = np.float32 if self._site.made.dtype == 1 else np.float64
            return np.zeros(row_shape(self._site.made.dims, self._site.made.rows), dtype)
        return self._sum


def _running(site: Site) -> Kernel:
    return RunningSum(site) if site.stage.accumulates else rowwise(site)


ROWWISE: Rules[Rule] = Rules(
    {
        ONE_OPERAND: rowwise,
        SPREAD_OPERANDS: Broadcast,
        QUANTISERS: rowwise,
        "CastLike": rowwise,
        "Expand": Spread,
        "BatchNormalization": rowwise,
        ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization"): rowwise,
        ("LayerNormalization", "RMSNormalization"): rowwise,
        ("InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization"): Whole,
        "CumSum": told_before(_running),
    }
)
