"""Every row of a run against onnxruntime's, as it is made: each tensor on its own scale.

An output that hardly depends on the input would hide an error in front of it, so the tensors between are compared as
well. Rows are compared as they are made; what onnxruntime makes of all tensors is held in portions of a bounded size.

What differs by more than the tolerance is not wrong yet: a mean of differences from a mean has nothing but rounding in
it. So onnxruntime runs once more with inputs and weights that are changed by as much as rounding does, and how far a
tensor moves by that is what it may be off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto

from tse_onnx.data.feed import Feed
from tse_onnx.passes.graph.types import bits_of
from tse_onnx.runtime.deadline import Deadline
from tse_onnx.streaming.execute.kernels.cutting import part
from tse_onnx.streaming.execute.numbers import Alone
from tse_onnx.streaming.network.network import Network, Tensor

_ROOM = 1 << 29
"""Bytes of onnxruntime's tensors that are held at once."""
_TOLERANCES: Mapping[int, float] = {TensorProto.FLOAT16: 1e-2, TensorProto.BFLOAT16: 6e-2}
_TOLERANCE = 1e-4
# How much farther than changes of a few roundings move a tensor it may be.
_FACTOR = 4.0
# Below the smallest normal number rounding is absolute: so many of the smallest steps of the type.
_STEPS = 4


def tolerance_of(network: Network) -> float:
    """The largest difference, relative to a tensor's largest value, that rounding explains in a network: that of its
    coarsest type."""
    return max((_TOLERANCES.get(tensor.dtype, _TOLERANCE) for tensor in network.tensors.values()), default=_TOLERANCE)


@dataclass(frozen=True)
class Equality:
    """How far the tensors of a run are from onnxruntime's, relative to their largest values, in the order of the graph.

    A tensor that rounding moves farther than the tolerance is off by so much of that instead.
    """

    errors: Mapping[str, float]
    tolerance: float

    @property
    def differing(self) -> tuple[str, ...]:
        """The tensors that differ by more than the tolerance."""
        return tuple(name for name, error in self.errors.items() if not error <= self.tolerance)

    @property
    def worst(self) -> str:
        """The tensor that differs most; "" where none was compared."""
        return max(self.errors, key=lambda name: self.errors[name], default="")

    @property
    def error(self) -> float:
        """The difference of the worst."""
        return self.errors.get(self.worst, 0.0)


def portions(network: Network, room: int = _ROOM, names: Container[str] | None = None) -> list[tuple[str, ...]]:
    """The tensors that stages make, those among `names`, in portions of at most `room` bytes or of one tensor."""
    made, held = list[list[str]](), 0
    for stage in network.stages:
        if names is not None and stage.output not in names:
            continue
        tensor = network.tensors[stage.output]
        size = math.prod(tensor.dims) * bits_of(tensor.dtype) // 8
        if not made or held + size > room:
            made.append([])
            held = 0
        made[-1].append(stage.output)
        held += size
    return [tuple(names) for names in made]


@dataclass
class _Found:
    """What onnxruntime made of a tensor that is still to be compared, and how far the run is off so far."""

    tensor: Tensor
    values: np.ndarray
    scale: float
    off: float = 0.0

    def take(self, rows: range, made: np.ndarray) -> None:
        if math.isfinite(self.off):
            wanted = self.values if self.tensor.row_count == 1 else part(self.values, self.tensor.rows, rows)
            self.off = max(self.off, distance(made, wanted))


