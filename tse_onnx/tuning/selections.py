"""Selections of candidates: what they buffer and cost, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from tse_onnx.conversion.verdict import GATE
from tse_onnx.errors import CheckFailed
from tse_onnx.passes.blocks.recompute import Recompute
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.settings import setting
from tse_onnx.tuning.bench import Bench, mean
from tse_onnx.tuning.choices import Combination, combined
from tse_onnx.tuning.choosing import Candidate, Limited, Menus, least_loss, most, most_saved
from tse_onnx.tuning.effort import Limits
from tse_onnx.tuning.refining import Selection, refined
from tse_onnx.tuning.result import CandidateLoss, Point, Sensitivity, undominated

# Parts of the cycles that a point of the curve adds, for points that take fewer.
_CHEAPER = (0.0, 0.25, 0.5, 0.75)

Savings = Mapping[Candidate, int]
"""What each candidate saves, where savings are added up."""


class Selections:
    """Selections of candidates, the bytes and losses that they have, and the best of them.

    Candidates are chosen by sums of what they save alone. Where several blocks lie between two tensors that carry
    everything, one may save nothing before the others do: then by sums of what they save beside the smallest choices
    of all others, too. What is chosen is counted as a whole.
    """

    def __init__(self, bench: Bench, found: Sensitivity, trials: int, limits: Limits | None = None) -> None:
        self._bench, self._found, self._trials, self._limits = bench, found, trials, limits or Limits()
        said = (("added", self._limits.macs), ("cycles", self._limits.cycles))
        self._limited = tuple((name, most) for name, most in said if most is not None)
        self.axis = found.axis
        self.menus = [[_candidate(entry.block.name, one) for one in entry.candidates] for entry in found.blocks]
        self._sums: list[Savings] = [{one: one.saved for menu in self.menus for one in menu}]
        self._smallest = self._found_smallest()
        self.least = self.bytes(self._smallest)

    def _found_smallest(self) -> Selection:
        """What buffers least, as far as it is found where savings do not add up: from what saves most by the sums or at
        the scales, block after block."""
        scales = self._bench.figure(self.axis, GATE)
        held = {one: -scales.of(combined([(one.block, one.choice)])) for menu in self.menus for one in menu}
        starts = [self._top(by) for by in (*self._sums, held)]
        selection = min(starts, key=self.bytes)
        if all(self._sum(start) == self.bytes(start) for start in starts):
            return selection
        for number, menu in enumerate(self.menus):
            others = [_with(selection, number, one) for one in menu]
            selection = min([selection, *filter(self._within_limits, others)], key=self.bytes)
        least = self.bytes(selection)
        saved: dict[Candidate, int] = {}
        for number, menu in enumerate(self.menus):
            share = 0 if number else self._found.before - least
            saved |= {one: share + least - self.bytes(_with(selection, number, one)) for one in menu}
        self._sums.append(saved)
        return selection

    def bytes(self, selection: Selection) -> int:
        """What a selection buffers, counted as a whole."""
        return self._bench.figure(self.axis).of(_combination(selection))

    def loss(self, selection: Selection) -> float:
        """What a selection costs, measured as a whole."""
        combination = _combination(selection)
        self._bench.measure([combination], "measuring combinations")
        return mean(self._bench.losses(combination))

    def point(self, selection: Selection) -> Point:
        """A selection with its figures."""
        predicted = sum(candidate.loss for candidate in selection)
        combination = _combination(selection)
        network, cycles = self._bench.network, self._bench.cycles
        added = None if cycles is None else cycles.added(combination)
        macs = network.macs_added(combination)
        return Point(combination, self.bytes(selection), predicted, self.loss(selection), macs, added)

    def within(self, budget: int) -> Selection:
        """The selection with the smallest loss within a budget. Raises `CheckFailed` where there is none."""
        start = self._fitting(budget)
        if start is None:
            raise CheckFailed(self._too_little(budget))
        # What the sum is off by: it says at once of most neighbours that they are too large.
        off = self._sum(start) - self.bytes(start)

        def allowed(selection: Selection) -> bool:
            fits = self._sum(selection) - off <= budget and self._within_limits(selection)
            return fits and self.bytes(selection) <= budget

        found, _ = refined(start, self.menus, allowed, self.loss, self._trials)
        return self._thrifty(found, budget)

    def _sum(self, selection: Selection) -> int:
        """What a selection would buffer if savings added up."""
        return self._found.before - sum(self._sums[-1][one] for one in selection)

    def _within_limits(self, selection: Selection) -> bool:
        return all(sum(int(getattr(one, name)) for one in selection) <= most for name, most in self._limited)

    def _too_little(self, budget: int) -> str:
        """What is reached instead, and by which figure more would be."""
        before = self._found.before
        part = 1000 * (before - self.least) // max(before, 1) / 10  # rounded down: what is said to be reached is
        more = f", with no more than {self._limits} added" if self._limited else ""
        said = (
            f"no plan needs as little as {budget:,} bytes: the least is {self.least:,} of {before:,}, "
            f"{part:.1f} % less than before{more}"
        )
        if self._found.figure == GATE:
            return said
        return (
            f"{said}; that is of the whole network: {setting('figure', 'gate')} counts what its scales hold, "
            "the paper's figure"
        )

    def _thrifty(self, selection: Selection, budget: int) -> Selection:
        """What loses the same within a budget, and computes least twice."""
        menus = [
            [one for one in menu if _exact(one)] if _exact(own) else [own]
            for own, menu in zip(selection, self.menus, strict=True)
        ]
        found = self._fitting(budget, menus)
        return selection if found is None else min(found, selection, key=lambda made: sum(one.macs for one in made))

    def smallest(self, max_loss: float) -> Selection:
        """The selection with the smallest buffer whose measured loss is within a bound."""
        best = tuple(menu[0] for menu in self.menus)
        bound, low, high = max_loss, 0.0, math.inf
        for _ in range(max(self._trials, 1)):
            solve = partial(most_saved, loss=bound, limits=self._limited)
            selections = [found for by in self._sums if (found := _solved(solve, self.menus, by)) is not None]
            if not selections:
                break
            selection = min(selections, key=self.bytes)
            loss = self.loss(selection)
            if loss <= max_loss:
                low = bound
                if self.bytes(selection) < self.bytes(best):
                    best = selection
            else:
                high = bound
            # What adds up to more than is measured, or to less, moves the bound on the sum.
            bound = (low + high) / 2 if math.isfinite(high) else bound * 1.5
            if (
                bound <= 0
                or (math.isfinite(high) and high - low < 0.02 * high)
                or selection == best == self._top(self._sums[-1])
            ):
                break
        return best

    def _top(self, by: Savings) -> Selection:
        """What saves most by the sums."""
        top = tuple(max(menu, key=lambda one: (by[one], -one.loss, -one.macs)) for menu in self.menus)
        if self._within_limits(top):
            return top
        solve = partial(most_saved, loss=math.inf, limits=self._limited)
        return _solved(solve, self.menus, by) or tuple(menu[0] for menu in self.menus)

    def _fitting(self, budget: int, menus: Menus | None = None, limited: Limited | None = None) -> Selection | None:
        """The smallest sum of losses within a budget, and within other limits than the usual ones if there are some."""
        menus, own = self.menus if menus is None else menus, limited is None
        limited = self._limited if limited is None else limited
        found = [one for by in self._sums if (one := self._by_sums(budget, menus, by, limited)) is not None]
        if found:
            return min(found, key=lambda made: (sum(one.loss for one in made), sum(one.macs for one in made)))
        return self._smallest if own and menus is self.menus and self.least <= budget else None

    def _by_sums(self, budget: int, menus: Menus, by: Savings, limited: Limited) -> Selection | None:
        """The same by what candidates save. Where that does not add up, more is asked for until it does."""
        before, saving = self._found.before, self._found.before - budget
        for _ in range(12):
            selection = _solved(partial(least_loss, saved=max(saving, 0), limits=limited), menus, by)
            if selection is None:
                break
            excess = self.bytes(selection) - budget
            if excess <= 0:
                return selection
            saving = max(saving, before - budget) + excess
            if saving > most(_seen(menus, by)):
                break
        return None

    def curve(self, points: int) -> list[Point]:
        """Points of the Pareto curve: the smallest sums of losses for budgets between everything and the least; with an
        array also those that take fewer cycles for it, as far as nothing is as good in all three."""
        before = self._found.before
        budgets = [round(before - (before - self.least) * number / max(points - 1, 1)) for number in range(points)]
        selections = [found for budget in budgets if (found := self._fitting(budget)) is not None]
        if self._bench.cycles is not None:
            selections += [less for own in selections for less in self._cheaper(own)]
        self._bench.measure(dict.fromkeys(map(_combination, selections)), "measuring the curve")
        made = [self.point(selection) for selection in dict.fromkeys(selections)]
        return made if self._bench.cycles is None else undominated(made)

    def _cheaper(self, selection: Selection) -> Iterator[Selection]:
        """What loses least within the same bytes, with parts of the cycles that a selection adds."""
        budget, spent = self.bytes(selection), sum(one.cycles for one in selection)
        for part in _CHEAPER if spent > 0 else ():
            limited = [(name, most) for name, most in self._limited if name != "cycles"]
            found = self._fitting(budget, limited=(*limited, ("cycles", int(spent * part))))
            if found is not None:
                yield found

    def uniform(self, tiling: Tiling) -> Selection | None:
        """The same tiling for every block that it makes a difference to, None where it is not among the candidates."""
        selection = []
        for menu in self.menus:
            same = [candidate for candidate in menu if candidate.choice == tiling]
            if not same:
                offered = [one.choice.rows for one in menu if isinstance(one.choice, Tiling) and one.choice.rows]
                if offered and (tiling.rows or 0) <= max(offered):
                    return None
            selection.append(same[0] if same else menu[0])
        return tuple(selection) if any(candidate.choice is not None for candidate in selection) else None


def _seen(menus: Menus, by: Savings) -> Menus:
    """The menus, whose candidates save what is said of them."""
    return [[replace(one, saved=by[one]) for one in menu] for menu in menus]


def _solved(solve: Callable[[Menus], Selection | None], menus: Menus, by: Savings) -> Selection | None:
    """What is chosen from menus whose candidates save what is said of them."""
    found = solve(_seen(menus, by))
    own = {(one.block, one.choice): one for menu in menus for one in menu}
    return found and tuple(own[one.block, one.choice] for one in found)


def _with(selection: Selection, number: int, one: Candidate) -> Selection:
    return (*selection[:number], one, *selection[number + 1 :])


def _candidate(block: str, one: CandidateLoss) -> Candidate:
    return Candidate(block, one.choice, one.saved, one.loss, _twice(one), one.macs_added, one.cycles_added or 0)


def _twice(one: CandidateLoss) -> int:
    """The multiply-accumulates that are computed twice."""
    return one.macs_added if isinstance(one.choice, Recompute) else 0


def _exact(candidate: Candidate) -> bool:
    return candidate.choice is None or candidate.choice.exact


def _combination(selection: Selection) -> Combination:
    return combined((candidate.block, candidate.choice) for candidate in selection)
