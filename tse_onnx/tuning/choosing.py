"""One choice for each block: an integer programme, solved by HiGHS.

Losses and buffers of single blocks are taken to add up. That holds while losses are small, so what comes out is
measured afterwards as a whole. Of selections that are as good, the one that computes least twice is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tse_onnx.installation.extras import need
from tse_onnx.passes.blocks.choice import Choice

# How much less a smaller buffer counts than a smaller loss: enough to decide between equals.
_TIE = 1e-6
# Losses that differ by this part, or by so little of the largest one, are the same: less is rounding.
_SAME, _NONE = 1e-3, 1e-6


@dataclass(frozen=True)
class Candidate:
    """A choice for a block: the bytes that it saves, what it costs alone, the multiply-accumulates that it computes
    twice, and what limits are for: those that it `added` and the `cycles`."""

    block: str
    choice: Choice | None
    saved: int
    loss: float
    macs: int = 0
    added: int = 0
    cycles: int = 0


Menus = Sequence[Sequence[Candidate]]
Limited = Sequence[tuple[str, int]]
"""Columns of candidates, by name, and the most that each may add up to."""


def least_loss(menus: Menus, saved: int, limits: Limited = ()) -> tuple[Candidate, ...] | None:
    """One candidate of each block with the smallest sum of losses that saves at least `saved` bytes; None where none
    does. `limits` are the most that the candidates' columns may add up to, by name."""
    return _thrifty(menus, _solved(menus, "loss", saved=saved, limits=limits), saved, limits)


def most_saved(menus: Menus, loss: float, limits: Limited = ()) -> tuple[Candidate, ...] | None:
    """One candidate of each block that saves most, with a sum of losses of at most `loss` and the same limits; None
    where there is none."""
    found = _solved(menus, "saved", loss=loss, limits=limits)
    return found and _thrifty(menus, found, sum(candidate.saved for candidate in found), limits)


def most(menus: Menus) -> int:
    """The bytes that no selection saves more than."""
    return sum(max(candidate.saved for candidate in menu) for menu in menus)


def _thrifty(
    menus: Menus, found: tuple[Candidate, ...] | None, saved: int, limits: Limited
) -> tuple[Candidate, ...] | None:
    """What saves as much as `found`, loses no more and computes least twice."""
    if not found or not any(candidate.macs for candidate in found):
        return found
    losses = [candidate.loss for menu in menus for candidate in menu if math.isfinite(candidate.loss)]
    enough = sum(candidate.loss for candidate in found) * (1 + _SAME) + _NONE * max(losses)
    return _solved(menus, "macs", saved=saved, loss=enough, limits=limits) or found


def _solved(
    menus: Menus, wanted: str, saved: int | None = None, loss: float = math.inf, limits: Limited = ()
) -> tuple[Candidate, ...] | None:
    """The selection with the smallest sum of `wanted`, or the largest of what is saved."""
    need("tune")
    from scipy.optimize import Bounds, LinearConstraint, milp

    candidates = [candidate for menu in menus for candidate in menu]
    if not candidates:
        return () if not saved else None
    columns = {name: _column(candidates, name) for name in ("saved", "loss", "macs", "added", "cycles")}
    finite = np.isfinite(columns["loss"])
    columns["loss"] = np.where(finite, columns["loss"], 0.0)
    # Numbers near one, so that the solver's tolerances are those of the problem.
    sizes = {name: float(np.abs(column).max()) or 1.0 for name, column in columns.items()}
    tie = columns["loss"] / (columns["loss"].max() or 1.0) if wanted == "saved" else -columns["saved"] / sizes["saved"]
    sign = -1 if wanted == "saved" else 1
    cost = np.where(finite, sign * columns[wanted] / sizes[wanted], 0.0) + _TIE * tie
    one_each = np.zeros((len(menus), len(candidates)))
    first = 0
    for number, menu in enumerate(menus):
        one_each[number, first : first + len(menu)] = 1
        first += len(menu)
    constraints = [LinearConstraint(one_each, 1, 1)]
    if saved is not None:
        constraints.append(LinearConstraint(columns["saved"][None] / sizes["saved"], saved / sizes["saved"], np.inf))
    if math.isfinite(loss):
        limit = loss or 1.0
        constraints.append(LinearConstraint(columns["loss"][None] / limit, -np.inf, loss / limit))
    for name, bound in limits:
        constraints.append(LinearConstraint(columns[name][None] / sizes[name], -np.inf, bound / sizes[name]))
    found = milp(
        cost,
        integrality=np.ones(len(candidates)),
        bounds=Bounds(0, finite.astype(float)),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        return None
    taken = tuple(candidate for candidate, number in zip(candidates, found.x, strict=True) if number > 0.5)
    # The solver keeps limits up to its tolerance; plans keep theirs to the last one.
    kept = [(name, bound, sum(int(getattr(one, name)) for one in taken) - bound) for name, bound in limits]
    if all(excess <= 0 for _, _, excess in kept):
        return taken
    tighter = tuple((name, bound - max(excess, 0)) for name, bound, excess in kept)
    return _solved(menus, wanted, saved, loss, tighter)


def _column(candidates: Sequence[Candidate], name: str) -> NDArray[np.float64]:
    return np.array([float(getattr(candidate, name)) for candidate in candidates])
