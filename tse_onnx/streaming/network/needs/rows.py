"""Need rows: which rows of one input each row of an output needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate


@dataclass(frozen=True, eq=False)
class Need:
    """`rows[i]` are the rows, of the `size` that the input has, that row `i` of the output needs; maybe none."""

    size: int
    rows: tuple[Sequence[int], ...]

    @cached_property
    def ready(self) -> tuple[int, ...]:
        """For each output row, the last input row that must have come; −1 where none must. Never falls, because rows
        come and are made in order."""
        return tuple(accumulate((max(rows) if rows else -1 for rows in self.rows), max))

    @cached_property
    def last_use(self) -> tuple[int, ...]:
        """For each input row the last output row that needs it; −1 where none does."""
        found, left = [-1] * self.size, self.size
        for made in range(len(self.rows) - 1, -1, -1):
            for row in self.rows[made]:
                if found[row] < 0:
                    found[row] = made
                    left -= 1
            if not left:
                break
        return tuple(found)

    @cached_property
    def frees(self) -> tuple[tuple[int, ...], ...]:
        """For each output row, the input rows that are not needed after it."""
        lists: list[list[int]] = [[] for _ in self.ready]
        for row, made in enumerate(self.last_use):
            if made >= 0:
                lists[made].append(row)
        return tuple(map(tuple, lists))

    @cached_property
    def window(self) -> int:
        """The most rows that must be there at once, for the needs of this reader alone."""
        most = held = came = 0
        for made, ready in enumerate(self.ready):
            while came <= ready:
                held += self.last_use[came] >= made
                came += 1
            most = max(most, held)
            held -= len(self.frees[made])
        return most

    @cached_property
    def disjoint(self) -> bool:
        """Whether no row serves two output rows, and rows are needed in order."""
        edge = -1
        for rows in self.rows:
            if rows:
                if min(rows) <= edge:
                    return False
                edge = max(rows)
        return True


@lru_cache(maxsize=4096)
def same(count: int) -> Need:
    """Row i needs row i."""
    return Need(count, tuple(range(row, row + 1) for row in range(count)))


@lru_cache(maxsize=4096)
def everything(size: int, count: int) -> Need:
    """Every row needs all rows: a barrier."""
    return Need(size, (range(size),) * count)


@lru_cache(maxsize=4096)
def window(size: int, count: int, kernel: int, stride: int, dilation: int, pad: int) -> Need:
    """Row i needs the rows i · stride − pad + dilation · m for m below `kernel`, those that exist."""

    def rows(made: int) -> range:
        first = made * stride - pad
        skipped = max(0, -(first // dilation))
        return range(first + skipped * dilation, min(size, first + dilation * (kernel - 1) + 1), dilation)

    return Need(size, tuple(map(rows, range(count))))


@lru_cache(maxsize=4096)
def spread(size: int, count: int, kernel: int, stride: int, dilation: int, pad: int) -> Need:
    """A transposed window: row i needs the rows (i + pad − dilation · m) / stride that are whole and exist."""

    def rows(made: int) -> tuple[int, ...]:
        offsets = (made + pad - dilation * tap for tap in range(kernel))
        return tuple(sorted({off // stride for off in offsets if off % stride == 0 and 0 <= off // stride < size}))

    return Need(size, tuple(map(rows, range(count))))


def listed(size: int, rows: Iterable[Iterable[int]]) -> Need:
    """The rows as they are given."""
    return Need(size, tuple(tuple(sorted(set(each))) for each in rows))


def single(size: int, rows: Iterable[int | None]) -> Need:
    """One row each, or none."""
    return Need(size, tuple(() if row is None else range(row, row + 1) for row in rows))


def through(need: Need, size: int, token: Callable[[int], int]) -> Need:
    """The need in another count of the same input's rows: row r lies in `token(r)`, of `size`."""
    return listed(size, ((token(row) for row in rows) for rows in need.rows))
