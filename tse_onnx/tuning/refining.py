"""Better combinations around a good one, found by measuring them whole.

Where losses are not small they do not add up, and the best sum is not the best combination. So its neighbours are
measured, those with the smallest sums first: one block changed, or two in opposite directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

from tse_onnx.tuning.choosing import Candidate

Selection = tuple[Candidate, ...]

_NEAR = 4
# By what part of the loss another selection has to be better: less is rounding, and not worth a change.
_BETTER = 1e-3


def refined(
    start: Selection,
    menus: Sequence[Sequence[Candidate]],
    allowed: Callable[[Selection], bool],
    measured: Callable[[Selection], float],
    trials: int,
) -> tuple[Selection, int]:
    """The best selection that was found, and how many were measured.

    `allowed` says whether a selection is within the budget, `measured` gives its loss; at most `trials` of them are
    measured beside `start`. A better one becomes the next start. Exact choices lose nothing, so that of selections
    which differ in these alone one is as good as the other.
    """
    best, least, used = start, measured(start), 0
    seen = {_inexact(start)}
    if not _inexact(start):
        return start, used
    while True:
        better = False
        for neighbour in _by_sum(best, menus):
            if used >= trials:
                return best, used
            if _inexact(neighbour) in seen or not allowed(neighbour):
                continue
            seen.add(_inexact(neighbour))
            used += 1
            loss = measured(neighbour)
            if loss < least * (1 - _BETTER):
                best, least, better = neighbour, loss, True
                break
        if not better:
            return best, used


def _inexact(selection: Selection) -> Selection:
    """What of a selection changes the outputs."""
    return tuple(one for one in selection if one.choice is not None and not one.choice.exact)


def _by_sum(selection: Selection, menus: Sequence[Sequence[Candidate]]) -> Iterator[Selection]:
    """The neighbours of a selection, by rising sums of losses."""
    own = list(selection)
    changes = [(number, candidate) for number, menu in enumerate(menus) for candidate in menu]
    found = [_changed(own, [change]) for change in changes if change[1] != own[change[0]]]
    small = [(number, candidate) for number, menu in enumerate(menus) for candidate in _near(own[number], menu)]
    found += [
        _changed(own, [one, other])
        for one, other in combinations(small, 2)
        if one[0] != other[0] and (one[1].saved > own[one[0]].saved) != (other[1].saved > own[other[0]].saved)
    ]
    return iter(sorted(found, key=lambda made: sum(candidate.loss for candidate in made)))


def _near(own: Candidate, menu: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that save about as much as the block's own: many pairs are too many."""
    closest = sorted(menu, key=lambda candidate: (abs(candidate.saved - own.saved), candidate.loss))
    return [candidate for candidate in closest if candidate != own][:_NEAR]


def _changed(own: Sequence[Candidate], changes: Sequence[tuple[int, Candidate]]) -> Selection:
    made = list(own)
    for number, candidate in changes:
        made[number] = candidate
    return tuple(made)
