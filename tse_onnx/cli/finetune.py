"""`tse-onnx finetune`: the weights of a network with tiles, trained against the original or by labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli import values
from tse_onnx.cli.bounds import bound_options
from tse_onnx.cli.data_options import training_data_options
from tse_onnx.cli.display import Display, display_options, quiet_option
from tse_onnx.cli.groups import group
from tse_onnx.cli.help import Command
from tse_onnx.cli.interruption import keeping, kept_in
from tse_onnx.cli.options import given_model, input_shape_option, kinds_option, model_argument, threads_option
from tse_onnx.cli.output import OutputPath
from tse_onnx.cli.progress import stages_bar
from tse_onnx.cli.quality_gates import gates_options
from tse_onnx.cli.streaming_options import stores_options
from tse_onnx.cli.tiling import tiling_options

if TYPE_CHECKING:
    from tse_onnx.conversion.quality_gates import QualityGates
    from tse_onnx.data.choice import Data
    from tse_onnx.decision.inputs import InputShapes
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection
    from tse_onnx.streaming.network.machine import Machine


_TRAINING = (
    click.option(
        "--train", multiple=True, metavar="excite|norms|all|PATTERN", default=("all",), show_default="all",
        help="What is trained: the weights of the excites; scales and offsets of normalisations and biases of "
        "convolutions; all weights; initializers by name, or those that match a pattern with *. May be repeated.",
    ),
    click.option(
        "--epochs", type=click.IntRange(1, 10_000), default=5, show_default=True, metavar="N",
        help="Epochs; fewer, where samples set aside say that it is enough.",
    ),
    click.option(
        "--steps", type=click.IntRange(1, 10**9), metavar="N",
        help="Steps in an epoch.  [default: as many as show each sample once, and 1000 views at the least]",
    ),
    click.option(
        "--batch", type=click.IntRange(1, 10**6), default=32, show_default=True, metavar="N", help="Views in one step."
    ),
    click.option(
        "--lr", type=click.FloatRange(0, 1, min_open=True), default=0.002, show_default=True, metavar="X",
        help="How far a number moves in a step at first, as a part of the size of its tensor.",
    ),
    click.option(
        "--patience", type=click.IntRange(1, 10_000), default=2, show_default=True, metavar="N",
        help="Stop after N epochs that are no better than the best, on samples set aside.",
    ),
    click.option(
        "--label-weight", type=click.FloatRange(0, 1), default=0.0, show_default=True, metavar="X",
        help="The share that labels have of the loss: 0 is the original alone, 1 the labels alone.",
    ),
    click.option(
        "--output-loss", "losses", multiple=True, metavar="OUTPUT=LOSS",
        help="What counts of an output: kl, kl:AXIS (classes along an axis), mse, l1 or none. May be repeated.  "
        "[default: the divergence of classes and the error of everything else]",
    ),
    click.option(
        "--feature-weight", type=click.FloatRange(min=0), default=0.5, show_default=True, metavar="X",
        help="Weight of the error of what the blocks make, in the loss.",
    ),
    click.option(
        "--vary/--no-vary", default=True, show_default=True,
        help="Show crops and mixtures of the samples, or the samples as they are.",
    ),
    click.option(
        "--held-out", callback=values.part, default="50%", show_default=True, metavar="PART",
        help="Part of the samples that is not trained on: with the same seed, what tune does not choose by.",
    ),
    click.option(
        "--stop", callback=values.part, default="30%", show_default=True, metavar="PART",
        help="Part of these that says when to stop; both models are judged by the others.",
    ),
    click.option(
        "--device", default="auto", show_default=True, metavar="NAME",
        help="What torch trains on: cpu, cuda, cuda:1; auto is a GPU where there is one.",
    ),
    click.option(
        "--precision", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto", show_default=True,
        metavar="NAME",
        help="What products are computed in while training: float32, bfloat16 or float16; auto is half precision on a "
        "GPU and float32 elsewhere.",
    ),
)  # fmt: skip


def _training(losses: Iterable[str], **said: Any) -> Mapping[str, Any]:
    found = {}
    for text in losses:
        name, separator, loss = text.rpartition("=")
        if not (separator and name and loss):
            raise click.BadParameter(f"{text!r} is not OUTPUT=LOSS, as logits=kl", param_hint="--output-loss")
        found[name] = loss
    return {"training": said | {"losses": found}}


_training_options = group(_TRAINING, _training)
"""How weights are trained: a command receives what `tse_onnx.finetuning.finetune.finetune` takes."""


@click.command(cls=Command)
@model_argument
@click.argument("output", type=OutputPath())
@tiling_options
@training_data_options
@_training_options
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), metavar="FILE",
    help="Where the training is kept after each epoch and where it is interrupted; the same command goes on there.  "
    "[default: the output's name with .checkpoint behind it; removed once the output is written]",
)  # fmt: skip
@click.option("--no-checkpoint", is_flag=True, help="Keep no checkpoint.")
@input_shape_option
@kinds_option
@click.option("--verify/--no-verify", default=True, show_default=True, help="Check the result with onnxruntime.")
@bound_options
@gates_options
@stores_options
@threads_option
@display_options(quiet_option, report="Write everything as JSON.")
def finetune(
    model: Path,
    output: Path,
    plan: Plan,
    selection: Selection,
    data: Data,
    training: Mapping[str, Any],
    checkpoint: Path | None,
    no_checkpoint: bool,
    input_shapes: InputShapes,
    kinds: frozenset[str],
    verify: bool,
    bounds: Mapping[str, Any],
    gates: QualityGates,
    machine: Machine,
    threads: int,
    display: Display,
) -> None:
    """Convert MODEL as convert does, train the weights of the result so that its outputs are as near as they can be to
    those of MODEL, and write it to OUTPUT. MODEL is the teacher: no labels are needed, and they can be used. Needs
    torch; its launcher, torchrun, has several processes train together.

    Trained weights go back into their initializers, everything else is the conversion's, byte for byte, and that is
    verified. Both models are judged on samples that had no part in the training; where it made nothing better, the
    conversion with the weights of MODEL is written. Where a bound is broken, the exit code is 1 and nothing is.

    \b
    Examples:
      tse-onnx finetune model.onnx tuned.onnx --rows 7 --data images/
      tse-onnx finetune model.onnx tuned.onnx --plan plan.toml --data images/ \\
          --train excite --train '*bn*'
      tse-onnx finetune model.onnx tuned.onnx --plan plan.toml --data train/ \\
          --label-weight 0.5 --max-loss 0.5
      torchrun --nproc-per-node 4 -m tse_onnx finetune model.onnx tuned.onnx \\
          --data images/ --batch 256
    """
    if checkpoint is not None and no_checkpoint:
        raise click.UsageError("--checkpoint and --no-checkpoint exclude each other")
    if checkpoint is None and not no_checkpoint:
        checkpoint = output.with_name(f"{output.name}.checkpoint")

    from tse_onnx.finetuning.finetune import finetune as run
    from tse_onnx.report.finetune import FinetuneView

    with keeping(lambda: kept_in(checkpoint)), stages_bar() as progress:
        found = run(
            given_model(model), output, data=data, plan=plan, selection=selection, verify=verify, bounds=bounds,
            gates=gates, input_shapes=input_shapes, kinds=kinds, machine=machine, threads=threads,
            checkpoint=checkpoint, progress=progress, **training,
        )  # fmt: skip
    if found.path is None:
        return  # of several processes the first one writes and speaks
    display.write(FinetuneView(found))
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    display.show(FinetuneView(found))
