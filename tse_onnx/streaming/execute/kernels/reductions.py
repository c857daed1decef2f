"""Reductions that absorb: they take a row as it comes, and keep one accumulator row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.execute.kernels.attributes import attributes
from tse_onnx.streaming.execute.kernels.kernel import Absorber, Absorbing, Rule, Site
from tse_onnx.streaming.execute.kernels.rowwise import rowwise
from tse_onnx.streaming.network.needs.reductions import ARGUMENTS, GLOBAL_POOLS, REDUCES

Axes = tuple[int, ...]
Fold = Callable[[np.ndarray, Axes], np.ndarray]


@dataclass(frozen=True)
class _Kind:
    """How a reduction works row by row: `first` reduces one row, `join` two results, `last` finishes, given how many
    elements each result was made of."""

    first: Fold
    join: Callable[[np.ndarray, np.ndarray], np.ndarray]
    last: Callable[[np.ndarray, int], np.ndarray]


def _plain(value: np.ndarray, _: int) -> np.ndarray:
    return value


def _sum(value: np.ndarray, axes: Axes) -> np.ndarray:
    return np.add.reduce(value, axis=axes, keepdims=True)


_SUM = _Kind(_sum, np.add, _plain)
_MEAN = _Kind(_sum, np.add, lambda value, count: value / count)
_MAX = _Kind(lambda value, axes: np.max(value, axis=axes, keepdims=True), np.maximum, _plain)
_SQUARES = _Kind(lambda value, axes: _sum(value * value, axes), np.add, _plain)
_KINDS: Rules[_Kind] = Rules(
    {
        "ReduceSum": _SUM,
        ("ReduceMean", "GlobalAveragePool"): _MEAN,
        ("ReduceMax", "GlobalMaxPool"): _MAX,
        "ReduceMin": _Kind(lambda value, axes: np.min(value, axis=axes, keepdims=True), np.minimum, _plain),
        "ReduceProd": _Kind(lambda value, axes: np.prod(value, axis=axes, keepdims=True), np.multiply, _plain),
        "ReduceL1": _Kind(lambda value, axes: _sum(np.abs(value), axes), np.add, _plain),
        "ReduceL2": _Kind(_SQUARES.first, np.add, lambda value, _: np.sqrt(value)),
        "ReduceSumSquare": _SQUARES,
        "ReduceLogSum": _Kind(_sum, np.add, lambda value, _: np.log(value)),
        "ReduceLogSumExp": _Kind(
            lambda value, axes: (
                np.logaddexp.reduce(value.reshape(value.shape), axis=axes, keepdims=True)
                if len(axes) == 1
                else np.log(_sum(np.exp(value), axes))
            ),
            np.logaddexp,
            lambda value, _: value,
        ),
    }
)


class Reduction:
    """A Reduce operator or a global pooling."""

    def __init__(self, site: Site, kind: _Kind) -> None:
        self._kind = kind
        self._axes = _axes(site)
        self._dims = site.made.dims
        self._count = int(np.prod([site.read(0).dims[axis] for axis in self._axes]))
        self._total: np.ndarray | None = None
        self._dtype: np.dtype[np.generic] = np.dtype(np.float32)

    def serves(self, taken: int) -> int | None:
        return 0

    def absorb(self, taken: int, row: np.ndarray) -> None:
        self._dtype = row.dtype
        wide = row.astype(np.float64) if row.dtype.kind == "f" else row
        part = self._kind.first(wide, self._axes)
        self._total = part if self._total is None else self._kind.join(self._total, part)

    def emit(self, row: int) -> np.ndarray:
        assert self._total is not None
        total, self._total = self._kind.last(self._total, self._count), None
        return total.reshape(self._dims).astype(self._dtype)


def _axes(site: Site) -> Axes:
    """The axes that are reduced."""
    node, rank = site.node, len(site.read(0).dims)
    given = attributes(node)
    axes = given.get("axes")
    stated = site.constant(1) if axes is None and node.op_type.startswith("Reduce") else None
    if node.op_type in GLOBAL_POOLS:
        return tuple(range(2, rank))
    if stated is not None:
        axes = stated.reshape(-1).tolist()
    return tuple(sorted(axis % rank for axis in axes)) if axes is not None and len(axes) else tuple(range(rank))


class QuantisedMean:
    """The global mean of quantised maps: a sum of integers, scaled once, as onnxruntime does it."""

    def __init__(self, site: Site) -> None:
        given, dims = attributes(site.node), site.read(0).dims
        self._axes = tuple(range(1, len(dims) - 1) if given.get("channels_last", 0) else range(2, len(dims)))
        self._count = int(np.prod([dims[axis] for axis in self._axes]))
        scale, zero, made_scale, made_zero = (site.constant(slot) for slot in range(1, 5))
        assert scale is not None
        assert made_scale is not None
        self._scale = np.float32(scale.reshape(()) / (made_scale.reshape(()) * np.float32(self._count)))
        self._zero, self._made_zero = (0 if each is None else int(each.reshape(())) for each in (zero, made_zero))
        self._dims = site.made.dims
        self._total: np.ndarray | None = None
        self._dtype: np.dtype[np.generic] = np.dtype(np.uint8)

    def serves(self, taken: int) -> int | None:
        return 0

    def absorb(self, taken: int, row: np.ndarray) -> None:
        self._dtype = row.dtype
        part = row.sum(axis=self._axes, keepdims=True, dtype=np.int64)
        self._total = part if self._total is None else self._total + part

    def emit(self, row: int) -> np.ndarray:
        assert self._total is not None
        total, self._total = self._total - self._count * self._zero, None
        whole = np.rint(total.astype(np.float32) * self._scale) + self._made_zero
        least, most = (-128, 127) if self._dtype == np.int8 else (0, 255)
        made: np.ndarray = whole.clip(least, most).reshape(self._dims).astype(self._dtype)
        return made


class ArgReduction:
    """ArgMax and ArgMin over the rows: the best so far, and where it was."""

    def __init__(self, site: Site) -> None:
        given, rows = attributes(site.node), site.read(0).rows
        assert rows is not None
        self._axis, self._rows = given.get("axis", 0) % len(site.read(0).dims), rows
        self._sign = 1 if site.node.op_type == "ArgMax" else -1
        self._last = bool(given.get("select_last_index", 0))
        self._dims = site.made.dims
        self._best: np.ndarray | None = None
        self._where: np.ndarray | None = None

    def serves(self, taken: int) -> int | None:
        return 0

    def absorb(self, taken: int, row: np.ndarray) -> None:
        rows = self._rows
        for place in range(row.shape[self._axis]):
            outer, inner = divmod(place, rows.inner)
            index = (outer * rows.size + taken) * rows.inner + inner
            value = row.take([place], axis=self._axis) * self._sign
            if self._best is None or self._where is None:
                self._best, self._where = value, np.full(value.shape, index, np.int64)
                continue
            later = index > self._where if self._last else index < self._where
            better = (value > self._best) | ((value == self._best) & later)
            self._best, self._where = np.where(better, value, self._best), np.where(better, index, self._where)

    def emit(self, row: int) -> np.ndarray:
        assert self._where is not None
        where, self._best, self._where = self._where, None, None
        return where.reshape(self._dims)


def _powers(site: Site) -> Absorber:
    """GlobalLpPool, whose kind depends on its power."""
    power = float(attributes(site.node).get("p", 2))

    def first(value: np.ndarray, axes: Axes) -> np.ndarray:
        return _sum(np.abs(value) ** power, axes)

    return Reduction(site, _Kind(first, np.add, lambda value, _: value ** (1 / power)))


REDUCTIONS: Rules[Rule] = Rules({GLOBAL_POOLS: rowwise, REDUCES: rowwise, ARGUMENTS: rowwise})
ABSORBERS: Rules[Absorbing] = Rules(
    {
        **{operator: partial(Reduction, kind=kind) for operator, kind in _KINDS.items()},
        "GlobalLpPool": _powers,
        "com.microsoft::QLinearGlobalAveragePool": QuantisedMean,
        ARGUMENTS: ArgReduction,
    }
)
