"""Options and arguments that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli import completion, values
from tse_onnx.errors import ModelError
from tse_onnx.passes.reasons import printable

if TYPE_CHECKING:
    from tse_onnx.files.source import ModelLike
    from tse_onnx.passes.targets.target import Target

model_argument = click.argument("model", type=click.Path(path_type=Path, allow_dash=True))
kinds_option = click.option(
    "--kinds",
    callback=values.kinds,
    default="se",
    show_default=True,
    metavar="KIND[,KIND...]",
    help="Kinds of blocks: se, and its relatives ese (one convolution), eca (a window over the channels), ge (no "
    "weights), cbam (a mean and a maximum), split (gates for the branches of a sum), grn (a norm and its mean over the "
    "channels); or all. The paper measured se alone, so the others are converted only when asked for.",
)
input_shape_option = click.option(
    "--input-shape",
    "input_shapes",
    multiple=True,
    callback=values.shapes,
    metavar="[NAME:]DIMS",
    help="Bind an input with dynamic dimensions, as images:1,3,224,224; the name may be left out where there is one "
    "input. ? or a word keeps a dimension dynamic: images:N,3,224,224. May be repeated.",
)
preprocess_option = click.option(
    "--preprocess",
    default="unit",
    show_default=True,
    metavar="PRESET|FILE",
    help="What images become: unit (0 to 1), imagenet (that with ImageNet's mean and deviation), signed (-1 to 1), raw "
    "(0 to 255), caffe, torchvision, timm; or a .toml file that says it.",
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Seed of the noise."
)
threads_option = click.option(
    "--threads", type=click.IntRange(0, 1024), default=0, show_default=True, metavar="N",
    help="Threads of onnxruntime; 0 for as many as there are processors that may be used.",
)  # fmt: skip
time_limit_option = click.option(
    "--time-limit", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
    help="Fail where the checks take longer than this.",
)  # fmt: skip

target_option = click.option(
    "--target", metavar="NAME|FILE", shell_complete=completion.targets,
    help="Only what is within the limits of this compiler or device, a name that tse-onnx targets lists or a .toml "
    "file: a block of which no form is stays as it is.  [default: that of --plan, or none]",
)  # fmt: skip

alls_option = click.option(
    "--alls", type=click.Path(path_type=Path), metavar="FILE",
    help="Write the line of a model script by which Hailo's compiler tiles the original the same way: where the first "
    "blocks in order get one tile height, and no others. Otherwise fail, and write nothing.",
)  # fmt: skip


def say_note(target: Target | None) -> None:
    """Say on standard error what there is to say of a target."""
    if target is not None and target.note:
        click.echo(printable(f"Note on {target.name}: {target.note}."), err=True)


def given_model(path: Path) -> ModelLike:
    """The model that a command names; `-` is read from standard input."""
    if str(path) != "-":
        return path
    if sys.stdin is None:
        raise ModelError("cannot read standard input: it is closed")
    if sys.stdin.isatty():
        raise ModelError("a model is not read from a terminal: name a file, or send one in with < or |")
    from tse_onnx.files.source import from_stream

    return from_stream(sys.stdin.buffer, "standard input")
