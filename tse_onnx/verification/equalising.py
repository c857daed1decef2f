"""The proof of an equalisation: the whole network computes what it did, within what rounding explains.

It shares nothing with the search: no layer, pair or scale is looked at, only what comes out of both networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from tse_onnx.data.feed import Feed
from tse_onnx.errors import CheckFailed
from tse_onnx.passes.edit.splice import Change, Edit
from tse_onnx.passes.graph.checker import complaint
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.session import Session
from tse_onnx.runtime.shaken import Shaken
from tse_onnx.verification.outside import outside_differences

_SLACK = 4.0
"""How many times what rounding explains of an output, at most: other weights round otherwise in every layer."""


@dataclass(frozen=True)
class OutputCheck:
    """How far an output is from the original's: the root mean square of the difference, as a share of what the
    original itself moves by where its inputs and weights are rounded otherwise; `equal` to the bit."""

    name: str
    error: float
    equal: bool


def check_equalised(
    original: ModelProto, made: ModelProto, edit: Edit, feed: Feed, folder: Path | None, exact: bool
) -> tuple[OutputCheck, ...]:
    """Compare every output of two models on `feed`, and all but the numbers of the edit byte for byte.

    Raises `CheckFailed` where an output differs by more than rounding explains; with `exact`, by a single bit.
    """
    differences = outside_differences(original, made, [Change((), (edit,))])
    if differences:
        raise CheckFailed(f"outside of the numbers something has changed: {differences[0]}")
    if complaint(original) is None and (text := complaint(made)) is not None:
        raise CheckFailed(f"the model that was made is not valid: {text}")
    names = [value.name for value in original.graph.output]
    before, after = (
        Session(model, folder, threads=1, alone=True, way_out="").run(feed, names) for model in (original, made)
    )
    unequal = [name for name in names if not _equal(before[name], after[name])]
    if exact and unequal:
        raise CheckFailed(f"output {quoted(unequal[0])} is not equal to the original's bit for bit")
    moved = _moved(original, folder, feed, before, unequal) if unequal else {}
    checks = []
    for name in names:
        error = 0.0
        if name in unequal:
            explained = max(moved[name], float(np.finfo(np.float64).tiny))
            error = _distance(before[name], after[name]) / explained
        if not error <= _SLACK:
            raise CheckFailed(f"output {quoted(name)} differs by {error:.3g} times what rounding explains")
        checks.append(OutputCheck(name, error, name not in unequal))
    return tuple(checks)


def _equal(before: np.ndarray, after: np.ndarray) -> bool:
    return before.shape == after.shape and before.dtype == after.dtype and before.tobytes() == after.tobytes()


def _moved(original: ModelProto, folder: Path | None, feed: Feed, before: Feed, names: list[str]) -> dict[str, float]:
    """By how much the original's outputs move where its inputs and weights are rounded otherwise."""
    found = dict.fromkeys(names, 0.0)
    for values in Shaken(original, folder).runs(feed, names, {}):
        for name in names:
            found[name] = max(found[name], _distance(before[name], values[name]))
    return found


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """The root mean square of the difference; infinite where one of both is no number and the other is."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return float("inf")
    if one.dtype.kind != "f":
        return 0.0 if np.array_equal(one, other) else float("inf")
    one, other = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(one)
    strange = ~finite | ~np.isfinite(other)
    if not np.array_equal(one[strange], other[strange], equal_nan=True):
        return float("inf")
    return float(np.sqrt(np.mean((one[finite] - other[finite]) ** 2))) if finite.any() else 0.0
