"""`tse-onnx plan`: the choices for every block of a model, as a file to edit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tse_onnx.cli.options import (
    OutputPath,
    format_option,
    given_model,
    input_shape_option,
    kinds_option,
    model_argument,
    parse_kinds,
    parse_part,
    parse_shapes,
    print_json,
)
from tse_onnx.cli.tiling import tiling_options
from tse_onnx.passes.blocks.recompute import Recompute

if TYPE_CHECKING:
    from tse_onnx.conversion.report import Report
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection

# What says how blocks are tiled: no business of a plan of exact choices alone. The squeeze may be recompute.
_TILES = ("rows", "cols", "patch", "tile", "step", "balanced", "axis", "plan_path")


@click.command("plan")
@model_argument
@click.option(
    "--exact", is_flag=True,
    help="Of choices that lose nothing alone (keep, recompute), those that reach --reduce with the fewest "
    "multiply-accumulates added. Takes no data; exit code 1 where they do not reach it.",
)  # fmt: skip
@click.option(
    "--reduce", "reduction", metavar="PART",
    help="With --exact: the part to be saved of what the gates hold back, as 60% or 0.6.",
)  # fmt: skip
@tiling_options
@input_shape_option
@kinds_option
@click.option(
    "-o", "--output", type=OutputPath(allow_dash=True), metavar="FILE",
    help="Write the plan to FILE, and print what it comes to. Otherwise the plan is printed, as with -.",
)  # fmt: skip
@format_option
@click.pass_context
def write_plan(
    ctx: click.Context,
    model: Path,
    exact: bool,
    reduction: str | None,
    plan: Plan,
    selection: Selection,
    input_shapes: tuple[str, ...],
    kinds: str,
    output: Path | None,
    form: str,
) -> None:
    """Print a plan for MODEL: a TOML file with a line for every block, to edit by hand and give to --plan.

    The options are those of convert, and say what the plan begins with. MODEL is an ONNX file, or - for standard input.

    \b
    Examples:
      tse-onnx plan model.onnx --rows 7 > plan.toml
      tse-onnx plan model.onnx --plan plan.toml --exclude '*stage4*' > other.toml
      tse-onnx plan model.onnx --reduce 60% --exact -o plan.toml
    """
    if exact != (reduction is not None):
        tune = "--reduce goes with --exact; for tiles tse-onnx tune takes it, which chooses on data"
        raise click.UsageError("--exact needs --reduce, the part to be saved, as 60%" if exact else tune)
    if exact:
        _refuse_tiles(ctx, plan)
    shapes, chosen = parse_shapes(input_shapes), parse_kinds(kinds)
    if reduction is not None:
        from tse_onnx.conversion.exact import exact_plan

        cascade = isinstance(plan.default, Recompute) and plan.default.cascade
        made = exact_plan(
            given_model(model), parse_part(reduction, "--reduce"), max_macs=plan.max_macs, cascade=cascade,
            selection=selection, input_shapes=shapes, kinds=chosen,
        )  # fmt: skip
    else:
        from tse_onnx.conversion.convert import draft

        made = draft(given_model(model), plan=plan, selection=selection, input_shapes=shapes, kinds=chosen).report
    _write(made, output)
    _say(made, output, form)


def _refuse_tiles(ctx: click.Context, plan: Plan) -> None:
    given = [name for name in _TILES if _given(ctx, name)]
    if _given(ctx, "squeeze") and not isinstance(plan.default, Recompute):
        given.append("squeeze")
    if given:
        option = given[0].removesuffix("_path")
        raise click.UsageError(f"--exact keeps blocks or recomputes them; it takes no --{option}")


def _given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE


def _write(made: Report, output: Path | None) -> None:
    from tse_onnx.decision.plan_file import plan_text

    # TOML is UTF-8, whatever the terminal's encoding.
    text = plan_text(made.plan, (block.decision for block in made.buffering.blocks)).encode()
    if output is None or str(output) == "-":
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        return
    from tse_onnx.files.write import write_bytes

    write_bytes(output, text)


def _say(made: Report, output: Path | None, form: str) -> None:
    """What the plan comes to: beside a plan on standard output only the JSON that was asked for."""
    printed = output is None or str(output) == "-"
    if form == "json":
        from tse_onnx.conversion.schema import report_json

        print_json(report_json(made), err=printed)
    elif not printed:
        from tse_onnx.report.convert import print_report
        from tse_onnx.report.page import page

        print_report(page(), made, f"The plan was written to {output}: convert --plan takes it.")
