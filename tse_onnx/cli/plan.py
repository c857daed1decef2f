"""`tse-onnx plan`: the choices for every block of a model, as a file to edit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli import values
from tse_onnx.cli.configuration import leave_out
from tse_onnx.cli.display import Display, display_options, quiet_option
from tse_onnx.cli.groups import given
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import (
    alls_option,
    given_model,
    input_shape_option,
    kinds_option,
    model_argument,
    preprocess_option,
    say_note,
    target_option,
)
from tse_onnx.cli.output import OutputPath, is_stdout
from tse_onnx.cli.plan_output import put_plan
from tse_onnx.cli.progress import progress_bar
from tse_onnx.cli.tiling import tiling_options

if TYPE_CHECKING:
    from tse_onnx.data.presets import Preprocessing
    from tse_onnx.decision.inputs import InputShapes
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection
    from tse_onnx.files.source import Source

# What says how blocks are tiled: no business of a plan of exact choices alone. The squeeze may be recompute.
_TILES = ("rows", "cols", "patch", "tile", "step", "balanced", "divisors", "axis", "plan_path")


@click.command(cls=Command)
@model_argument
@click.option(
    "--exact", is_flag=True,
    help="Of choices that lose nothing alone (keep, recompute), those that reach --reduce with the fewest "
    "multiply-accumulates added. Takes no data; exit code 1 where they do not reach it.",
)  # fmt: skip
@click.option(
    "--reduce", callback=values.part, metavar="PART",
    help="With --exact: the part to be saved of what the gates hold back, as 60% or 0.6.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True),
    help="With --squeeze previous: what a first frame is scaled by is the mean of the gates on these data, a folder of "
    "images, an .npz or an .npy.",
)  # fmt: skip
@preprocess_option
@tiling_options
@input_shape_option
@kinds_option
@target_option
@alls_option
@click.option(
    "-o", "--output", type=OutputPath(allow_dash=True), default="-", metavar="FILE",
    help="Write the plan to FILE, and print what it comes to. Otherwise the plan is printed, as with -.",
)  # fmt: skip
@display_options(
    quiet_option,
)
@click.pass_context
def plan(
    ctx: click.Context,
    model: Path,
    exact: bool,
    reduce: float | None,
    data: Path | None,
    preprocess: Preprocessing,
    plan: Plan,
    selection: Selection,
    input_shapes: InputShapes,
    kinds: frozenset[str],
    target: str | None,
    alls: Path | None,
    output: Path,
    display: Display,
) -> None:
    """Print a plan for MODEL: a TOML file with a line for every block, to edit by hand and give to --plan.

    The options are those of convert, and say what the plan begins with. MODEL is an ONNX file, or - for standard input.

    \b
    Examples:
      tse-onnx plan model.onnx --rows 7 > plan.toml
      tse-onnx plan model.onnx --plan plan.toml --exclude '*stage4*' > other.toml
      tse-onnx plan model.onnx --reduce 60% --exact -o plan.toml
      tse-onnx plan model.onnx --squeeze previous --data images/ -o plan.toml
    """
    if exact != (reduce is not None):
        tune = "--reduce goes with --exact; for tiles tse-onnx tune takes it, which chooses on data"
        raise click.UsageError("--exact needs --reduce, the part to be saved, as 60%" if exact else tune)
    if exact and data is not None:
        raise click.UsageError("--exact keeps blocks or recomputes them; it takes no --data")
    if exact and alls is not None:
        raise click.UsageError("--exact keeps blocks or recomputes them; it has nothing to say in --alls")
    if data is None and given(ctx, ["preprocess"]):
        raise click.UsageError("--preprocess goes with --data")
    if data is None:
        leave_out(ctx, ["preprocess"])
    if exact:
        _refuse_tiles(ctx, plan)
    if reduce is not None:
        from tse_onnx.conversion.exact import exact_plan
        from tse_onnx.passes.blocks.recompute import Recompute

        cascade = isinstance(plan.default, Recompute) and plan.default.cascade
        made = exact_plan(
            given_model(model), reduce, max_macs=plan.max_macs, cascade=cascade, selection=selection,
            input_shapes=input_shapes, kinds=kinds, target=target,
        )  # fmt: skip
    else:
        from tse_onnx.conversion.convert import draft
        from tse_onnx.decision.selection import EVERYTHING
        from tse_onnx.files.source import open_model

        source = open_model(given_model(model))
        if data is not None:
            plan = _measured(source, data, preprocess, plan, selection, input_shapes, kinds)
        if (asked := target or plan.target) is not None:
            from tse_onnx.conversion.plan_for import plan_for

            plan = plan_for(source, plan, asked, selection=selection, input_shapes=input_shapes, kinds=kinds)
            selection = EVERYTHING  # it is in the plan now
        drafted = draft(source, plan=plan, selection=selection, input_shapes=input_shapes, kinds=kinds)
        made = drafted.report
        if alls is not None:
            from tse_onnx.conversion.alls import first_tiles_of
            from tse_onnx.files.write import write_bytes

            write_bytes(alls, f"{first_tiles_of(drafted.made).line}\n".encode())
    outcome = put_plan(output, made)
    if display.asked or not is_stdout(output):  # a plan that is printed says enough
        from tse_onnx.report.convert import ReportView

        display.show(ReportView(made, outcome), err=is_stdout(output))
    say_note(made.target)


def _measured(
    source: Source,
    data: Path,
    preprocess: Preprocessing,
    plan: Plan,
    selection: Selection,
    input_shapes: InputShapes,
    kinds: frozenset[str],
) -> Plan:
    """The plan with what a first frame is scaled by, as measured."""
    from tse_onnx.data.choice import Data
    from tse_onnx.evaluation.first import first_gates

    shown = Data(data, preprocess)
    with progress_bar("watching gates") as progress:
        return first_gates(
            source,
            data=shown,
            plan=plan,
            selection=selection,
            input_shapes=input_shapes,
            kinds=kinds,
            progress=progress,
        )


def _refuse_tiles(ctx: click.Context, plan: Plan) -> None:
    from tse_onnx.passes.blocks.recompute import Recompute

    tiles = given(ctx, _TILES)
    if not isinstance(plan.default, Recompute):
        tiles += given(ctx, ["squeeze"])
    if tiles:
        raise click.UsageError(f"--exact keeps blocks or recomputes them; it takes no {tiles[0]}")
    leave_out(ctx, _TILES)
