"""Tiles and the paper's metric, against counting pixels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tse_onnx.errors import UsageError
from tse_onnx.passes.tile import Tile

SIZES = st.integers(1, 60)


@given(height=SIZES, width=SIZES, rows=st.integers(1, 80))
def test_a_strip_by_counting_pixels(height, width, rows):
    tile = Tile.strip((height, width), rows)
    groups = [sum(1 for row in range(height) if row // rows == number) for number in range(-(-height // rows))]
    assert tile.count == len(groups)
    assert tile.grid == (len(groups), 1)
    assert tile.area == max(groups) * width == groups[0] * width
    assert tile.covers_map == (len(groups) == 1) == (rows >= height)
    assert tile.sizes == (min(rows, height), width)


@given(height=SIZES, width=SIZES, rows=SIZES, cols=SIZES)
def test_any_tile_by_counting_pixels(height, width, rows, cols):
    tile = Tile((height, width), (min(rows, height), min(cols, width)))
    tiles = {(row // tile.sizes[0], col // tile.sizes[1]) for row in range(height) for col in range(width)}
    assert tile.count == len(tiles)
    assert tile.covers_map == (len(tiles) == 1)


@pytest.mark.parametrize("rows", [0, -1, -7])
def test_a_tile_has_rows(rows):
    with pytest.raises(UsageError, match=str(rows)):
        Tile.strip((16, 16), rows)
