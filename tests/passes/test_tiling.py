"""Tilings and the paper's metric, against counting pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.tiling import MIDDLE, RUNNING, UPPER, Tiling

SIZES = st.integers(1, 60)


@given(height=SIZES, width=SIZES, rows=st.integers(1, 80))
def test_a_strip_by_counting_pixels(height, width, rows):
    tile = Tiling(rows).cover((height, width))
    groups = [sum(1 for row in range(height) if row // rows == number) for number in range(-(-height // rows))]
    assert tile.count == len(groups)
    assert tile.grid == (len(groups), 1)
    assert tile.area == max(groups) * width == groups[0] * width
    assert tile.covers_map == (len(groups) == 1) == (rows >= height)
    assert tile.sizes == (min(rows, height), width)
    assert tile.rows_held == min(rows, height)


@given(height=SIZES, width=SIZES, rows=SIZES, cols=SIZES)
def test_any_tile_by_counting_pixels(height, width, rows, cols):
    tile = Tiling(rows, cols).cover((height, width))
    h, w = tile.sizes
    tiles = {(row // h, col // w) for row in range(height) for col in range(width)}
    assert tile.count == len(tiles)
    assert tile.covers_map == (len(tiles) == 1)


@given(height=SIZES, rows=SIZES)
def test_balanced_strips_are_equal_to_a_row_and_no_more_of_them(height, rows):
    plain, balanced = Tiling(rows).cover((height, 3)), Tiling(rows, balanced=True).cover((height, 3))
    assert balanced.count <= plain.count
    assert balanced.sizes[0] <= plain.sizes[0]
    assert balanced.sizes[0] == -(-height // plain.count)


def test_fifteen_rows_in_strips_of_seven_are_three_of_five():
    assert [source[0] for source, _ in Tiling(7, balanced=True).cover((15, 4)).pieces()] == [
        slice(0, 5), slice(5, 10), slice(10, 15),
    ]  # fmt: skip


@given(height=SIZES, width=SIZES, rows=SIZES, cols=SIZES)
def test_divisors_are_the_nearest_ones(height, width, rows, cols):
    for extent, size, made in zip(
        (height, width), (rows, cols), Tiling(rows, cols, divisors=True).cover((height, width)).sizes, strict=True
    ):
        divisors = [number for number in range(1, extent + 1) if not extent % number]
        nearest = min(abs(number - min(size, extent)) for number in divisors)
        assert made == min(number for number in divisors if abs(number - min(size, extent)) == nearest)
    assert Tiling(rows, divisors=True).cover((height, width)).sizes[1] == width


def test_a_prime_number_of_rows_has_two_divisors():
    made = {rows: Tiling(rows, divisors=True).cover((17, 17)).sizes[0] for rows in (1, 7, 8, 9, 10, 17, 99)}
    assert made == {1: 1, 7: 1, 8: 1, 9: 1, 10: 17, 17: 17, 99: 17}
    assert Tiling(10, divisors=True).cover((17, 17)).covers_map


def test_divisors_are_for_tiles():
    for fields, said in (
        ({"squeeze": RUNNING}, "a running squeeze"), ({"squeeze": UPPER}, "the upper"), ({"balanced": True}, "balanced ones"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=f"divisors are for tiles, not for {said}"):
            Tiling(7, divisors=True, **fields)
    with pytest.raises(UsageError, match="of divisors or not, not 1"):
        Tiling(7, divisors=1)


@given(height=SIZES, rows=SIZES, step=SIZES)
def test_a_running_squeeze_by_its_definition(height, rows, step):
    rows, step = min(rows, height), min(step, rows, height)
    cover = Tiling(rows, squeeze=RUNNING, step=step).cover((height, 2))
    seen = {}
    for row in range(height):  # the definition, row by row: group j looks ahead to row j·s + k
        seen[row] = min(row // step * step + rows, height)
    found = {}
    for source, target in cover.pieces():
        for row in range(target[0].start, target[0].stop):
            assert row not in found
            found[row] = source[0].stop
            assert source[0].start == 0
    assert found == seen
    assert cover.count == len(set(seen.values())) == -(-(height - rows) // step) + 1
    assert cover.area == rows * 2


@given(height=SIZES, rows=SIZES)
def test_upper_and_middle_strips(height, rows):
    rows = min(rows, height)
    (upper,), (middle,) = (tuple(Tiling(rows, squeeze=how).cover((height, 2)).pieces()) for how in (UPPER, MIDDLE))
    assert upper[0][0] == slice(0, rows)
    assert middle[0][0] == slice((height - rows) // 2, (height - rows) // 2 + rows)
    assert upper[1][0] == middle[1][0] == slice(0, height)


@pytest.mark.parametrize("rows", [7, 4])
def test_pieces_cover_every_pixel_once(rows):
    for tiling in (
        Tiling(rows),
        Tiling(None, 3),
        Tiling(rows, 3),
        Tiling(rows, squeeze=RUNNING, step=2),
        Tiling(rows, axis=1),
    ):
        counts = np.zeros((15, 10), int)
        for _, target in tiling.cover((15, 10)).pieces():
            counts[target] += 1
        assert (counts == 1).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rows": 0}, "0"),
        ({"rows": -7}, "-7"),
        ({"rows": None}, "rows or of columns"),
        ({"rows": 3, "squeeze": RUNNING, "step": 4}, "by 4"),
        ({"rows": 3, "step": 0}, "by 0"),
        ({"rows": 3, "cols": 2, "squeeze": UPPER}, "no columns"),
        ({"rows": 3, "squeeze": "round"}, "round"),
        ({"rows": 3, "axis": 3}, "3 is none"),
    ],
)
def test_what_makes_no_sense_is_refused(options, text):
    with pytest.raises(UsageError, match=text):
        Tiling(**options)
