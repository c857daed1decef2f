"""Tilings: which pixels a descriptor is the mean of, and which pixels its gate scales.

A `Tiling` is what a user asks for, whatever the size of the map; `cover` makes of it the geometry of one map.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.choice import MEASURED, UNSAID, Buffers, Choice, Fields, Form, Settled, Site
from tse_onnx.passes.blocks.whole_numbers import pooled_whole
from tse_onnx.passes.forms.squeeze import MEAN, NORM, SUM_SQUARE
from tse_onnx.passes.reasons import Refusal, quoted

if TYPE_CHECKING:
    from tse_onnx.passes.blocks.block import Block, Convertible, Tiled

TILE, RUNNING, UPPER, MIDDLE = "tile", "running", "upper", "middle"
CALIBRATED = "calibrated"
SQUEEZES = {
    TILE: "each tile is scaled by the gate of its own mean",
    RUNNING: "each group of rows is scaled by the gate of the mean of all rows seen so far",
    UPPER: "the whole map is scaled by the gate of its first rows' mean",
    MIDDLE: "the whole map is scaled by the gate of its middle rows' mean",
}

# What a spatial axis counts that is streamed, and what one across it does.
_WORDS = (("row", "column"), ("column", "row"), ("slice", "row"))

Region = tuple[slice, ...]

OLDEST_OPSET = 9
# The means of a running squeeze are a constant matrix, its rows the descriptors and its columns the rows of the map.
_MOST_MEANS = 2**24


@dataclass(frozen=True)
class Calibration:
    """What the mean of the rows seen so far says of the mean of all rows, as measured on data.

    For each descriptor of a running squeeze, in order: it becomes `slopes` times itself plus `offsets`, which has a
    number for each channel. The last descriptor is the global mean, and stays so: slope 1, offsets 0.
    """

    slopes: tuple[float, ...]
    offsets: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if len(self.slopes) != len(self.offsets) or len({len(row) for row in self.offsets}) != 1 or not self.offsets[0]:
            raise UsageError("a calibration has a slope for each descriptor, and an offset for each of its channels")
        if not all(math.isfinite(number) for row in (self.slopes, *self.offsets) for number in row):
            raise UsageError("a calibration holds a number that is not finite")

    @property
    def channels(self) -> int:
        """How many channels it is for."""
        return len(self.offsets[0])


@dataclass(frozen=True)
class Tiling(Choice):
    """How the squeeze of a block is cut.

    `rows` and `cols` are the tile's size along the streamed axis and the one across it; None takes all. `step` is how
    many rows a running squeeze goes on at a time, `balanced` makes strips as equal as they can be with as many tiles.
    `axis` is the spatial axis that is streamed: 0 is the first. A running squeeze may have a `calibration`, which is
    for one block at one size. With `divisors` a tile's size along an axis is the divisor of the map's that is nearest
    to what is asked for, the smaller of two: no tile is cut short, and none needs pads.
    """

    rows: int | None = field(default=7, metadata={UNSAID: None})
    cols: int | None = None
    squeeze: str = TILE
    step: int = 1
    balanced: bool = False
    axis: int = 0
    calibration: Calibration | None = field(default=None, repr=False, metadata={MEASURED: True})
    divisors: bool = False

    squeezes: ClassVar[Mapping[str, str]] = SQUEEZES
    examples: ClassVar[tuple[tuple[str, str], ...]] = (
        ("{ rows = 7 }", "strips of 7 rows"),
        ("{ cols = 7 }", "strips of 7 columns"),
        ("{ rows = 7, cols = 14 }", "tiles of both"),
        ("{ rows = 7, balanced = true }", "as many tiles, but of equal size"),
        ("{ rows = 7, divisors = true }", "of a size that divides the map's, the nearest one"),
        ('{ rows = 3, squeeze = "running", step = 1 }', "the mean of all rows seen so far"),
        ('{ rows = 3, squeeze = "running", calibrated = true }', "the same, with the numbers under [calibrations]"),
        ('{ rows = 7, squeeze = "upper" }', "the first rows' mean for the whole map, or the \"middle\" ones'"),
    )
    done: ClassVar[str] = "tiled"
    opens: ClassVar[str] = "takes the mean of each tile of each channel of"

    def __post_init__(self) -> None:
        if not isinstance(self.balanced, bool):
            raise UsageError(f"tiles are balanced or not, not {self.balanced!r}")
        if not isinstance(self.divisors, bool):
            raise UsageError(f"tiles are of divisors or not, not {self.divisors!r}")
        for number in (self.rows, self.cols, self.step, self.axis):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
                raise UsageError(f"a tiling is made of whole numbers, not of {number!r}")
        if self.calibration is not None and self.squeeze != RUNNING:
            raise UsageError("only a running squeeze takes a calibration")
        if self.squeeze not in SQUEEZES:
            raise UsageError(f"there is no squeeze {self.squeeze!r}; there are {', '.join(SQUEEZES)}")
        for what, size in (("row", self.rows), ("column", self.cols)):
            if size is not None and size < 1:
                raise UsageError(f"a tile needs at least one {what}, not {size}")
        if self.squeeze != TILE and (self.rows is None or self.cols is not None):
            raise UsageError(f"the {self.squeeze} squeeze takes a number of rows, and no columns")
        if self.rows is None and self.cols is None:
            raise UsageError("a tile needs a number of rows or of columns")
        if self.divisors and (self.squeeze != TILE or self.balanced):
            raise UsageError(f"divisors are for tiles, not for {'balanced ones' if self.balanced else self}")
        if not self.step >= 1 or (self.squeeze == RUNNING and self.rows is not None and self.step > self.rows):
            raise UsageError(f"a running squeeze goes on by 1 to {self.rows} rows at a time, not by {self.step}")
        if not 0 <= self.axis <= 2:
            raise UsageError(f"maps have up to three spatial axes, 0 to 2; {self.axis} is none of them")

    def __str__(self) -> str:
        along, across = _WORDS[self.axis]
        rows = f"all {along}s" if self.rows is None else f"{self.rows} {along}{'s' * (self.rows != 1)}"
        if self.squeeze == RUNNING:
            calibrated = "calibrated " if self.calibration else ""
            return f"a {calibrated}running squeeze of {rows}, step {self.step}"
        if self.squeeze in (UPPER, MIDDLE):
            return f"the {self.squeeze} {rows}"
        cols = "" if self.cols is None else f" and {self.cols} {across}{'s' * (self.cols != 1)}"
        return f"tiles of {rows}{cols}{' or the nearest divisor' if self.divisors else ''}"

    @property
    def kind(self) -> str:
        """The squeeze; `calibrated` for a running one that is."""
        return CALIBRATED if self.calibration is not None else self.squeeze

    @property
    def label(self) -> str:
        """7 is a tile of 7 rows, r3 a running squeeze of 3, c3 a calibrated one."""
        if self.squeeze != RUNNING:
            return str(self.rows)
        return f"{self.kind[0]}{self.rows}" + (f"/{self.step}" if self.step != 1 else "")

    @property
    def words(self) -> str:
        """A tile or a running squeeze of so many rows, or of columns where these stream."""
        rows = f"{self.rows} {('row', 'column', 'slice')[self.axis]}" + "s" * (self.rows != 1)
        if self.squeeze == TILE:
            return f"tile of {rows}"
        step = "" if self.step == 1 else f", step {self.step}"
        return f"{'calibrated ' if self.calibration else ''}running, {rows}{step}"

    @property
    def already(self) -> str:
        """What is said of a block that is tiled."""
        return f"tiled already, with {self}"

    @classmethod
    def of(cls, fields: Fields) -> Tiling:
        """The tiling with these fields; its calibration may come as fields, too."""
        numbers = fields.get("calibration")
        if not isinstance(numbers, Mapping):
            return super().of(fields)
        calibration = Calibration(tuple(numbers["slopes"]), tuple(map(tuple, numbers["offsets"])))
        return super().of({**fields, "calibration": calibration})

    def settle(self, block: Convertible, site: Site) -> Settled | Refusal:
        """The geometry on the block's map; without effect where one tile covers it."""
        if site.opset < OLDEST_OPSET:
            return Refusal(
                "opset",
                f"the model uses opset {site.opset}; tiles need opset {OLDEST_OPSET} or newer: export or convert it to "
                "that",
            )
        extents = tuple(extent for extent in block.extents if extent is not None)
        if len(extents) != len(block.extents) or not extents:
            if site.dynamic:
                return pooled_whole(block, site, "in strips of a map of unknown size") or self._open(block, site.opset)
            return site.scope.advised(Refusal("shape", f"the size of {quoted(block.input)} cannot be inferred"))
        if 0 in extents:
            return Refusal("shape", f"{quoted(block.input)} is an empty map")
        try:
            cover = self.cover(extents)
        except UsageError as error:
            if self.calibration is not None:
                text = f"the plan calibrates {quoted(block.name)} at another size: {error}; tune it anew"
                raise UsageError(text) from None
            return Refusal("rank", str(error))
        if isinstance(cover, Running):
            if refusal := pooled_whole(block, site, "over the rows seen so far"):
                return refusal
            if text := _too_much(self, cover, block):
                return Refusal("shape", text)
        if self.calibration is not None and self.calibration.channels != block.channels:
            raise UsageError(
                f"the plan calibrates {quoted(block.name)} for {self.calibration.channels} channels; its map has "
                f"{block.channels}"
            )
        statistic = block.anatomy.squeeze.statistic
        if self.calibration is not None and statistic != MEAN:
            raise UsageError(
                f"the plan calibrates {quoted(block.name)}, which takes a {statistic}: a mean alone can be"
            )
        if not cover.covers_map:
            return Settled(cover, self._other(cover))
        shown = " × ".join(map(str, extents))
        if self.squeeze == TILE:
            note = f"a tile of {' × '.join(map(str, cover.sizes))} covers its map of {shown}"
            if other := self._other(cover):
                note += f": {other}"
        else:
            note = f"{self} cover its map of {shown}"
        return Settled(cover, note, kept=True)

    def _open(self, block: Convertible, opset: int) -> Settled | Refusal:
        rank = len(block.anatomy.squeeze.spatial)
        if self.squeeze != TILE or self.rows is None or self.cols is not None or self.balanced or self.divisors:
            return Refusal("shape", f"a map of unknown size can be cut into strips of rows only, not into {self}")
        if opset < 10:
            text = f"the model uses opset {opset}; tiles of a map of unknown size need opset 10 or newer"
            return Refusal("opset", text)
        if self.axis >= rank:
            return Refusal("rank", f"a map with {rank} spatial axes has no axis {self.axis}")
        if (statistic := block.anatomy.squeeze.statistic) in (NORM, SUM_SQUARE):
            text = f"takes a {statistic}, and how many rows the last strip of a map of unknown size has is not known"
            return Refusal("shape", f"{quoted(block.name)} {text}")
        return Settled(OpenStrips(self.axis, rank, self.rows))

    def found(self, block: Tiled, site: Site) -> Form | None:
        """The geometry on the map of a block that is tiled already."""
        extents = tuple(extent for extent in block.extents if extent is not None)
        known = len(extents) == len(block.extents) and extents and 0 not in extents
        return self.cover(extents) if known and self.axis < len(extents) else None

    def cover(self, extents: Sequence[int]) -> Cover:
        """The geometry on a map with these spatial axes. Raises `UsageError` where the map has no such axes."""
        extents, axis = tuple(extents), self.axis
        if axis >= len(extents) or (self.cols is not None and len(extents) < 2):
            raise UsageError(f"a map with {len(extents)} spatial axes cannot take {self}")
        height = extents[axis]
        rows = height if self.rows is None else min(self.rows, height)
        if self.squeeze == RUNNING:
            made = Running(extents, axis, rows, min(self.step, rows), self.calibration)
            if self.calibration is not None and len(self.calibration.slopes) != made.count:
                raise UsageError(
                    f"{self} is for {len(self.calibration.slopes)} descriptors; on a map of {height} rows it has "
                    f"{made.count}"
                )
            return made
        if self.squeeze in (UPPER, MIDDLE):
            return Window(extents, axis, 0 if self.squeeze == UPPER else (height - rows) // 2, rows)
        across = next((other for other in range(len(extents)) if other != axis), axis)
        wanted = {axis: rows} | ({} if self.cols is None else {across: min(self.cols, extents[across])})
        sizes = tuple(wanted.get(number, extent) for number, extent in enumerate(extents))
        if self.divisors:
            sizes = tuple(nearest_divisor(extent, size) for extent, size in zip(extents, sizes, strict=True))
        if self.balanced:
            # As many tiles as before, each as large as they have to be.
            sizes = tuple(-(-extent // -(-extent // size)) for extent, size in zip(extents, sizes, strict=True))
        return Tile(extents, axis, sizes)

    def _other(self, cover: Cover) -> str:
        """What was taken in place of sizes that do not divide the map's, "" where all of them do."""
        if not self.divisors:
            return ""
        plain = replace(self, divisors=False).cover(cover.extents).sizes
        return ", ".join(
            f"{asked} does not divide {extent}, whose divisor nearest to it is {taken}"
            for asked, taken, extent in zip(plain, cover.sizes, cover.extents, strict=True)
            if asked != taken
        )


def nearest_divisor(extent: int, size: int) -> int:
    """The divisor of `extent` that is nearest to `size`, which is no larger; the smaller one of two."""
    return next(near for off in range(size) for near in (size - off, size + off) if extent % near == 0)


def _too_much(tiling: Tiling, cover: Running, block: Block) -> str:
    """Why a running squeeze is not made on a map that it fits, "" where it is."""
    from onnx import TensorProto  # not at the top: the command line reads this module at every start

    height = cover.extents[cover.axis]
    if block.dtype not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE):
        return f"the element type of {quoted(block.input)} is none that a running squeeze is made for"
    if (numbers := cover.count * height) > _MOST_MEANS:
        return f"{tiling} over {height:,} rows would take a matrix of {numbers:,} numbers"
    return ""


class Cut:
    """The geometry of a tiling on a map, for all that is the same however the map is cut."""

    def buffers(self, block: Convertible | Tiled) -> Buffers:
        """The paper's metric, and the excite once more for each further descriptor."""
        assert isinstance(self, (Tile, Window, Running))
        channels = block.gates or 0
        held = self.rows_held * math.prod(self.extents) // max(self.extents[self.axis], 1)
        added = (self.count - 1) * block.anatomy.macs
        return Buffers(self.sizes, self.count, channels * self.area, channels * held, added)


@dataclass(frozen=True)
class Tile(Cut):
    """Tiles of `sizes` over a map of `extents`: a pixel lies in the tile that its coordinates // sizes say.

    The last tile of an axis is cut short where the size does not divide it; its mean is that of its own pixels.
    """

    extents: tuple[int, ...]
    axis: int
    sizes: tuple[int, ...]

    @property
    def covers_map(self) -> bool:
        """Whether one tile is the whole map: the block then stays as it is."""
        return self.sizes == self.extents

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of descriptors along each axis."""
        return tuple(-(-extent // size) for extent, size in zip(self.extents, self.sizes, strict=True))

    @property
    def count(self) -> int:
        """Number of descriptors: ⌈H/h⌉ · ⌈W/w⌉."""
        return math.prod(self.grid)

    @property
    def area(self) -> int:
        """Pixels that the scale holds back, by the paper's metric."""
        return math.prod(self.sizes)

    @property
    def rows_held(self) -> int:
        """Rows that the scale holds back where a map is streamed row by row."""
        return self.sizes[self.axis]

    def pieces(self) -> Iterator[tuple[Region, Region]]:
        """For each descriptor, the region it is the mean of and the region that its gate scales."""
        spans = [
            [slice(start, min(start + size, extent)) for start in range(0, extent, size)]
            for extent, size in zip(self.extents, self.sizes, strict=True)
        ]
        for region in product(*spans):
            yield region, region


@dataclass(frozen=True)
class Window(Cut):
    """One strip of `rows` rows from `start` on, whose gate scales the whole map."""

    extents: tuple[int, ...]
    axis: int
    start: int
    rows: int

    @property
    def covers_map(self) -> bool:
        """Whether the strip is the whole map."""
        return self.rows == self.extents[self.axis]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The strip's size along each axis."""
        return _strip(self.extents, self.axis, self.rows)

    @property
    def grid(self) -> tuple[int, ...]:
        """One descriptor."""
        return (1,) * len(self.extents)

    @property
    def count(self) -> int:
        """One descriptor."""
        return 1

    @property
    def area(self) -> int:
        """The paper counts the whole map here."""
        return math.prod(self.extents)

    @property
    def rows_held(self) -> int:
        """Rows until the strip is complete."""
        return self.start + self.rows

    def pieces(self) -> Iterator[tuple[Region, Region]]:
        """The strip, and the map."""
        whole = tuple(slice(0, extent) for extent in self.extents)
        yield _rows(whole, self.axis, self.start, self.start + self.rows), whole


@dataclass(frozen=True)
class Running(Cut):
    """Groups of `step` rows, each scaled by the gate of the mean of all rows up to `rows` from the group's first on."""

    extents: tuple[int, ...]
    axis: int
    rows: int
    step: int
    calibration: Calibration | None = field(default=None, repr=False)

    @property
    def covers_map(self) -> bool:
        """Whether the first mean is that of the whole map."""
        return self.rows == self.extents[self.axis]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The size of what is held back along each axis."""
        return _strip(self.extents, self.axis, self.rows)

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of descriptors along each axis."""
        return _strip((1,) * len(self.extents), self.axis, self.count)

    @property
    def count(self) -> int:
        """Number of descriptors: ⌈(H − k) / s⌉ + 1. The last is the global mean, and serves all the rows left."""
        return -(-(self.extents[self.axis] - self.rows) // self.step) + 1

    @property
    def area(self) -> int:
        """Pixels that the scale holds back, as for a tile of as many rows."""
        return math.prod(self.sizes)

    @property
    def rows_held(self) -> int:
        """Rows that the scale holds back where a map is streamed row by row."""
        return self.rows

    @property
    def seen(self) -> tuple[int, ...]:
        """How many rows each descriptor is the mean of."""
        height = self.extents[self.axis]
        return tuple(min(group * self.step + self.rows, height) for group in range(self.count))

    def pieces(self) -> Iterator[tuple[Region, Region]]:
        """For each descriptor, the rows it is the mean of and the rows that its gate scales."""
        whole, height = tuple(slice(0, extent) for extent in self.extents), self.extents[self.axis]
        for group, seen in enumerate(self.seen):
            last = group == self.count - 1
            start, stop = group * self.step, height if last else (group + 1) * self.step
            yield _rows(whole, self.axis, 0, seen), _rows(whole, self.axis, start, stop)


@dataclass(frozen=True)
class OpenStrips:
    """Strips of `rows` rows over a map whose size is known only when the model runs; `rank` counts its spatial axes."""

    axis: int
    rank: int
    rows: int

    @property
    def grid(self) -> tuple[int | None, ...]:
        """Number of descriptors along each axis; None along the streamed one."""
        return tuple(None if number == self.axis else 1 for number in range(self.rank))


Cover = Tile | Window | Running


def _strip(extents: tuple[int, ...], axis: int, rows: int) -> tuple[int, ...]:
    return tuple(rows if number == axis else extent for number, extent in enumerate(extents))


def _rows(region: Region, axis: int, start: int, stop: int) -> Region:
    return tuple(slice(start, stop) if number == axis else span for number, span in enumerate(region))
