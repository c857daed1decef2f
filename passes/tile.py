"""Tiles: which pixels share a descriptor, and what that costs to buffer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tse_onnx.errors import UsageError


@dataclass(frozen=True)
class Tile:
    """A tile of a map: `extents` are the map's spatial axes (height, width), `sizes` the tile's, clamped to them.

    Pixel (r, c) lies in tile (r // h, c // w); the last tile of an axis is cut short where the size does not divide it.
    """

    extents: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def strip(cls, extents: Sequence[int], rows: int, axis: int = 0) -> Tile:
        """A strip of `rows` rows: that many along the streamed `axis`, everything along the others."""
        if rows < 1:
            raise UsageError(f"a tile needs at least one row, not {rows}")
        extents = tuple(extents)
        sizes = tuple(min(rows, size) if number == axis else size for number, size in enumerate(extents))
        return cls(extents, sizes)

    @property
    def covers_map(self) -> bool:
        """Whether one tile is the whole map: the block then stays as it is."""
        return self.sizes == self.extents

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of tiles along each axis."""
        return tuple(-(-extent // size) for extent, size in zip(self.extents, self.sizes, strict=True))

    @property
    def count(self) -> int:
        """Number of tiles, and so of descriptors: ⌈H/h⌉ · ⌈W/w⌉."""
        return math.prod(self.grid)

    @property
    def area(self) -> int:
        """Pixels in a full tile; times the channels it is the paper's buffer of the block."""
        return math.prod(self.sizes)
