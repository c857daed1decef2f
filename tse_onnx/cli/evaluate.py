"""`tse-onnx evaluate`: what a conversion costs, on the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tse_onnx.cli.data_options import data_options
from tse_onnx.cli.options import (
    OutputPath,
    format_option,
    given_model,
    input_shape_option,
    kinds_option,
    parse_kinds,
    parse_shapes,
    print_json,
    threads_option,
)
from tse_onnx.cli.progress import progress_bar
from tse_onnx.cli.tiling import OPTION_NAMES, tiling_options

if TYPE_CHECKING:
    from tse_onnx.data.choice import Data
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection


@click.command()
@click.argument("original", type=click.Path(path_type=Path, allow_dash=True))
@click.argument("converted", type=click.Path(path_type=Path), nargs=-1)
@data_options
@input_shape_option
@threads_option
@click.option("--by-stage", is_flag=True, help="Also convert the blocks of each resolution alone, one after the other.")
@click.option(
    "--correlation",
    is_flag=True,
    help="Also correlate what tiles give with what whole maps give, before and after the excite.",
)
@click.option(
    "--plot",
    "plot_path",
    type=OutputPath(),
    metavar="FILE",
    help="With --correlation: draw it, as .svg or .png (needs matplotlib).",
)
@click.option(
    "--csv",
    "csv_path",
    type=OutputPath(),
    metavar="FILE",
    help="With --correlation: write a line per tile as CSV.",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="Fail where a model agrees with the original on less than this fraction of the samples, as 0.95.",
)
@click.option(
    "--max-kl", type=click.FloatRange(min=0), metavar="X", help="Fail where the mean divergence is more than X nats."
)
@click.option(
    "--max-loss",
    type=click.FloatRange(max=100),
    metavar="X",
    help="Fail where a model loses more than X points of top-1 accuracy. Needs labels.",
)
@click.option(
    "--min-sqnr", type=float, metavar="X", help="Fail where the signal-to-noise ratio of an output is below X decibels."
)
@tiling_options
@kinds_option
@format_option
@click.pass_context
def evaluate(
    ctx: click.Context,
    original: Path,
    converted: tuple[Path, ...],
    data: Data,
    input_shapes: tuple[str, ...],
    threads: int,
    by_stage: bool,
    correlation: bool,
    plot_path: Path | None,
    csv_path: Path | None,
    min_agreement: float | None,
    max_kl: float | None,
    max_loss: float | None,
    min_sqnr: float | None,
    plan: Plan,
    selection: Selection,
    kinds: str,
    form: str,
) -> None:
    """Compare CONVERTED models with the ORIGINAL on data: how often both agree, how far the outputs are apart, and with
    labels how many samples are classified right.

    Without CONVERTED, the ORIGINAL is converted for this as the options of a tiling say, and nothing is written. If a
    bound is broken, the exit code is 1.

    \b
    Examples:
      tse-onnx evaluate model.onnx tiled.onnx --data images/ --preprocess imagenet
      tse-onnx evaluate model.onnx seven.onnx three.onnx --data val/ --labels val.csv --limit 1000
      tse-onnx evaluate model.onnx --squeeze running --rows 3 --data val.npz
      tse-onnx evaluate model.onnx tiled.onnx --data val/ --by-stage
      tse-onnx evaluate model.onnx tiled.onnx --data val/ --correlation --plot correlation.svg
      tse-onnx evaluate model.onnx tiled.onnx --data val/ --min-agreement 0.95 --max-loss 0.5
    """
    if not correlation and (plot_path or csv_path):
        raise click.UsageError(f"{'--plot' if plot_path else '--csv'} goes with --correlation")
    if converted and (given := [name for name in (*OPTION_NAMES, "kinds") if _given(ctx, name)]):
        option = given[0].removesuffix("_path").replace("_", "-")
        raise click.UsageError(f"--{option} says how to convert the original; there are converted models already")

    from tse_onnx.evaluation.evaluate import evaluate as run
    from tse_onnx.files.source import open_model

    if plot_path is not None:
        from tse_onnx.report.correlation_plot import plot_kind

        plot_kind(plot_path)
    source = open_model(given_model(original))
    others = [open_model(path) for path in converted]
    how = None if others else plan
    shapes, wanted = parse_shapes(input_shapes), parse_kinds(kinds)
    with progress_bar("comparing") as progress:
        found = run(
            source, others, data=data, plan=how, selection=selection, by_stage=by_stage, input_shapes=shapes,
            kinds=wanted, threads=threads, progress=progress,
        )  # fmt: skip
    correlations = None
    if correlation:
        from tse_onnx.evaluation.correlation import correlate

        with progress_bar("correlating") as progress:
            correlations = correlate(
                source, others, data=data, plan=how, selection=selection, input_shapes=shapes, kinds=wanted,
                threads=threads, progress=progress,
            )  # fmt: skip
        if plot_path is not None:
            from tse_onnx.report.correlation_plot import draw_correlations

            draw_correlations(plot_path, correlations)
        if csv_path is not None:
            from tse_onnx.evaluation.schema import correlations_csv
            from tse_onnx.files.write import write_text

            write_text(csv_path, correlations_csv(correlations))
    if form == "json":
        from tse_onnx.evaluation.schema import evaluation_json

        print_json(evaluation_json(found, correlations))
    else:
        from tse_onnx.report.evaluate import print_correlations, print_evaluation
        from tse_onnx.report.page import page

        paper = page()
        print_evaluation(paper, found)
        if correlations is not None:
            print_correlations(paper, correlations)
    found.require(min_agreement=min_agreement, max_kl=max_kl, min_sqnr=min_sqnr, max_loss=max_loss)


def _given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE
