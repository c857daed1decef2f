"""`tse-onnx stream`: what every tensor holds while a network streams, proved by running it row by row."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli.display import HTML, Display, display_options, quiet_option
from tse_onnx.cli.groups import group
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import (
    given_model,
    input_shape_option,
    model_argument,
    preprocess_option,
    seed_option,
    time_limit_option,
)
from tse_onnx.cli.streaming_options import (
    NETWORK_FILES,
    axes_options,
    machine_options,
    require_plot,
    tolerance_option,
)

if TYPE_CHECKING:
    from tse_onnx.decision.inputs import InputShapes
    from tse_onnx.passes.blocks.block import Block
    from tse_onnx.report.stream_plot import Axes
    from tse_onnx.streaming.execute.certificate import Progress
    from tse_onnx.streaming.network.machine import Machine


_RUN = (
    click.option(
        "--run/--no-run", "execute", default=True, show_default=True,
        help="Run the network row by row in the predicted room, and certify the figures.",
    ),
    click.option(
        "--data",
        type=click.Path(path_type=Path, exists=True),
        help="Run on the first sample of this: an .npz (arrays by input name), an .npy, or a folder of images. Seeded "
        "noise otherwise.",
    ),
    preprocess_option,
    seed_option,
    time_limit_option,
    tolerance_option,
    click.option(
        "--max-rows", type=click.IntRange(min=1), default=1_000_000, show_default=True, metavar="N",
        help="Refuse a run through more than N rows of all tensors together, which takes more than a minute or so.",
    ),
)  # fmt: skip
_run_options = group(_RUN, lambda **run: {"run": run})
"""What says whether and how a network is run; a command receives what `tse_onnx.streaming.stream.stream` takes."""


@click.command(cls=Command)
@model_argument
@input_shape_option
@_run_options
@machine_options
@click.option(
    "--axis", type=click.IntRange(0, 1), default=0, show_default=True, metavar="N",
    help="The spatial axis that maps stream along: 0 by rows, 1 by columns.",
)  # fmt: skip
@click.option(
    "--top", type=click.IntRange(min=0), default=12, show_default=True, metavar="N",
    help="Show the N tensors that hold most; 0 for all.",
)  # fmt: skip
@click.option(
    "--export", "export", type=click.Choice(["hls4ml", "finn", "json"]),
    help="Print the least depth of every FIFO as JSON instead, and run nothing: for hls4ml's io_stream, by names of "
    "its layers; for FINN's folding configuration, by the layers that join streams; or a list of the machine's edges.",
)  # fmt: skip
@axes_options
@display_options(quiet_option, **NETWORK_FILES, html=HTML)
def stream(
    model: Path,
    input_shapes: InputShapes,
    run: Mapping[str, Any],
    machine: Machine,
    axis: int,
    top: int,
    export: str | None,
    axes: Axes | None,
    display: Display,
) -> None:
    """Show what every tensor of MODEL holds while its input streams in row by row, and prove it by running it so.

    The run computes the network with real numbers, row by row, in stores of exactly the predicted size. It certifies
    that this completes; that without bounds every store peaks at the predicted row; that one row less anywhere halts
    it; and that every tensor equals onnxruntime's. If one of them does not hold, the exit code is 1.

    \b
    Examples:
      tse-onnx stream model.onnx
      tse-onnx stream model.onnx --no-run --grain pixel --bits 8
      tse-onnx stream model.onnx --data images/ --csv rows.csv
      tse-onnx stream model.onnx --no-run --latency 2 --latency /head/conv=8
      tse-onnx stream model.onnx --no-run --plot occupancy.svg
      tse-onnx stream model.onnx --no-run --machine board.toml
      tse-onnx stream model.onnx --export hls4ml > depths.json
      tse-onnx stream model.onnx --no-run --format json | jq .dataflow.totals
    """
    require_plot(axes, display)
    if export is not None:
        asked = {"--csv": display.csv, "--plot": display.plot, "--quiet": display.quiet}
        asked["--format"] = display.form == "markdown"
        if (other := next((name for name, value in asked.items() if value), None)) is not None:
            raise click.UsageError(f"--export prints JSON alone, without {other}")
        import json

        from tse_onnx.streaming.handover import handed_over

        click.echo(json.dumps(handed_over(given_model(model), export, input_shapes, machine, axis), indent=2))
        return
    from tse_onnx.files.source import open_model
    from tse_onnx.report.stream import StreamView
    from tse_onnx.streaming.stream import stream as streamed

    source = open_model(given_model(model))
    with _stages() as progress:
        found = streamed(source, input_shapes=input_shapes, machine=machine, axis=axis, progress=progress, **run)
    blocks: Sequence[Block] = ()
    if display.plot is not None:
        from tse_onnx.decision.analysis import analyse
        from tse_onnx.passes.blocks.block import KINDS

        blocks = analyse(source, input_shapes, KINDS).blocks
    view = StreamView(found, top, axes, blocks)
    display.write(view)
    display.show(view)
    if found.certificate is not None:
        found.certificate.require()


def _stages() -> contextlib.AbstractContextManager[Progress | None]:
    """Progress on standard error, where that is a terminal without a log."""
    import logging

    if logging.getLogger("tse_onnx").isEnabledFor(logging.INFO):
        return contextlib.nullcontext()
    from tse_onnx.cli.progress import stages_bar

    return stages_bar()
