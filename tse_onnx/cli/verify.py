"""`tse-onnx verify`: the proof of a converted model that lies on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli.checks_options import samples_options
from tse_onnx.cli.configuration import leave_out
from tse_onnx.cli.display import Display, display_options, quiet_option
from tse_onnx.cli.groups import given
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import given_model, input_shape_option, kinds_option, time_limit_option
from tse_onnx.cli.progress import progress_bar
from tse_onnx.cli.tiling import OPTION_NAMES, tiling_options

if TYPE_CHECKING:
    from tse_onnx.decision.inputs import InputShapes
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection


@click.command(cls=Command)
@click.argument("original", type=click.Path(path_type=Path, allow_dash=True))
@click.argument("converted", type=click.Path(path_type=Path, allow_dash=True))
@input_shape_option
@samples_options
@time_limit_option
@click.option(
    "--min-sqnr", type=float, metavar="X",
    help="Fail where a value is less than X decibels from the conversion's.  [default: 80, or 40 in half precision]",
)  # fmt: skip
@tiling_options
@kinds_option
@display_options(quiet_option)
@click.pass_context
def verify(
    ctx: click.Context,
    original: Path,
    converted: Path,
    input_shapes: InputShapes,
    samples: Mapping[str, Any],
    time_limit: float | None,
    min_sqnr: float | None,
    plan: Plan,
    selection: Selection,
    kinds: frozenset[str],
    display: Display,
) -> None:
    """Prove that CONVERTED, as it lies there, computes what a conversion of ORIGINAL does: after other tools have
    changed it, or before it is handed on.

    ORIGINAL is converted anew, as CONVERTED remembers or, where it has lost that, as the options of a tiling say. That
    conversion is verified, and both run on the same data. Where an output or a block differs by more than rounding, the
    exit code is 1. Nothing is written.

    \b
    Examples:
      tse-onnx verify model.onnx tiled.onnx
      tse-onnx verify model.onnx optimised.onnx --data images/
      tse-onnx verify model.onnx stripped.onnx --plan plan.toml
    """
    from tse_onnx.evaluation.verify import verify as proved
    from tse_onnx.report.verify import VerifyView

    if str(original) == str(converted) == "-":
        raise click.UsageError("one of the models comes from standard input; name a file for the other")
    said = given(ctx, (*OPTION_NAMES, "kinds"))
    if not said:
        leave_out(ctx, (*OPTION_NAMES, "kinds"))
    with progress_bar("comparing") as progress:
        proof = proved(
            given_model(original), given_model(converted), plan=plan if said else None, selection=selection,
            kinds=kinds, input_shapes=input_shapes, time_limit=time_limit, min_sqnr=min_sqnr, progress=progress,
            **samples,
        )  # fmt: skip
    display.show(VerifyView(proof))
    proof.require()
