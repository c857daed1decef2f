"""`tse-onnx distil`: the numbers of a plan, trained against the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli import values
from tse_onnx.cli.data_options import data_options
from tse_onnx.cli.display import Display, display_options, quiet_option
from tse_onnx.cli.groups import group
from tse_onnx.cli.help import Command
from tse_onnx.cli.interruption import keeping, kept_in
from tse_onnx.cli.model_output import model_at
from tse_onnx.cli.options import given_model, input_shape_option, kinds_option, model_argument, threads_option
from tse_onnx.cli.output import OutputPath, is_stdout
from tse_onnx.cli.plan_output import plan_output_option, put_found_plan
from tse_onnx.cli.progress import stages_bar
from tse_onnx.cli.streaming_options import stores_options

if TYPE_CHECKING:
    from tse_onnx.data.choice import Data
    from tse_onnx.decision.inputs import InputShapes
    from tse_onnx.streaming.network.machine import Machine


_TRAINING = (
    click.option(
        "--epochs", type=click.IntRange(1, 10_000), default=3, show_default=True, metavar="N",
        help="How often the views are gone through; fewer, where samples set aside say that it is enough.",
    ),
    click.option(
        "--views", type=click.IntRange(1, 10**9), default=1000, show_default=True, metavar="N",
        help="Views of the samples in an epoch: crops and mixtures, none of which comes twice.",
    ),
    click.option(
        "--step", type=click.IntRange(1, 10**6), default=32, show_default=True, metavar="N", help="Views in one step."
    ),
    click.option(
        "--rate", type=click.FloatRange(0, 1, min_open=True), default=0.02, show_default=True, metavar="X",
        help="How far a number moves in a step at first, as a part of the size of its tensor.",
    ),
    click.option(
        "--train", type=click.Choice(["excite"]), metavar="excite",
        help="Train the weights of the excites as well; --model-output then has the model that the plan is for.",
    ),
    click.option(
        "--model-output", type=OutputPath(), metavar="FILE",
        help="Where the model with the trained weights goes, with --train excite.",
    ),
    click.option(
        "--held-out", callback=values.part, default="50%", show_default=True, metavar="PART",
        help="Part of the samples that is not trained on: with the same seed, what tune does not choose by.",
    ),
    click.option(
        "--stop", callback=values.part, default="30%", show_default=True, metavar="PART",
        help="Part of these that says when to stop; both plans are judged by the others.",
    ),
)  # fmt: skip


def _training(train: str | None, model_output: Path | None, **said: Any) -> Mapping[str, Any]:
    if (train is None) != (model_output is None):
        raise click.UsageError("--train excite and --model-output go together: the trained weights go there")
    return {"training": said | {"train": () if train is None else (train,)}, "model_output": model_output}


_training_options = group(_TRAINING, _training)
"""How numbers are trained: a command receives what `tse_onnx.distillation.distil.distil` takes, and where the model
with trained weights goes, None where there is none."""


@click.command(cls=Command)
@model_argument
@click.option(
    "--plan", "plan_path", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="The plan whose numbers are trained, as tune or plan writes it.",
)  # fmt: skip
@data_options
@plan_output_option
@_training_options
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), metavar="FILE",
    help="Where the training is kept after each epoch and where it is interrupted; the same command goes on there.  "
    "[default: the output's name with .checkpoint behind it; removed once the plan is written]",
)  # fmt: skip
@click.option("--no-checkpoint", is_flag=True, help="Keep no checkpoint.")
@input_shape_option
@kinds_option
@stores_options
@threads_option
@display_options(quiet_option, report="Write everything as JSON.")
def distil(
    model: Path,
    plan_path: Path,
    data: Data,
    output: Path | None,
    training: Mapping[str, Any],
    model_output: Path | None,
    checkpoint: Path | None,
    no_checkpoint: bool,
    input_shapes: InputShapes,
    kinds: frozenset[str],
    machine: Machine,
    threads: int,
    display: Display,
) -> None:
    """Train the slopes and offsets of a plan's running squeezes, so that the outputs of MODEL lose less at the same
    buffer. The original is the teacher: no labels are needed. Needs torch.

    With --train excite the weights of the excites are trained as well. They go into a copy of MODEL, --model-output,
    under the names that they have, and the plan is for that; MODEL itself is never changed.

    Both plans are judged on samples that had no part in it, and where training made nothing better, the plan that was
    given, and MODEL, are written as they were.

    \b
    Examples:
      tse-onnx tune model.onnx --data images/ --reduce 80% -o plan.toml
      tse-onnx distil model.onnx --plan plan.toml --data images/ -o new.toml
      tse-onnx convert model.onnx tiled.onnx --plan new.toml
      tse-onnx distil model.onnx --plan plan.toml --data images/ -o new.toml \\
          --train excite --model-output trained.onnx
    """
    if checkpoint is not None and no_checkpoint:
        raise click.UsageError("--checkpoint and --no-checkpoint exclude each other")
    if model_output is not None and model_output == output:
        raise click.UsageError("--model-output and --output name the same file: one is a model, the other a plan")
    if checkpoint is None and output is not None and not is_stdout(output) and not no_checkpoint:
        checkpoint = output.with_name(f"{output.name}.checkpoint")

    from tse_onnx.decision.plan import Plan
    from tse_onnx.distillation.distil import distil as run
    from tse_onnx.files.source import open_model

    plan, source = Plan.load(plan_path), open_model(given_model(model))
    with model_at(model_output, source) as put_model:
        with keeping(lambda: kept_in(checkpoint)), stages_bar() as progress:
            found = run(
                source, data, plan, input_shapes=input_shapes, kinds=kinds, machine=machine, threads=threads,
                checkpoint=checkpoint, progress=progress, **training,
            )  # fmt: skip
        from tse_onnx.report.distil import DistilView

        display.write(DistilView(found))
        model_put = put_model(found)
        planned = source if found.model is None else replace(source, model=found.model)
        outcome = put_found_plan(output, found.plan, planned, input_shapes, kinds)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    display.show(DistilView(found, f"{outcome} {model_put}".rstrip()), err=is_stdout(output))
