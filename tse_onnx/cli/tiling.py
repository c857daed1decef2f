"""The options that say how squeezes are cut and which ones, and the plan and selection that they make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tse_onnx.cli.configuration import leave_out
from tse_onnx.cli.groups import given, group, names_of

if TYPE_CHECKING:
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection
    from tse_onnx.passes.blocks.choice import Choice

_DEFAULT_ROWS = 7


class _Squeeze(click.Choice):  # type: ignore[type-arg]  # which only newer releases of click take
    """The names of squeezes, from their classes: these are imported when a squeeze is read or shown, and not for the
    help of other commands."""

    case_sensitive = True

    def __init__(self) -> None:
        """Nothing is looked up yet."""

    @cached_property
    def choices(self) -> Sequence[str]:  # type: ignore[override]  # click's own is set once, and then read
        """The names that stand for themselves."""
        from tse_onnx.passes.blocks.choices import TO_ASK_FOR

        return TO_ASK_FOR


_OPTIONS = (
    click.option(
        "--rows", multiple=True, metavar="K|H:K|NAME=K",
        help="Rows in a tile: strips of K full rows. 56:3 gives maps of height 56 3 rows, NAME=3 the block of that "
        f"name (or those that match a pattern with *). May be repeated.  [default: {_DEFAULT_ROWS}]",
    ),
    click.option(
        "--cols", type=click.IntRange(min=1), metavar="K",
        help="Columns in a tile: strips of K full columns, or with --rows tiles of both.",
    ),
    click.option("--patch", type=click.IntRange(min=1), metavar="K", help="Tiles of K × K."),
    click.option("--tile", metavar="HxW", help="Tiles of H rows and W columns, as 7x14."),
    click.option(
        "--squeeze", type=_Squeeze(),
        help="What a gate is computed from: its tile; all rows seen so far (running: the same buffer, less loss); the "
        "first or the middle K rows for the whole map; the map made a second time, from a narrower one that is held "
        "(recompute: nothing is lost); the gates of the frame before (previous, for video).  [default: tile]",
    ),
    click.option(
        "--step", type=click.IntRange(min=1), default=1, show_default=True, metavar="S",
        help="With --squeeze running: rows that share a gate.",
    ),
    click.option("--balanced", is_flag=True, help="As many tiles, but of equal size: 15 rows by 7 are 5, 5, 5."),
    click.option(
        "--divisors", is_flag=True,
        help="Tiles of a size that divides the map's, the one nearest to what is asked for (of two the smaller): none "
        "is cut short, none needs pads. 15 rows by 7 are 5, 5, 5; 17 rows have the divisors 1 and 17 alone.",
    ),
    click.option(
        "--axis", type=click.IntRange(0, 2), metavar="N",
        help="The spatial axis that is streamed, and cut by --rows: 0 is the first. Beside --plan it turns tilings for "
        "which the plan says none.  [default: that of the plan, or 0]",
    ),
    click.option(
        "--cascade", is_flag=True,
        help="With --squeeze recompute: the means of rows first and the map as the first operand of its scale, for "
        "compilers that run layers in cascades, row by row.",
    ),
    click.option(
        "--plan", "plan_path", type=click.Path(path_type=Path), metavar="FILE",
        help="A plan as tse-onnx plan writes it: the tiling of each block.",
    ),
    click.option(
        "--include", multiple=True, metavar="PATTERN",
        help="Tile only blocks whose name matches, as '*stage1*'. May be repeated.",
    ),
    click.option(
        "--exclude", multiple=True, metavar="PATTERN", help="Leave blocks alone whose name matches. May be repeated."
    ),
    click.option(
        "--min-height", type=click.IntRange(min=1), metavar="H",
        help="Leave blocks alone whose map is less than H high (along the axis that is streamed).",
    ),
    click.option(
        "--max-macs", type=click.FloatRange(min=0), metavar="PCT",
        help="Recompute only as many blocks as take PCT per cent of the network's multiply-accumulates: those that "
        "save most.",
    ),
    click.option(
        "--first", type=click.IntRange(min=0), metavar="N",
        help="Tile only the first N of the blocks that are left, in data-flow order.",
    ),
)  # fmt: skip
OPTION_NAMES = names_of(_OPTIONS)
_SHAPE: Mapping[str, Any] = {
    "rows": (), "cols": None, "patch": None, "tile": None, "squeeze": None, "step": 1, "balanced": False,
    "divisors": False, "cascade": False,
}  # fmt: skip
"""The options of a tiling that go together or exclude each other, with what they are where nobody says anything."""


def _chosen(
    rows: tuple[str, ...],
    plan_path: Path | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    first: int | None,
    min_height: int | None,
    max_macs: float | None,
    **tiling: Any,
) -> Mapping[str, Plan | Selection]:
    from dataclasses import replace

    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection
    from tse_onnx.passes.blocks.tiling import Tiling

    ctx = click.get_current_context()
    if given(ctx, [*_SHAPE, "plan_path"]):  # then a configuration's tiles are none
        configured = [name for name in _SHAPE if ctx.get_parameter_source(name) == ParameterSource.DEFAULT_MAP]
        rows = () if "rows" in configured else rows
        plan_path = None if ctx.get_parameter_source("plan_path") == ParameterSource.DEFAULT_MAP else plan_path
        tiling |= {name: _SHAPE[name] for name in configured if name != "rows"}
        leave_out(ctx, [*configured, "plan_path"])
    plain, stages, named = None, [], []
    for value in rows:
        where, count = _rows(value)
        if isinstance(where, int):
            stages.append((where, count))
        elif where:
            named.append((where, count))
        elif plain is not None:
            raise click.BadParameter(f"{plain} and {count} are given for the same blocks", param_hint="--rows")
        else:
            plain = count
    axis = tiling.pop("axis")
    if plan_path is None:
        plan = Plan(_choice(plain, axis=axis or 0, **tiling))
    elif _choice(plain, axis=0, **tiling) != Tiling(_DEFAULT_ROWS) or plain is not None:
        raise click.UsageError("--plan says the tiling; beside it --rows takes NAME=K and H:K only")
    else:
        plan = Plan.load(plan_path)
        plan = plan if axis is None else plan.along(axis)
    if max_macs is not None:
        plan = replace(plan, max_macs=max_macs)
        if not click.get_current_context().params.get("exact"):  # which recomputes by itself
            _need_recomputed(plan)
    return {"plan": plan, "selection": Selection(tuple(named), tuple(stages), include, exclude, first, min_height)}


def _need_recomputed(plan: Plan) -> None:
    from tse_onnx.passes.blocks.recompute import Recompute

    if not any(isinstance(choice, Recompute) for choice in (plan.default, *plan.choices.values())):
        raise click.UsageError(
            "--max-macs bounds what recomputed blocks take, and no block is to be recomputed: add --squeeze recompute"
        )


tiling_options = group(_OPTIONS, _chosen)
"""Give a command the options of a tiling; it receives a `Plan` as `plan` and a `Selection` as `selection`."""


def _rows(value: str) -> tuple[str | int, int]:
    """What `--rows` is for (a height, a name, or "" for all), and the rows."""
    matched = re.fullmatch(r"(?s:(?:([0-9]{1,18}):|(.+)=)?)([0-9]{1,99})", value)
    if matched is None or int(matched[3]) < 1:
        raise click.BadParameter(
            f"{value!r} is not K, H:K or NAME=K with K of 1 or more, as 7, 56:3 or '*stage1*=5'", param_hint="--rows"
        )
    return int(matched[1]) if matched[1] else matched[2] or "", int(matched[3])


def _choice(
    rows: int | None,
    cols: int | None,
    patch: int | None,
    tile: str | None,
    squeeze: str | None,
    step: int,
    balanced: bool,
    divisors: bool,
    axis: int,
    cascade: bool,
) -> Choice | None:
    from tse_onnx.passes.blocks.choices import SQUEEZES, choice_of
    from tse_onnx.passes.blocks.tiling import RUNNING, TILE

    squeeze = squeeze or TILE
    given = [name for name, value in (("--patch", patch), ("--tile", tile)) if value is not None]
    if given and (rows or cols or len(given) > 1):
        raise click.UsageError(f"{given[0]} already says the rows and columns of a tile")
    if patch is not None:
        rows = cols = patch
    elif tile is not None:
        rows, cols = _sizes(tile)
    if squeeze != RUNNING and step != 1:
        raise click.UsageError("--step goes with --squeeze running")
    asked = {"rows": rows, "cols": cols, "step": step if step != 1 else None, "balanced": balanced, "axis": axis}
    asked |= {"divisors": divisors, "cascade": cascade}
    fields = {"squeeze": squeeze} | {key: value for key, value in asked.items() if value}
    taken = SQUEEZES[squeeze].settings()
    if (strange := next((key for key in fields if key not in taken), None)) is not None:
        raise click.UsageError(f"--squeeze {squeeze} takes no {given[0] if given else '--' + strange}")
    if "rows" in taken and rows is None and cols is None:
        fields["rows"] = _DEFAULT_ROWS
    return choice_of(fields)


def _sizes(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise click.BadParameter(f"{text!r} is not HxW, as 7x14", param_hint="--tile")
    return int(height), int(width)
