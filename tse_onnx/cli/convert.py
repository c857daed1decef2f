"""`tse-onnx convert`: rewrite, verify, report."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.options import (
    OutputPath,
    format_option,
    given_model,
    input_shape_option,
    kinds_option,
    model_argument,
    parse_kinds,
    parse_shapes,
    preprocess_option,
    print_json,
    refuse_terminal,
    seed_option,
    threads_option,
    time_limit_option,
)
from tse_onnx.cli.streaming_options import tolerance_option
from tse_onnx.cli.tiling import tiling_options

if TYPE_CHECKING:
    from tse_onnx.conversion.convert import ConvertResult
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection


@click.command()
@model_argument
@click.argument("output", type=OutputPath(allow_dash=True))
@tiling_options
@click.option(
    "--retile",
    is_flag=True,
    help="Restore blocks that are tiled already, and convert the original anew. They are left alone otherwise.",
)
@input_shape_option
@click.option(
    "--dynamic",
    is_flag=True,
    help="Keep dynamic heights and widths in the written model: strips of rows are computed for any size, and "
    "--input-shape only says which size to report and verify for.",
)
@kinds_option
@click.option(
    "--upsample",
    type=click.Choice(["resize", "gather", "expand"]),
    default="resize",
    show_default=True,
    help="How gates are spread over their tiles, for compilers that do not know all three.",
)
@click.option(
    "--means",
    type=click.Choice(["matmul", "cumsum"]),
    default="matmul",
    show_default=True,
    help="How the means of a running squeeze are computed.",
)
@click.option("--verify/--no-verify", default=True, show_default=True, help="Check the result with onnxruntime.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="Verify on these: an .npz (arrays by input name), an .npy, or a folder of images. Seeded noise otherwise.",
)
@preprocess_option
@seed_option
@click.option(
    "--max-drift",
    type=click.FloatRange(min=0),
    metavar="X",
    help="Fail where an output of the model changes by more than X.",
)
@click.option("--expect", type=click.IntRange(min=0), metavar="N", help="Fail unless N blocks are converted.")
@threads_option
@time_limit_option
@click.option("--report", "report_path", type=OutputPath(), metavar="FILE", help="Write the report as JSON.")
@click.option("--certify", is_flag=True, help="Run the result row by row in the room that the dataflow model predicts.")
@tolerance_option
@format_option
def convert(
    model: Path,
    output: Path,
    plan: Plan,
    selection: Selection,
    retile: bool,
    input_shapes: tuple[str, ...],
    dynamic: bool,
    kinds: str,
    upsample: str,
    means: str,
    verify: bool,
    data: Path | None,
    preprocess: str,
    seed: int,
    max_drift: float | None,
    expect: int | None,
    threads: int,
    time_limit: float | None,
    report_path: Path | None,
    certify: bool,
    tolerance: float | None,
    form: str,
) -> None:
    """Tile the squeeze-and-excite blocks of MODEL, by default into strips of rows, and write the result to OUTPUT.

    The result is checked first: every block against the original run on each tile, everything else byte for byte. If a
    check fails, the exit code is 1 and nothing is written. OUTPUT may be MODEL itself; - stands for standard input and
    output (the report then goes to standard error).

    \b
    Examples:
      tse-onnx convert model.onnx tiled.onnx --rows 7
      tse-onnx convert model.onnx tiled.onnx --data images/ --preprocess imagenet --report report.json
      tse-onnx convert model.onnx tiled.onnx --squeeze running --rows 3
      tse-onnx convert model.onnx tiled.onnx --rows 7 --rows 112:3 --exclude '*stage4*'
      tse-onnx convert model.onnx tiled.onnx --plan plan.toml
      tse-onnx convert model.onnx tiled.onnx --certify --report report.json
      tse-onnx convert model.onnx model.onnx --expect 16 --max-drift 0.5
    """
    from tse_onnx.conversion.convert import convert as run

    to_stdout = str(output) == "-"
    if to_stdout:
        refuse_terminal()
    with contextlib.ExitStack() as stack:
        logged = logging.getLogger("tse_onnx").isEnabledFor(logging.INFO)  # lines between which nothing should turn
        if verify and sys.stderr.isatty() and not logged and not os.environ.get("NO_COLOR"):
            from rich.console import Console

            stack.enter_context(Console(stderr=True).status("converting and verifying"))
        result = run(
            given_model(model),
            None if to_stdout else output,
            plan=plan,
            selection=selection,
            retile=retile,
            input_shapes=parse_shapes(input_shapes),
            dynamic=dynamic,
            kinds=parse_kinds(kinds),
            upsample=upsample,
            means=means,
            verify=verify,
            data=data,
            preprocess=preprocess,
            seed=seed,
            max_drift=max_drift,
            expect=expect,
            threads=threads,
            time_limit=time_limit,
            certify=certify,
            tolerance=tolerance,
            report=report_path,
        )
    if to_stdout:
        sys.stdout.buffer.write(result.serialized())
        sys.stdout.buffer.flush()
    if form == "json":
        from tse_onnx.conversion.schema import report_json

        print_json(report_json(result.report), err=to_stdout)
    else:
        from tse_onnx.report.convert import print_report
        from tse_onnx.report.page import page

        print_report(page(stderr=to_stdout), result.report, _outcome(result, output))


def _outcome(result: ConvertResult, output: Path) -> str:
    totals = result.report.buffering.totals
    where = "standard output" if str(output) == "-" else str(output)
    if not totals.converted:
        written = "written with its inputs bound" if result.report.input_shapes else "written unchanged"
        if any(decision.block.tiled for decision in result.blocks):
            return f"No block was left to tile; the model was {written} to {where}."
        if totals.unchanged:
            return f"No block is taller than a tile; the model was {written} to {where}."
        if any(decision.block.refusal is None for decision in result.blocks):
            return f"No block could be converted; the model was {written} to {where}."
        return f"No squeeze-and-excite block was found; the model was {written} to {where}."
    checked = "" if result.verification is not None else " without verification"
    blocks = f"{totals.converted} block" + ("" if totals.converted == 1 else "s")
    return f"Converted {blocks}, buffer down by {100 * totals.reduction:.1f} %; written{checked} to {where}."