@dataclass
class Comparison:
    """Compares the rows of the tensors `names` as they are made. `seconds` is what that took."""

    network: Network
    names: Sequence[str]
    model: ModelProto
    feed: Feed
    folder: Path | None
    deadline: Deadline
    way_out: str
    seconds: float = 0.0
    _found: dict[str, _Found] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from tse_onnx.runtime.session import Session

        session = Session(
            self.model, self.folder, self.names, threads=1, deadline=self.deadline, way_out=self.way_out, large=True
        )
        for name, values in session.run(self.feed, self.names).items():
            tensor = self.network.tensors[name]
            self._found[name] = _Found(tensor, values, magnitude(values), 0.0 if _fits(values, tensor) else math.inf)

    def take(self, name: str, rows: range, made: np.ndarray, alone: Alone) -> None:
        """Compare rows that a stage has made. Of those that were made in one call the tensor's first, last and middle
        one are made `alone` as well: no row may be right because of those beside it."""
        begun = time.perf_counter()
        found = self._found.get(name)
        if found is not None:
            found.take(rows, made)
            if len(rows) > 1:
                count = found.tensor.row_count
                for row in sorted({0, count // 2, count - 1} & set(rows)):
                    found.take(range(row, row + 1), alone(row))
        self.seconds += time.perf_counter() - begun

    def errors(self, tolerance: float) -> dict[str, float]:
        """For each tensor how far it is off, relative to its largest value or to what rounding makes of it. A tolerance
        of nothing leaves nothing to rounding."""
        relative = {name: relation(found.off, found.scale) for name, found in self._found.items()}
        beyond = [name for name, found in self._found.items()
                  if tolerance and relative[name] > tolerance and math.isfinite(found.off)]  # fmt: skip
        for name, moved in self._moved(beyond).items():
            found = self._found[name]
            allowed = max(_FACTOR * moved, least(found.values.dtype))
            relative[name] = min(relative[name], tolerance * relation(found.off, allowed))
        return relative

    def _moved(self, names: Sequence[str]) -> dict[str, float]:
        """How far rounding moves tensors, in the largest of their values."""
        if not names:
            return {}
        from tse_onnx.runtime.shaken import Shaken

        part = ModelProto()
        part.CopyFrom(self.model)
        present = {value.name for value in part.graph.output}
        part.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in present)
        moved = dict.fromkeys(names, 0.0)
        for values in Shaken(part, self.folder).runs(self.feed, names, {}):
            self.deadline.check()
            for name in names:
                far = distance(values[name], self._found[name].values)
                moved[name] = max(moved[name], far if math.isfinite(far) else 0.0)
        return moved


def _fits(values: np.ndarray, tensor: Tensor) -> bool:
    """Whether what onnxruntime made of a tensor has the tensor's rows. How much of it there is, in the first axis, may
    depend on the data."""
    return tensor.row_count == 1 or values.shape == tensor.dims or (
        tensor.rows is not None and tensor.rows.axis > 0 and values.shape[1:] == tensor.dims[1:]
    )  # fmt: skip


def relation(off: float, scale: float) -> float:
    """`off` relative to `scale`; infinite where that is nothing."""
    return 0.0 if not off else off / scale if scale else math.inf


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference of two arrays; infinite where shapes differ, or what is no finite number is not the
    same."""
    if found.shape != wanted.shape:
        return math.inf
    if found.dtype.kind not in "fiub" or wanted.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(found, wanted) else math.inf
    if found.dtype not in (np.float32, np.float64) or wanted.dtype != found.dtype:
        found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        far = np.subtract(found, wanted)
        far = max(float(far.max(initial=0.0)), -float(far.min(initial=0.0)))
        if math.isfinite(far):
            return far
        same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
        far = float(np.where(same, 0, np.abs(found - wanted)).max(initial=0.0))
    return far if math.isfinite(far) else math.inf


def magnitude(values: np.ndarray) -> float:
    """The largest finite absolute value."""
    if values.dtype.kind not in "fiub" or not values.size:
        return 0.0
    wide = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    largest = max(float(wide.max()), -float(wide.min()))
    return largest if math.isfinite(largest) else float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))


def least(dtype: np.dtype[Any]) -> float:
    """What numbers of a type may differ by however small they are."""
    return _STEPS * float(np.finfo(dtype).smallest_subnormal) if dtype.kind == "f" else 0.0
