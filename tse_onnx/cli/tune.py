"""`tse-onnx tune` and `tse-onnx sensitivity`: what each block bears on data, and a plan for a memory budget."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli.data_options import data_options
from tse_onnx.cli.options import (
    Command,
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
    threads_option,
)
from tse_onnx.cli.plan_output import put_plan
from tse_onnx.cli.progress import stages_bar

if TYPE_CHECKING:
    from tse_onnx.data.choice import Data
    from tse_onnx.tuning.result import TuneResult
    from tse_onnx.tuning.settings import Options

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}

_OPTIONS = (
    click.option(
        "--loss", type=click.Choice(["auto", "kl", "noise", "top1"]), default="auto", show_default=True,
        help="What a change costs: the divergence of class probabilities, the noise in the outputs, or the samples "
        "that are classified right no more (needs labels). auto is kl where an output looks like classes, else noise.",
    ),
    click.option(
        "--figure", type=click.Choice(["gate", "asap", "min"]), default="gate", show_default=True,
        help="What counts as buffer: what the scales hold back (the paper's metric), or what the whole network holds, "
        "as stream has it.",
    ),
    click.option(
        "--bits", type=click.IntRange(1, 1024), metavar="N",
        help="Bits of an element; the tensor's own type otherwise.",
    ),
    click.option(
        "--rows", default="1,2,3,4,5,6,7,10,14", show_default=True, metavar="K[,K...]",
        help="Rows of a tile to try.",
    ),
    click.option(
        "--squeeze", default="calibrated,running,tile", show_default=True, metavar="KIND[,KIND...]",
        help="Squeezes to try: tile, running, and calibrated, a running squeeze that knows what to expect.",
    ),
    click.option(
        "--step", default="1", show_default=True, metavar="S[,S...]",
        help="Rows that share a gate in a running squeeze, to try.",
    ),
    click.option(
        "--freeze", type=click.Choice(["constant", "any", "never"]), default="constant", show_default=True,
        help="Which gates may become constants: those that hardly move on the data, any, or none.",
    ),
    click.option(
        "--still", type=click.FloatRange(min=0), default=0.01, show_default=True, metavar="X",
        help="A gate hardly moves if it differs from its mean by no more than this fraction of its size.",
    ),
    input_shape_option,
    kinds_option,
    threads_option,
    click.option(
        "--memory", default="1GiB", show_default=True, metavar="SIZE",
        help="About how much may be held where the network is cut.",
    ),
    click.option(
        "--cache", type=click.Path(path_type=Path), metavar="DIR",
        help="Where measurements are kept, so that none is made twice.  [default: tse-onnx in the user's cache folder]",
    ),
    click.option("--no-cache", is_flag=True, help="Keep no measurements."),
    click.option(
        "--workers", type=click.IntRange(min=1), metavar="N",
        help="Measure in N processes on this machine (needs Dask).",
    ),
    click.option(
        "--scheduler", metavar="ADDRESS", help="Measure on the workers of a Dask scheduler, as tcp://10.0.0.5:8786."
    ),
    click.option(
        "--csv", "csv_path", type=OutputPath(), metavar="FILE",
        help="Write a line for each choice of each block as CSV.",
    ),
)  # fmt: skip


def _measuring(command: Command) -> Command:
    """Give a command the options of sensitivity; it receives them as `Options`."""

    @functools.wraps(command)
    def wrapped(
        loss: str, figure: str, bits: int | None, rows: str, squeeze: str, step: str, freeze: str, still: float,
        input_shapes: tuple[str, ...], kinds: str, threads: int, memory: str, cache: Path | None, no_cache: bool,
        workers: int | None, scheduler: str | None, **values: Any,
    ) -> Any:  # fmt: skip
        if cache is not None and no_cache:
            raise click.UsageError("--cache and --no-cache exclude each other")

        from tse_onnx.tuning.choices import Menu

        menu = Menu(_numbers(rows, "--rows"), tuple(_parts(squeeze)), _numbers(step, "--step"))
        options: Options = {
            "loss": loss, "figure": figure, "bits": bits, "menu": menu, "freeze": freeze, "still": still,
            "input_shapes": parse_shapes(input_shapes), "kinds": parse_kinds(kinds), "threads": threads,
            "memory": parse_size(memory, "--memory"), "cache": False if no_cache else cache or True,
            "workers": workers, "scheduler": scheduler,
        }  # fmt: skip
        return command(options=options, **values)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


@click.command()
@model_argument
@data_options
@_measuring
@format_option
def sensitivity(model: Path, data: Data, options: Options, csv_path: Path | None, form: str) -> None:
    """Measure what each squeeze-and-excite block of MODEL bears: what the outputs lose where this block alone gets
    other tiles, or a constant gate.

    Only what stands behind a block is run for its choices. What was measured is kept: a second run goes on where the
    first was stopped.

    \b
    Examples:
      tse-onnx sensitivity model.onnx --data calibration/ --preprocess imagenet
      tse-onnx sensitivity model.onnx --data val.npz --squeeze running --rows 1,3,7 --csv blocks.csv
      tse-onnx sensitivity model.onnx --data val/ --loss top1 --limit 500 --workers 8
    """
    from tse_onnx.tuning.search import sensitivity as run

    with _kept(options), stages_bar() as progress:
        found = run(given_model(model), data, **(options | {"progress": progress}))
    if csv_path is not None:
        from tse_onnx.files.write import write_text
        from tse_onnx.tuning.schema import sensitivity_csv

        write_text(csv_path, sensitivity_csv(found))
    if form == "json":
        from tse_onnx.tuning.schema import sensitivity_json

        print_json(sensitivity_json(found))
        return
    from tse_onnx.report.page import page
    from tse_onnx.report.tune import print_sensitivity

    print_sensitivity(page(), found)


@click.command()
@model_argument
@data_options
@click.option("--budget", metavar="SIZE", help="Bytes that the buffers may take, as 1.2MiB, 900KB or 1200000.")
@click.option("--reduce", "reduction", metavar="PART", help="Part of the buffers to be saved, as 75% or 0.75.")
@click.option(
    "--max-loss", type=click.FloatRange(min=0), metavar="X", help="The loss that is allowed, for the smallest buffer."
)
@click.option(
    "-o", "--output", type=OutputPath(allow_dash=True), metavar="FILE",
    help="Write the plan, for convert --plan; - is standard output (the report then goes to standard error).",
)  # fmt: skip
@click.option(
    "--held-out", default="50%", show_default=True, metavar="PART",
    help="Part of the samples that is not used to choose, and that the plan is judged by.",
)  # fmt: skip
@click.option(
    "--trials", type=click.IntRange(min=0), default=60, show_default=True, metavar="N",
    help="Combinations to measure in search of a better one than the sums say.",
)  # fmt: skip
@click.option(
    "--points", type=click.IntRange(min=0), default=9, show_default=True, metavar="N",
    help="Points of the Pareto curve to measure.",
)  # fmt: skip
@_measuring
@click.option("--report", "report_path", type=OutputPath(), metavar="FILE", help="Write everything as JSON.")
@click.option(
    "--plot", "plot_path", type=OutputPath(), metavar="FILE",
    help="Draw the Pareto curve and what each block bears, as .svg or .png (needs matplotlib).",
)  # fmt: skip
@format_option
def tune(
    model: Path,
    data: Data,
    budget: str | None,
    reduction: str | None,
    max_loss: float | None,
    output: Path | None,
    held_out: str,
    trials: int,
    points: int,
    options: Options,
    csv_path: Path | None,
    report_path: Path | None,
    plot_path: Path | None,
    form: str,
) -> None:
    """Choose tiles for every squeeze-and-excite block of MODEL so that the buffers fit a budget and the outputs lose
    least: a plan for convert --plan.

    The choice is made on one part of the data, and judged on the other, which had no part in it.

    \b
    Examples:
      tse-onnx tune model.onnx --data calibration/ --budget 1.2MiB -o plan.toml
      tse-onnx tune model.onnx --data calibration/ --reduce 75% -o plan.toml --plot pareto.svg
      tse-onnx tune model.onnx --data val/ --loss top1 --max-loss 0.005 --figure min --bits 8 -o plan.toml
      tse-onnx convert model.onnx tiled.onnx --plan plan.toml
    """
    if sum(value is not None for value in (budget, reduction, max_loss)) != 1:
        raise click.UsageError("one of --budget, --reduce and --max-loss says what is wanted")
    wanted = None if budget is None else parse_size(budget, "--budget")
    part = None if reduction is None else parse_part(reduction, "--reduce")
    out = parse_part(held_out, "--held-out")
    if plot_path is not None:
        from tse_onnx.report.correlation_plot import plot_kind

        plot_kind(plot_path)

    from tse_onnx.files.source import open_model
    from tse_onnx.tuning.search import tune as run

    source = open_model(given_model(model))
    with _kept(options), stages_bar() as progress:
        found = run(
            source, data, budget=wanted, reduce=part, max_loss=max_loss, held_out=out, trials=trials, points=points,
            **(options | {"progress": progress}),
        )  # fmt: skip
    _write(found, report_path, csv_path, plot_path)
    outcome = put_plan(output, found.plan, source, options["input_shapes"], options["kinds"])
    to_stdout = output is not None and str(output) == "-"
    if form == "json":
        from tse_onnx.tuning.schema import tune_json

        print_json(tune_json(found), err=to_stdout)
        return
    from tse_onnx.report.page import page
    from tse_onnx.report.tune import print_tuning

    print_tuning(page(stderr=to_stdout), found, outcome)


def _write(found: TuneResult, report_path: Path | None, csv_path: Path | None, plot_path: Path | None) -> None:
    from tse_onnx.files.write import write_text
    from tse_onnx.tuning.schema import report_text, sensitivity_csv

    if report_path is not None:
        write_text(report_path, report_text(found))
    if csv_path is not None:
        write_text(csv_path, sensitivity_csv(found.sensitivity))
    if plot_path is not None:
        from tse_onnx.report.tune_plot import draw_tuning

        draw_tuning(plot_path, found)


class _kept:  # noqa: N801 - reads as a word
    """Says, where a run is interrupted, that it was not for nothing."""

    def __init__(self, options: Options) -> None:
        self._keeps = options["cache"] is not False

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BaseException) and not isinstance(error, Exception) and self._keeps:
            error.args = ("what was measured is kept, and the same command goes on from there",)


def parse_size(text: str, option: str) -> int:
    """A number of bytes, as 1.2MiB."""
    matched = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)", text.strip())
    unit = matched[2].lower() if matched else None
    if matched is None or unit not in _UNITS:
        raise click.BadParameter(f"{text!r} is no size, as 1.2MiB, 900KB or 1200000", param_hint=option)
    return int(float(matched[1]) * _UNITS[unit])


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str, option: str) -> tuple[int, ...]:
    parts = _parts(text)
    if not parts or not all(part.isdecimal() and 0 < int(part) < 2**31 for part in parts):
        raise click.BadParameter(f"{text!r} is no list of whole numbers from 1 on, as 1,3,7", param_hint=option)
    return tuple(map(int, parts))
