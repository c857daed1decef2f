"""Tiles: which pixels share a descriptor, and what that costs to buffer."""

from __future__ import annotations

from dataclasses import dataclass

from tse_onnx.errors import UsageError


@dataclass(frozen=True)
class Tile:
    """A tile of a map of `height` × `width` pixels: at most `rows` × `cols`, cut short at the lower and right edge.

    Pixel (r, c) lies in tile (r // rows, c // cols). Rows and columns are clamped to the map.
    """

    height: int
    width: int
    rows: int
    cols: int

    @classmethod
    def strip(cls, height: int, width: int, rows: int) -> Tile:
        """A strip of `rows` full rows."""
        if rows < 1:
            raise UsageError(f"a tile needs at least one row, not {rows}")
        return cls(height, width, min(rows, height), width)

    @property
    def covers_map(self) -> bool:
        """Whether one tile is the whole map: the block then stays as it is."""
        return self.rows >= self.height and self.cols >= self.width

    @property
    def grid(self) -> tuple[int, int]:
        """Number of tiles down and across."""
        return -(-self.height // self.rows), -(-self.width // self.cols)

    @property
    def count(self) -> int:
        """Number of tiles, and so of descriptors: ⌈H/h⌉ · ⌈W/w⌉."""
        down, across = self.grid
        return down * across

    @property
    def area(self) -> int:
        """Pixels in a full tile; times the channels it is the paper's buffer of the block."""
        return self.rows * self.cols
