"""`tse-onnx convert`: rewrite, verify, report."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli import completion
from tse_onnx.cli.checks_options import checks_options
from tse_onnx.cli.configuration import configured
from tse_onnx.cli.display import HTML, Display, display_options, quiet_option
from tse_onnx.cli.groups import group
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import alls_option, given_model, input_shape_option, kinds_option, model_argument, say_note
from tse_onnx.cli.output import OutputPath, is_stdout, pour, refuse_terminal, words
from tse_onnx.cli.quality_gates import gates_options, require_dataflow
from tse_onnx.cli.streaming_options import refuse_stores, stores_options
from tse_onnx.cli.tiling import tiling_options
from tse_onnx.errors import CheckFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tse_onnx.conversion.fitting import Fitting
    from tse_onnx.conversion.quality_gates import QualityGates
    from tse_onnx.decision.inputs import InputShapes
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection
    from tse_onnx.passes.lowering import Style
    from tse_onnx.streaming.network.machine import Machine
    from tse_onnx.verification.checks import Checks


# The names of `passes.lowering.SPREADS` and `MEANS`, which would take onnx to import.
SPREADS = ("view", "resize", "gather", "expand", "ones", "full")
MEANS = ("view", "pads", "matmul", "cumsum", "rows", "pool", "ceil", "gemm", "pools", "split")

_STYLE = (
    click.option(
        "--upsample",
        type=click.Choice(SPREADS),
        metavar="NAME",
        help=f"How gates are spread over their tiles, where that can be: {', '.join(SPREADS)}.  [default: what fits "
        "best, and --target]",
    ),
    click.option(
        "--means",
        type=click.Choice(MEANS),
        metavar="NAME",
        help=f"How means are computed, where that can be: {', '.join(MEANS)}.  [default: what fits best, and --target]",
    ),
    click.option(
        "--target",
        shell_complete=completion.targets,
        metavar="NAME|FILE",
        help="Write each block in the first form that is within the limits of this compiler or device, a name that "
        "tse-onnx targets lists or a .toml file; where none is, leave it as it is.  [default: that of --plan, or none]",
    ),
)


def _style(upsample: str | None, means: str | None, target: str | None) -> Mapping[str, Any]:
    from tse_onnx.conversion.rewrite import style_of

    def fitting(planned: str | None) -> Fitting | None:
        asked = target if target is not None else planned
        if asked is None:
            return None
        from tse_onnx.conversion.fitting import fitting_of

        return fitting_of(asked, upsample, means)

    return {"style": style_of(upsample, means), "fitting": fitting}


_style_options = group(_STYLE, _style)


@click.command(cls=Command)
@model_argument
@click.argument("output", type=OutputPath(allow_dash=True))
@tiling_options
@click.option(
    "--retile",
    is_flag=True,
    help="Restore blocks that are tiled already, and convert the original anew. They are left alone otherwise.",
)
@input_shape_option
@click.option(
    "--dynamic",
    is_flag=True,
    help="Keep dynamic heights and widths in the written model: strips of rows are computed for any size, and "
    "--input-shape only says which size to report and verify for.",
)
@kinds_option
@_style_options
@checks_options
@click.option(
    "--dataflow/--no-dataflow",
    default=None,
    help="Say what the whole network holds while rows stream through it, before and after.  [default: where the result "
    "is verified]",
)
@stores_options
@gates_options
@alls_option
@click.option("--expect", type=click.IntRange(min=0), metavar="N", help="Fail unless N blocks are converted.")
@display_options(quiet_option, report="Write the report as JSON.", html=HTML)
@click.pass_context
def convert(
    ctx: click.Context,
    model: Path,
    output: Path,
    plan: Plan,
    selection: Selection,
    retile: bool,
    input_shapes: InputShapes,
    dynamic: bool,
    kinds: frozenset[str],
    style: Style,
    fitting: Callable[[str | None], Fitting | None],
    checks: Checks,
    dataflow: bool | None,
    machine: Machine,
    gates: QualityGates,
    alls: Path | None,
    expect: int | None,
    display: Display,
) -> None:
    """Tile the squeeze-and-excite blocks of MODEL, by default into strips of rows, and write the result to OUTPUT.

    The result is checked first: every block against the original run on each tile, everything else byte for byte. If a
    check fails, the exit code is 1 and nothing is written. OUTPUT may be MODEL itself; - stands for standard input and
    output (the report then goes to standard error).

    \b
    Examples:
      tse-onnx convert model.onnx tiled.onnx --rows 7
      tse-onnx convert model.onnx tiled.onnx --data images/ --report report.json
      tse-onnx convert model.onnx tiled.onnx --squeeze running --rows 3
      tse-onnx convert model.onnx tiled.onnx --rows 7 --exclude '*stage4*'
      tse-onnx convert model.onnx tiled.onnx --plan plan.toml --machine cascade
      tse-onnx convert model.onnx tiled.onnx --certify --report report.json
      tse-onnx convert model.onnx model.onnx --expect 16 --max-drift 0.5
      tse-onnx convert model.onnx tiled.onnx --max-memory 2MiB --min-saved 40
    """
    import logging

    from tse_onnx.conversion.convert import carry_out
    from tse_onnx.files.source import open_model
    from tse_onnx.report.convert import ReportView, outcome

    require_dataflow(gates, dataflow)
    counted = (checks.verify or gates.of_network) if dataflow is None else dataflow
    if not counted:
        refuse_stores(ctx)
    to_stdout = is_stdout(output)
    if to_stdout:
        refuse_terminal()
    source = open_model(given_model(model))
    taken = configured(ctx)
    with contextlib.ExitStack() as stack:
        share = stack.enter_context(display.sharing())
        logged = logging.getLogger("tse_onnx").isEnabledFor(logging.INFO)  # lines between which nothing should turn
        if checks.verify and sys.stderr.isatty() and not logged and not os.environ.get("NO_COLOR"):
            from rich.console import Console

            stack.enter_context(Console(stderr=True).status("converting and verifying"))
        try:
            result = carry_out(
                source, None if to_stdout else output, plan=plan, selection=selection, style=style,
                fitting=fitting(plan.target), checks=checks, retile=retile, input_shapes=input_shapes, dynamic=dynamic,
                kinds=kinds, expect=expect, report=display.report, alls=alls,
                machine=machine if counted else None, gates=gates,
                configuration=None if taken is None else taken.json(),
            )  # fmt: skip
        except CheckFailed as failed:
            if failed.report is not None and display.asked:
                display.show(ReportView(failed.report, "Nothing was written: a bound was missed."), err=to_stdout)
            raise
        if to_stdout:
            pour(result.serialized())
        view = ReportView(result.report, outcome(result, words(output), retile))
        share(view, source.model, result.model)
    display.show(view, err=to_stdout)
    say_note(result.report.target)
