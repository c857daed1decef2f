"""The options that say how a squeeze is cut, and the `Tiling` that they make."""

from __future__ import annotations

import functools
from typing import Any

import click

from tse_onnx.cli.options import Command
from tse_onnx.passes.tiling import MIDDLE, RUNNING, SQUEEZES, TILE, UPPER, Tiling

_DEFAULT_ROWS = 7

_OPTIONS = (
    click.option(
        "--rows", type=click.IntRange(min=1), metavar="K",
        help=f"Rows in a tile: strips of K full rows.  [default: {_DEFAULT_ROWS}]",
    ),
    click.option(
        "--cols", type=click.IntRange(min=1), metavar="K",
        help="Columns in a tile: strips of K full columns, or with --rows tiles of both.",
    ),
    click.option("--patch", type=click.IntRange(min=1), metavar="K", help="Tiles of K × K."),
    click.option("--tile", metavar="HxW", help="Tiles of H rows and W columns, as 7x14."),
    click.option(
        "--squeeze", type=click.Choice([TILE, RUNNING, UPPER, MIDDLE]), default=TILE, show_default=True,
        help="What a gate is computed from: its tile; all rows seen so far (running: the same buffer, less loss); the "
        "first or the middle K rows for the whole map.",
    ),
    click.option(
        "--step", type=click.IntRange(min=1), default=1, show_default=True, metavar="S",
        help="With --squeeze running: rows that share a gate.",
    ),
    click.option("--balanced", is_flag=True, help="As many tiles, but of equal size: 15 rows by 7 are 5, 5, 5."),
    click.option(
        "--axis", type=click.IntRange(0, 2), default=0, show_default=True, metavar="N",
        help="The spatial axis that is streamed, and cut by --rows: 0 is the first.",
    ),
)  # fmt: skip


def tiling_options(command: Command) -> Command:
    """Give a command the options of a tiling; it receives a `Tiling` as `tiling`."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        own = {
            name: values.pop(name) for name in ("rows", "cols", "patch", "tile", "squeeze", "step", "balanced", "axis")
        }
        return command(tiling=_tiling(**own), **values)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _tiling(
    rows: int | None,
    cols: int | None,
    patch: int | None,
    tile: str | None,
    squeeze: str,
    step: int,
    balanced: bool,
    axis: int,
) -> Tiling:
    given = [name for name, value in (("--patch", patch), ("--tile", tile)) if value is not None]
    if given and (rows or cols or len(given) > 1):
        raise click.UsageError(f"{given[0]} already says the rows and columns of a tile")
    if patch is not None:
        rows = cols = patch
    elif tile is not None:
        rows, cols = _sizes(tile)
    elif rows is None and cols is None:
        rows = _DEFAULT_ROWS
    if squeeze != RUNNING and step != 1:
        raise click.UsageError("--step goes with --squeeze running")
    assert squeeze in SQUEEZES
    return Tiling(rows, cols, squeeze, step, balanced, axis)


def _sizes(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise click.BadParameter(f"{text!r} is not HxW, as 7x14", param_hint="--tile")
    return int(height), int(width)
