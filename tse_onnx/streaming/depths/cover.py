"""The cheapest choice of things that are worth enough together: a knapsack, exactly."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

Choice = tuple[int, int, int]
"""What some things cost and are worth together, no more than what is wanted; and which they are, as bits."""


def cheapest_cover(worth: Sequence[int], cost: Sequence[int], wanted: int) -> tuple[int, ...] | None:
    """The numbers of the things, of `worth` and `cost` above 0 each, that cost least and are worth `wanted` together;
    None where all of them are not.

    Thing by thing, the best in proportion first, those choices go on of which no other is worth as much for as little,
    and that might still come out cheaper than the best that is known.
    """
    order = sorted(range(len(worth)), key=lambda thing: (cost[thing] / worth[thing], thing))
    worths = [0, *accumulate(worth[thing] for thing in order)]
    costs = [0, *accumulate(cost[thing] for thing in order)]
    if worths[-1] < wanted:
        return None
    step = math.gcd(*cost)  # a choice is cheaper by so much, or not at all
    best = costs[-1], (1 << len(order)) - 1
    going: list[Choice] = [(0, 0, 0)]
    for number in range(len(order) + 1):
        kept: list[Choice] = []
        for price, value, things in going:
            # The best things from here on, the last of them whole or cut where it would do.
            end = bisect_left(worths, wanted - value + worths[number], number)
            if end < len(worths):
                spent = price + costs[end] - costs[number]
                if spent < best[0]:
                    best = spent, things | (1 << end) - (1 << number)
                over = value + worths[end] - worths[number] - wanted
                saved = over * (costs[end] - costs[end - 1]) / (worths[end] - worths[end - 1]) if end > number else 0
                if spent - saved <= best[0] - step + 1e-6:
                    kept.append((price, value, things))
        if number == len(order):
            break
        more = worths[number + 1] - worths[number], costs[number + 1] - costs[number]
        going, most = [], -1
        for choice in sorted(
            [*kept, *((price + more[1], min(wanted, value + more[0]), things | 1 << number)
                      for price, value, things in kept)],
            key=lambda each: (each[0], -each[1]),
        ):  # fmt: skip
            if choice[1] > most:
                going.append(choice)
                most = choice[1]
    return tuple(sorted(thing for number, thing in enumerate(order) if best[1] >> number & 1))
