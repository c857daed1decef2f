"""`tse-onnx evaluate`: what a conversion costs, on the user's own data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli.bounds import bound_options
from tse_onnx.cli.configuration import leave_out
from tse_onnx.cli.data_options import data_options
from tse_onnx.cli.display import HTML, Display, display_options, quiet_option
from tse_onnx.cli.groups import given
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import given_model, input_shape_option, kinds_option, threads_option
from tse_onnx.cli.progress import progress_bar
from tse_onnx.cli.tiling import OPTION_NAMES, tiling_options

if TYPE_CHECKING:
    from tse_onnx.data.choice import Data
    from tse_onnx.decision.inputs import InputShapes
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection


@click.command(cls=Command)
@click.argument("original", type=click.Path(path_type=Path, allow_dash=True))
@click.argument("converted", type=click.Path(path_type=Path, allow_dash=True), nargs=-1)
@data_options
@input_shape_option
@threads_option
@click.option(
    "--frames",
    is_flag=True,
    help="--data is a folder of numbered frames for each stream; a model gets what it handed on with the last one.",
)
@click.option(
    "--settle", is_flag=True, help="With --frames: run the first frame of each stream until its gates are its own."
)
@click.option("--by-stage", is_flag=True, help="Also convert the blocks of each resolution alone, one after the other.")
@click.option(
    "--correlation",
    is_flag=True,
    help="Also correlate what tiles give with what whole maps give, before and after the excite.",
)
@bound_options
@tiling_options
@kinds_option
@display_options(
    quiet_option,
    csv="With --correlation: write a line per tile as CSV.",
    plot="With --correlation: draw it, as .svg or .png (needs matplotlib).",
    html=HTML,
)
@click.pass_context
def evaluate(
    ctx: click.Context,
    original: Path,
    converted: tuple[Path, ...],
    data: Data,
    input_shapes: InputShapes,
    threads: int,
    frames: bool,
    settle: bool,
    by_stage: bool,
    correlation: bool,
    bounds: Mapping[str, Any],
    plan: Plan,
    selection: Selection,
    kinds: frozenset[str],
    display: Display,
) -> None:
    """Compare CONVERTED models with the ORIGINAL on data: how often both agree, how far the outputs are apart, and with
    labels how many samples are classified right.

    Without CONVERTED, the ORIGINAL is converted for this as the options of a tiling say, and nothing is written. If a
    bound is broken, the exit code is 1.

    \b
    Examples:
      tse-onnx evaluate model.onnx tiled.onnx --data images/ --preprocess imagenet
      tse-onnx evaluate model.onnx seven.onnx three.onnx --data val/ --limit 1000
      tse-onnx evaluate model.onnx --squeeze running --rows 3 --data val.npz
      tse-onnx evaluate model.onnx tiled.onnx --data val/ --by-stage
      tse-onnx evaluate model.onnx tiled.onnx --data val/ --correlation
      tse-onnx evaluate model.onnx previous.onnx --data clips/ --frames --settle
      tse-onnx evaluate model.onnx tiled.onnx --data val/ --min-agreement 0.95
    """
    if not correlation and (display.plot or display.csv):
        raise click.UsageError(f"{'--plot' if display.plot else '--csv'} goes with --correlation")
    if converted and (tiling := given(ctx, (*OPTION_NAMES, "kinds"))):
        raise click.UsageError(f"{tiling[0]} says how to convert the original; there are converted models already")

    if converted:
        leave_out(ctx, (*OPTION_NAMES, "kinds"))
    if [str(path) for path in (original, *converted)].count("-") > 1:
        raise click.UsageError("one of the models comes from standard input; name files for the others")
    if settle and not frames:
        raise click.UsageError("--settle goes with --frames")
    if frames:
        data = replace(data, frames=True)

    from tse_onnx.evaluation.evaluate import evaluate as run
    from tse_onnx.files.source import open_model

    source = open_model(given_model(original))
    others = [open_model(given_model(path)) for path in converted]
    how = None if others else plan
    with progress_bar("comparing") as progress:
        found = run(
            source, others, data=data, plan=how, selection=selection, by_stage=by_stage, settle=settle,
            input_shapes=input_shapes, kinds=kinds, threads=threads, progress=progress,
        )  # fmt: skip
    correlations = None
    if correlation:
        from tse_onnx.evaluation.correlation import correlate

        with progress_bar("correlating") as progress:
            correlations = correlate(
                source, others, data=data, plan=how, selection=selection, input_shapes=input_shapes, kinds=kinds,
                threads=threads, progress=progress,
            )  # fmt: skip
    from tse_onnx.report.evaluate import EvaluateView

    view = EvaluateView(found, correlations)
    display.write(view)
    display.show(view)
    found.require(**bounds)
