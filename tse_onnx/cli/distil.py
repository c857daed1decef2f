"""`tse-onnx distil`: the numbers of a plan, trained against the original."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.data_options import data_options
from tse_onnx.cli.options import (
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


@click.command()
@model_argument
@click.option(
    "--plan", "plan_path", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="The plan whose numbers are trained, as tune or plan writes it.",
)  # fmt: skip
@data_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE",
    help="Write the plan, for convert --plan; - is standard output (the report then goes to standard error).",
)  # fmt: skip
@click.option(
    "--epochs", type=click.IntRange(1, 10_000), default=3, show_default=True, metavar="N",
    help="How often the views are gone through; fewer, where samples set aside say that it is enough.",
)  # fmt: skip
@click.option(
    "--views", type=click.IntRange(1, 10**9), default=1000, show_default=True, metavar="N",
    help="Views of the samples in an epoch: crops and mixtures, none of which comes twice.",
)  # fmt: skip
@click.option(
    "--step", type=click.IntRange(1, 10**6), default=32, show_default=True, metavar="N", help="Views in one step."
)
@click.option(
    "--rate", type=click.FloatRange(0, 1, min_open=True), default=0.02, show_default=True, metavar="X",
    help="How far a number moves in a step at first, as a part of the size of its tensor.",
)  # fmt: skip
@click.option(
    "--held-out", default="50%", show_default=True, metavar="PART",
    help="Part of the samples that is not trained on: with the same seed, what tune does not choose by.",
)  # fmt: skip
@click.option(
    "--stop", default="30%", show_default=True, metavar="PART",
    help="Part of these that says when to stop; both plans are judged by the others.",
)  # fmt: skip
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), metavar="FILE",
    help="Where the training is kept after each epoch, so that an interrupted run goes on there.  "
    "[default: the output's name with .checkpoint behind it; removed once the plan is written]",
)  # fmt: skip
@click.option("--no-checkpoint", is_flag=True, help="Keep no checkpoint.")
@input_shape_option
@kinds_option
@threads_option
@click.option(
    "--report", "report_path", type=click.Path(path_type=Path), metavar="FILE", help="Write everything as JSON."
)
@format_option
def distil(
    model: Path,
    plan_path: Path,
    data: Data,
    output: Path | None,
    epochs: int,
    views: int,
    step: int,
    rate: float,
    held_out: str,
    stop: str,
    checkpoint: Path | None,
    no_checkpoint: bool,
    input_shapes: tuple[str, ...],
    kinds: str,
    threads: int,
    report_path: Path | None,
    form: str,
) -> None:
    """Train the slopes and offsets of a plan's running squeezes, so that the outputs of MODEL lose less at the same
    buffer. The original is the teacher: no labels are needed. Needs torch.

    Both plans are judged on samples that had no part in it, and where training made nothing better, the plan that was
    given is written as it was.

    \b
    Examples:
      tse-onnx tune model.onnx --data calibration/ --reduce 80% -o plan.toml
      tse-onnx distil model.onnx --plan plan.toml --data calibration/ -o distilled.toml
      tse-onnx convert model.onnx tiled.onnx --plan distilled.toml
    """
    if checkpoint is not None and no_checkpoint:
        raise click.UsageError("--checkpoint and --no-checkpoint exclude each other")
    to_stdout = output is not None and str(output) == "-"
    if checkpoint is None and output is not None and not to_stdout and not no_checkpoint:
        checkpoint = output.with_name(f"{output.name}.checkpoint")

    from tse_onnx.decision.plan import Plan
    from tse_onnx.distillation.distil import distil as run
    from tse_onnx.files.source import open_model

    plan, shapes, wanted = Plan.load(plan_path), parse_shapes(input_shapes), parse_kinds(kinds)
    parts = parse_part(held_out, "--held-out"), parse_part(stop, "--stop")
    source = open_model(given_model(model))
    with _kept(checkpoint), stages_bar() as progress:
        found = run(
            source, data, plan, epochs=epochs, views=views, step=step, rate=rate, held_out=parts[0], stop=parts[1],
            input_shapes=shapes, kinds=wanted, threads=threads, checkpoint=checkpoint, progress=progress,
        )  # fmt: skip

    from tse_onnx.distillation.schema import distil_json, report_text
    from tse_onnx.files.write import write_text

    if report_path is not None:
        write_text(report_path, report_text(found))
    outcome = put_plan(output, found.plan, source, shapes, wanted)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    if form == "json" and not to_stdout:
        print_json(distil_json(found))
        return
    from tse_onnx.report.distil import print_distillation
    from tse_onnx.report.page import page

    print_distillation(page(stderr=to_stdout), found, outcome)


class _kept:  # noqa: N801 - reads as a word
    """Says, where a run is interrupted, that it was not for nothing."""

    def __init__(self, checkpoint: Path | None) -> None:
        self._checkpoint = checkpoint

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        there = self._checkpoint is not None and self._checkpoint.exists()
        if isinstance(error, BaseException) and not isinstance(error, Exception) and there:
            error.args = (f"whole epochs are kept in {self._checkpoint}, and the same command goes on from there",)
