"""`tse-onnx tune` and `tse-onnx sensitivity`: what each block bears on data, and a plan for a memory budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli import completion, values
from tse_onnx.cli.data_options import data_options
from tse_onnx.cli.display import HTML, Display, display_options, quiet_option
from tse_onnx.cli.groups import group
from tse_onnx.cli.help import Command
from tse_onnx.cli.interruption import keeping
from tse_onnx.cli.options import given_model, input_shape_option, kinds_option, model_argument, say_note, threads_option
from tse_onnx.cli.output import is_stdout
from tse_onnx.cli.plan_output import plan_output_option, put_found_plan
from tse_onnx.cli.progress import stages_bar
from tse_onnx.cli.streaming_options import stores_options

if TYPE_CHECKING:
    from tse_onnx.data.choice import Data
    from tse_onnx.streaming.network.machine import Machine
    from tse_onnx.tuning.settings import Options

_CSV = "Write a line for each choice of each block as CSV."

_OPTIONS = (
    click.option(
        "--loss", type=click.Choice(["auto", "kl", "noise", "top1"]), default="auto", show_default=True,
        help="What a change costs: the divergence of class probabilities, the noise in the outputs, or the samples "
        "that are classified right no more (needs labels). auto is kl where an output looks like classes, else noise.",
    ),
    click.option(
        "--figure", type=click.Choice(["min", "asap", "gate"]), default="min", show_default=True,
        help="What counts as buffer: the least that the whole network runs with on the machine, the same with each row "
        "made as soon as it can be, or what the scales hold back (the paper's metric).",
    ),
    click.option(
        "--axis", type=click.Choice(["rows", "columns", "both"]), default="rows", show_default=True,
        help="Which way maps stream: by rows, by columns, which resemble each other more in upright photographs, or "
        "whichever of both loses less (tune alone). --rows and --step then count columns.",
    ),
    click.option(
        "--rows", callback=values.numbers, default="1,2,3,4,5,6,7,10,14", show_default=True, metavar="K[,K...]",
        help="Rows of a tile to try.",
    ),
    click.option(
        "--squeeze", callback=values.words, metavar="KIND[,KIND...]",
        help="Squeezes to try: tile, running, calibrated, a running squeeze that knows what to expect, recompute, "
        "which loses nothing and computes maps twice, and with --frames previous, the gates of the frame before.  "
        "[default: all of these]",
    ),
    click.option(
        "--settle", is_flag=True,
        help="With --frames: run the first frame of each stream until its gates are its own.",
    ),
    click.option(
        "--step", callback=values.numbers, default="1", show_default=True, metavar="S[,S...]",
        help="Rows that share a gate in a running squeeze, to try.",
    ),
    click.option("--divisors", is_flag=True, help="Tiles of the divisors of a map's rows that are nearest to --rows."),
    click.option(
        "--target", metavar="NAME|FILE", shell_complete=completion.targets,
        help="Offer only what is within the limits of this compiler or device in some form: a name that tse-onnx "
        "targets lists, or a .toml file. The plan says whom it is for.",
    ),
    click.option(
        "--quantise", type=click.Choice(["convolutions", "all"]),
        help="Measure in eight bits: the inputs and weights of convolutions, or all that onnxruntime quantises, with "
        "ranges from the samples to choose by. A loss is then what a choice adds to the quantised network's, both told "
        "from the float one.  [default: in the model's own types]",
    ),
    click.option(
        "--array", metavar="NAME|FILE",
        help="Count what each choice adds to the cycles on an array of processing elements: squeezelerator8, "
        "squeezelerator16, or a .toml file that says it.",
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
        "--memory", callback=values.size, default="1GiB", show_default=True, metavar="SIZE",
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
)  # fmt: skip


def _measuring(
    rows: tuple[int, ...], squeeze: tuple[str, ...] | None, step: tuple[int, ...], divisors: bool, cache: Path | None,
    no_cache: bool, **said: Any,
) -> Mapping[str, Options]:  # fmt: skip
    """The options of sensitivity as `Options`."""
    if cache is not None and no_cache:
        raise click.UsageError("--cache and --no-cache exclude each other")

    from tse_onnx.tuning.choices import Menu

    options: Any = said | {"menu": Menu(rows, squeeze, step, divisors), "cache": False if no_cache else cache or True}
    return {"options": options}


_measuring_options = group(_OPTIONS, _measuring)

_frames_option = click.option(
    "--frames", is_flag=True,
    help="--data is a folder of numbered frames for each stream: a block may take the gates of the frame before.",
)  # fmt: skip


@click.command(cls=Command)
@model_argument
@data_options
@_frames_option
@_measuring_options
@stores_options
@display_options(csv=_CSV, plot="Draw the loss of each choice of each block, as .svg or .png (needs matplotlib).")
def sensitivity(model: Path, data: Data, frames: bool, options: Options, machine: Machine, display: Display) -> None:
    """Measure what each squeeze-and-excite block of MODEL bears: what the outputs lose where this block alone gets
    other tiles, or a constant gate.

    Only what stands behind a block is run for its choices. What was measured is kept: a second run goes on where the
    first was stopped.

    \b
    Examples:
      tse-onnx sensitivity model.onnx --data images/ --preprocess imagenet
      tse-onnx sensitivity model.onnx --data val.npz --rows 1,3,7 --csv blocks.csv
      tse-onnx sensitivity model.onnx --data val/ --limit 500 --workers 8
    """
    from tse_onnx.tuning.search import sensitivity as run

    with keeping(lambda: _measured(options)), stages_bar() as progress:
        found = run(
            given_model(model), replace(data, frames=frames), **(options | {"machine": machine, "progress": progress})
        )
    from tse_onnx.report.tune import SensitivityView

    view = SensitivityView(found)
    display.write(view)
    display.show(view)
    say_note(found.target)


@click.command(cls=Command)
@model_argument
@data_options
@_frames_option
@click.option(
    "--budget",
    callback=values.size,
    metavar="SIZE",
    help="Bytes that the figure may come to, as 1.2MiB, 900KB or 1200000.",
)
@click.option("--reduce", callback=values.part, metavar="PART", help="Part of the figure to be saved, as 40% or 0.4.")
@click.option(
    "--max-loss", type=click.FloatRange(min=0), metavar="X", help="The loss that is allowed, for the smallest buffer."
)
@plan_output_option
@click.option(
    "--max-macs", type=click.FloatRange(min=0), metavar="PCT",
    help="Compute no more beside the original than PCT per cent of the network's multiply-accumulates.",
)  # fmt: skip
@click.option(
    "--max-cycles", type=click.FloatRange(min=0), metavar="PCT",
    help="The same for the network's cycles on --array.",
)  # fmt: skip
@click.option(
    "--held-out", callback=values.part, default="50%", show_default=True, metavar="PART",
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
@_measuring_options
@stores_options
@display_options(
    quiet_option,
    report="Write everything as JSON.",
    csv=_CSV,
    plot="Draw the Pareto curve and what each block bears, as .svg or .png (needs matplotlib).",
    html=HTML,
)
def tune(
    model: Path,
    data: Data,
    frames: bool,
    budget: int | None,
    reduce: float | None,
    max_loss: float | None,
    max_macs: float | None,
    max_cycles: float | None,
    output: Path | None,
    held_out: float,
    trials: int,
    points: int,
    options: Options,
    machine: Machine,
    display: Display,
) -> None:
    """Choose tiles, or what loses nothing, for every squeeze-and-excite block of MODEL so that the buffers fit a budget
    and the outputs lose least: a plan for convert --plan.

    The choice is made on one part of the data, and judged on the other, which had no part in it.

    \b
    Examples:
      tse-onnx tune model.onnx --data images/ --budget 1.2MiB -o plan.toml
      tse-onnx tune model.onnx --data images/ --reduce 35% --plot pareto.svg
      tse-onnx tune model.onnx --data images/ --reduce 80% --max-macs 20
      tse-onnx tune m.onnx --data x.npy --reduce 60% --array a.toml --max-cycles 5
      tse-onnx tune model.onnx --data clips/ --frames --settle --reduce 60%
      tse-onnx tune model.onnx --data val/ --loss top1 --max-loss 0.005 --bits 8
      tse-onnx convert model.onnx tiled.onnx --plan plan.toml
    """
    if sum(value is not None for value in (budget, reduce, max_loss)) != 1:
        raise click.UsageError("one of --budget, --reduce and --max-loss says what is wanted")

    from tse_onnx.files.source import open_model
    from tse_onnx.tuning.search import tune as run

    source = open_model(given_model(model))
    with keeping(lambda: _measured(options)), stages_bar() as progress:
        found = run(
            source, replace(data, frames=frames), budget=budget, reduce=reduce, max_loss=max_loss, max_macs=max_macs,
            max_cycles=max_cycles, held_out=held_out, trials=trials,
            points=points, **(options | {"machine": machine, "progress": progress}),
        )  # fmt: skip
    from tse_onnx.report.tune import TuneView

    display.write(TuneView(found))
    outcome = put_found_plan(output, found.plan, source, options["input_shapes"], options["kinds"])
    display.show(TuneView(found, outcome), err=is_stdout(output))
    say_note(found.sensitivity.target)


def _measured(options: Options) -> str | None:
    return None if options["cache"] is False else "what was measured is kept"
