"""One choice for each block: an integer programme, solved by HiGHS.

Losses and buffers of single blocks are taken to add up. That holds while losses are small, so what comes out is
measured afterwards as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.choice import Choice

# How much less a smaller buffer counts than a smaller loss: enough to decide between equals.
_TIE = 1e-6


@dataclass(frozen=True)
class Candidate:
    """A choice for a block: the bytes that it saves, and what it costs alone."""

    block: str
    choice: Choice | None
    saved: int
    loss: float


def least_loss(menus: Sequence[Sequence[Candidate]], saved: int) -> tuple[Candidate, ...] | None:
    """One candidate of each block with the smallest sum of losses that saves at least `saved` bytes; None where none
    does."""
    return _solved(menus, [candidate.loss for menu in menus for candidate in menu], saved=saved)


def most_saved(menus: Sequence[Sequence[Candidate]], loss: float) -> tuple[Candidate, ...] | None:
    """One candidate of each block that saves most, with a sum of losses of at most `loss`; None where there is none."""
    return _solved(menus, [-float(candidate.saved) for menu in menus for candidate in menu], loss=loss)


def most(menus: Sequence[Sequence[Candidate]]) -> int:
    """The bytes that no selection saves more than."""
    return sum(max(candidate.saved for candidate in menu) for menu in menus)


def _solved(
    menus: Sequence[Sequence[Candidate]], costs: Sequence[float], saved: int | None = None, loss: float | None = None
) -> tuple[Candidate, ...] | None:
    try:
        from scipy.optimize import Bounds, LinearConstraint, milp
    except ImportError:
        raise UsageError("choosing needs scipy: pip install 'tse-onnx[tune]'") from None

    candidates = [candidate for menu in menus for candidate in menu]
    if not candidates:
        return () if not saved else None
    savings, losses = (_column(candidates, name) for name in ("saved", "loss"))
    finite = np.isfinite(losses)
    losses = np.where(finite, losses, 0.0)
    cost = np.where(finite, np.nan_to_num(np.array(costs)), 0.0)
    # Numbers near one, so that the solver's tolerances are those of the problem.
    scale, size = np.abs(cost).max() or 1.0, np.abs(savings).max() or 1.0
    tie = _TIE * (savings / size if saved is not None else -losses / (losses.max() or 1.0))
    one_each = np.zeros((len(menus), len(candidates)))
    first = 0
    for number, menu in enumerate(menus):
        one_each[number, first : first + len(menu)] = 1
        first += len(menu)
    constraints = [LinearConstraint(one_each, 1, 1)]
    if saved is not None:
        constraints.append(LinearConstraint(savings[None] / size, saved / size, np.inf))
    if loss is not None:
        limit = loss or 1.0
        constraints.append(LinearConstraint(losses[None] / limit, -np.inf, loss / limit))
    found = milp(
        cost / scale - tie,
        integrality=np.ones(len(candidates)),
        bounds=Bounds(0, finite.astype(float)),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        return None
    return tuple(candidate for candidate, taken in zip(candidates, found.x, strict=True) if taken > 0.5)


def _column(candidates: Sequence[Candidate], name: str) -> np.ndarray:
    return np.array([float(getattr(candidate, name)) for candidate in candidates])
