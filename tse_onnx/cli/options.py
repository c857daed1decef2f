"""Options and arguments that several commands share, and what their values become."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.errors import ModelError, UsageError
from tse_onnx.files.outputs import file_path

if TYPE_CHECKING:
    from tse_onnx.files.source import ModelLike
    from tse_onnx.passes.graph.types import Dim

_LARGEST_DIM = 2**63 - 1

Command = Callable[..., Any]

model_argument = click.argument("model", type=click.Path(path_type=Path, allow_dash=True))
kinds_option = click.option(
    "--kinds",
    default="se",
    show_default=True,
    metavar="KIND[,KIND...]",
    help="Kinds of blocks: se, and its relatives ese (one convolution), eca (a window over the channels), ge (no "
    "weights); or all. The paper measured se alone, so the others are converted only when asked for.",
)
input_shape_option = click.option(
    "--input-shape",
    "input_shapes",
    multiple=True,
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
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the noise."
)
threads_option = click.option(
    "--threads", type=click.IntRange(0, 1024), default=0, show_default=True, metavar="N",
    help="Threads of onnxruntime; 0 for as many as there are processors that may be used.",
)  # fmt: skip
time_limit_option = click.option(
    "--time-limit", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
    help="Fail where the checks take longer than this.",
)  # fmt: skip
format_option = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="What to print: on standard output, or on standard error where that has the output.",
)  # fmt: skip


class OutputPath(click.Path):
    """A file to be written; what is spelled as a directory is refused."""

    def __init__(self, *, allow_dash: bool = False) -> None:
        super().__init__(path_type=Path, allow_dash=allow_dash)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; `ModelError` as `file_path` raises it."""
        file_path(value)
        return super().convert(value, param, ctx)


def parse_shapes(values: Iterable[str]) -> dict[str, tuple[Dim, ...]]:
    """The values of `--input-shape` as a mapping; the name "" stands for the only input."""
    shapes: dict[str, tuple[Dim, ...]] = {}
    for value in values:
        name, _, dims = value.rpartition(":")
        if name in shapes:
            raise click.BadParameter(f"{name or 'the only input'} is given twice", param_hint="--input-shape")
        shapes[name] = tuple(_dim(part.strip(), value) for part in dims.split(","))
    return shapes


def _dim(text: str, whole: str) -> Dim:
    if text.isdecimal() and 0 < int(text) <= _LARGEST_DIM:
        return int(text)
    if text == "?":
        return None
    if text.isidentifier():
        return text
    raise click.BadParameter(
        f"{whole!r} is not [NAME:]DIMS: {text!r} should be a positive number, ? or a word", param_hint="--input-shape"
    )


def parse_kinds(text: str) -> frozenset[str]:
    """The value of `--kinds` as a set."""
    from tse_onnx.passes.blocks.block import KINDS

    kinds = frozenset(part.strip() for part in text.split(",") if part.strip())
    if kinds == {"all"}:
        return frozenset(KINDS)
    if not kinds or not kinds <= KINDS.keys():
        raise click.BadParameter(f"{text!r} is not a list of {', '.join(KINDS)}, or all", param_hint="--kinds")
    return kinds


def parse_part(text: str, option: str) -> float:
    """A fraction, as 75% or 0.75."""
    matched = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(%?)", text.strip())
    found = float(matched[1]) / (100 if matched[2] else 1) if matched else 2.0
    if not 0 <= found <= 1:
        raise click.BadParameter(f"{text!r} is no part of a whole, as 75% or 0.75", param_hint=option)
    return found


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


def refuse_terminal() -> None:
    """Raise `UsageError` where a model for standard output would be shown on a terminal."""
    if sys.stdout.isatty():
        raise UsageError("a model is not written to a terminal: name a file, or send it on with > or |")


def print_json(value: object, err: bool = False) -> None:
    """One JSON object on standard output, or on standard error: in ASCII, so that no name in it can steer a terminal or
    break an encoding."""
    import json

    click.echo(json.dumps(value, indent=2, allow_nan=False), err=err)
