"""A way to write a part of a tiled block in ONNX, as data: what it needs, what it is made of, and who writes it.

Every form of a part makes the same numbers of the same block wherever what it needs is there; compilers know different
ones, and runtimes differ in how fast they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.tiling import OLDEST_OPSET, Cover, OpenStrips, Running, Tile, Window

Writer = TypeVar("Writer", bound=Callable[..., object])

_LARGEST_OF_A_CHAIN = 8


@dataclass(frozen=True)
class Case:
    """What a part is written for: how the map is cut, and what of the block decides which operators there are.

    `first`: the channels come first in both maps, that which is pooled and that which is scaled. `double`: these are
    in double precision. `batch`: the number of images is known. `quantised`: gates come of quantisers. `each_row`:
    the means were written for each row of the map, and not for each tile.
    """

    cover: Cover | OpenStrips
    opset: int
    first: bool = True
    double: bool = False
    batch: bool = True
    quantised: bool = False
    each_row: bool = False

    @property
    def cut(self) -> tuple[int, ...]:
        """The spatial axes with more than one descriptor."""
        return tuple(axis for axis, many in enumerate(self.cover.grid) if many != 1)

    @property
    def divides(self) -> bool:
        """Whether the map is cut into tiles of one size."""
        cover = self.cover
        return isinstance(cover, Tile) and not any(
            extent % size for extent, size in zip(cover.extents, cover.sizes, strict=True)
        )


@dataclass(frozen=True)
class Needs:
    """What has to be so for a way to be exact, and to run in onnxruntime; or for it to be a good one.

    * `covers`: the ways to cut a map that it is for.
    * `opset`, `until`: the first opset that it is for, and the last.
    * `divides`: all tiles are of one size; `uneven`: they are not, or there are none.
    * `one_axis`: the map is cut along one axis; `rows`: along the first one of at most two.
    * `first`: the channels come first.
    * `small`: the sizes of a tile are products of numbers up to 8.
    * `per_tile`, `per_row`: there is a gate for each tile, or for each row; `even`: each gate serves as many rows.
    * `batch`: the number of images is known.
    * `plain`: nothing is quantised.
    * `most_rows`, `most_numbers`: how long the axis that is cut may be, and how many numbers a constant matrix with an
      entry for each tile and each row may have.
    * Unless `double`, the map is not in double precision.
    """

    covers: tuple[type, ...] = (Tile, Running, Window, OpenStrips)
    opset: int = OLDEST_OPSET
    until: int = 0
    divides: bool = False
    uneven: bool = False
    one_axis: bool = False
    rows: bool = False
    first: bool = False
    small: bool = False
    per_tile: bool = False
    per_row: bool = False
    even: bool = False
    batch: bool = False
    plain: bool = False
    most_rows: int = 0
    most_numbers: int = 0
    double: bool = False

    def __str__(self) -> str:
        words = [f"opset {self.opset}"] if self.opset > OLDEST_OPSET else []
        words += [f"up to opset {self.until}"] if self.until else []
        for wanted, text in (
            (self.divides, "tiles of one size"),
            (self.uneven, "tiles that are not of one size"),
            (self.one_axis, "one axis that is cut"),
            (self.rows, "strips of rows"),
            (self.first, "channels first"),
            (self.small, "sizes that are products of numbers up to 8"),
            (self.per_tile, "a gate for each tile"),
            (self.per_row, "a gate for each row"),
            (self.even, "gates that serve as many rows each"),
            (self.batch, "a batch of known size"),
            (self.plain, "no quantisers"),
            (self.most_rows, f"up to {self.most_rows} rows"),
            (self.most_numbers, f"a matrix of up to {self.most_numbers:,} numbers"),
            (not self.double, "no double precision"),
        ):
            words += [text] if wanted else []
        return ", ".join(words) or "nothing"

    def unmet(self, case: Case) -> str:
        """What is missing in a case, as a sentence without its end; "" where nothing is."""
        return next((text for wanted, text in self._missing(case) if wanted), "")

    def _missing(self, case: Case) -> Iterator[tuple[bool, str]]:
        cover, cut = case.cover, case.cut
        yield not isinstance(cover, self.covers), "it is for another squeeze"
        yield case.opset < self.opset, f"it needs opset {self.opset}"
        yield bool(self.until) and case.opset > self.until, f"it is for opsets up to {self.until}"
        yield case.double and not self.double, "its operators have no double precision"
        yield self.first and not case.first, "it needs a map with its channels first"
        yield self.batch and not case.batch, "it needs a batch of known size"
        yield self.plain and case.quantised, "it is for a block without quantisers"
        yield self.per_tile and case.each_row, "it needs a gate for each tile"
        yield self.per_row and not case.each_row, "it needs a gate for each row"
        yield self.even and not (case.each_row or case.divides), "it needs gates that serve as many rows each"
        yield self.one_axis and len(cut) > 1, "it needs a map that is cut along one axis"
        yield self.rows and (cut not in ((), (0,)) or len(cover.grid) > 2), "it needs strips of rows"
        if isinstance(cover, OpenStrips):
            yield self.divides or self.small, "it needs a map of known size"
            return
        small = all(map(factors, cover.sizes))
        yield (
            self.small and not small,
            f"it needs sizes that are products of numbers up to {_LARGEST_OF_A_CHAIN}",
        )
        yield self.divides and isinstance(cover, Tile) and not case.divides, "it needs tiles of one size"
        yield self.uneven and case.divides, "it is for tiles that are not of one size"
        rows = max((cover.extents[axis] for axis in cut), default=1)
        yield bool(self.most_rows) and rows > self.most_rows, f"it is for up to {self.most_rows} rows"
        numbers = max((cover.extents[axis] * (cover.grid[axis] or 1) for axis in cut), default=1)
        limited = bool(self.most_numbers) and isinstance(cover, Tile) and not case.double
        yield limited and numbers > self.most_numbers, f"its matrix has more than {self.most_numbers} numbers"


@dataclass(frozen=True)
class Way(Generic[Writer]):
    """One way to write a part.

    `operators` are all that it may be made of, `window` the kernel and stride of its pools, with k for the rows of a
    tile and W for the width of the map. It can be written where what it `needs` is there, is taken before others where
    what makes it `good` is, and before these where what makes it the `best` is. With `each_row` it makes means for each
    row.
    """

    name: str
    text: str
    operators: tuple[str, ...]
    write: Writer
    needs: Needs = Needs()
    good: Needs = Needs(double=True)
    window: str = ""
    each_row: bool = False
    best: Needs | None = None

    def fits(self, case: Case) -> bool:
        """Whether it can be written."""
        return not self.needs.unmet(case)

    def rank(self, case: Case) -> int:
        """0 for the best, 1 for a good one, 2 for any other."""
        if self.best is not None and not self.best.unmet(case):
            return 0
        return 2 if self.good.unmet(case) else 1


def fitting(ways: Iterable[Way[Writer]], case: Case, forced: str = "") -> tuple[Way[Writer], ...]:
    """The ways that there are in a case: the best, the good ones, then the others, each in their order; the `forced`
    one alone, where it is among them."""
    found = [way for way in ways if way.fits(case)]
    if any(way.name == forced for way in found):
        found = [way for way in found if way.name == forced]
    return tuple(sorted(found, key=lambda way: way.rank(case)))


def need_name(ways: Sequence[Way[Writer]], name: str, what: str) -> None:
    """Raise `UsageError` for a name, other than "", that none of the ways has; `what` they do is said in it."""
    names = [way.name for way in ways]
    if name and name not in names:
        raise UsageError(f"{what} by {', '.join(names)}, not by {name}")


def factors(size: int) -> tuple[int, ...]:
    """Numbers from 2 to 8 whose product is `size`, as few as a greedy search finds; (1,) for 1, () where there are
    none."""
    found = []
    while size > 1:
        largest = next((n for n in range(_LARGEST_OF_A_CHAIN, 1, -1) if size % n == 0), 0)
        if not largest:
            return ()
        found.append(largest)
        size //= largest
    return tuple(found) or (1,)
