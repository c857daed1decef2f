"""`tse-onnx stream`: what every tensor holds while a network streams, proved by running it row by row."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.options import (
    format_option,
    given_model,
    input_shape_option,
    model_argument,
    parse_shapes,
    preprocess_option,
    print_json,
    seed_option,
    time_limit_option,
)
from tse_onnx.cli.streaming_options import (
    back_to_back_option,
    bits_option,
    csv_option,
    grain_option,
    latency_option,
    machine_of,
    plot_option,
    power_of_two_option,
    storage_option,
    tolerance_option,
)

if TYPE_CHECKING:
    from tse_onnx.streaming.execute.certificate import Progress


@click.command()
@model_argument
@input_shape_option
@click.option(
    "--run/--no-run", "execute", default=True, show_default=True,
    help="Run the network row by row in the predicted room, and certify the figures.",
)  # fmt: skip
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="Run on the first sample of this: an .npz (arrays by input name), an .npy, or a folder of images. Seeded "
    "noise otherwise.",
)
@preprocess_option
@seed_option
@time_limit_option
@tolerance_option
@click.option(
    "--max-rows", type=click.IntRange(min=1), default=1_000_000, show_default=True, metavar="N",
    help="Refuse a run through more than N rows of all tensors together, which takes more than a minute or so.",
)  # fmt: skip
@grain_option
@storage_option
@power_of_two_option
@bits_option
@back_to_back_option
@latency_option
@click.option(
    "--top", type=click.IntRange(min=0), default=12, show_default=True, metavar="N",
    help="Show the N tensors that hold most; 0 for all.",
)  # fmt: skip
@csv_option
@plot_option
@format_option
def stream(
    model: Path,
    input_shapes: tuple[str, ...],
    execute: bool,
    data: Path | None,
    preprocess: str,
    seed: int,
    time_limit: float | None,
    tolerance: float | None,
    max_rows: int,
    grain: str,
    storage: str,
    power_of_two: bool,
    bits: int | None,
    back_to_back: bool,
    latency: tuple[str, ...],
    top: int,
    csv_path: Path | None,
    plot_path: Path | None,
    form: str,
) -> None:
    """Show what every tensor of MODEL holds while its input streams in row by row, and prove it by running it so.

    The run computes the network with real numbers, row by row, in stores of exactly the predicted size. It certifies
    that this completes; that without bounds every store peaks at the predicted row; that one row less anywhere halts
    it; and that every tensor equals onnxruntime's. If one of them does not hold, the exit code is 1.

    \b
    Examples:
      tse-onnx stream model.onnx
      tse-onnx stream model.onnx --no-run --grain pixel --bits 8
      tse-onnx stream model.onnx --data images/ --preprocess imagenet --csv rows.csv
      tse-onnx stream model.onnx --no-run --storage per-reader --power-of-two --latency 2 --latency /head/conv=8
      tse-onnx stream model.onnx --no-run --plot occupancy.svg
      tse-onnx stream model.onnx --no-run --format json | jq .dataflow.totals
    """
    from tse_onnx.streaming.stream import stream as run

    machine = machine_of(grain, storage, power_of_two, bits, back_to_back, latency)
    with _stages() as progress:
        found = run(
            given_model(model),
            input_shapes=parse_shapes(input_shapes),
            machine=machine,
            execute=execute,
            data=data,
            preprocess=preprocess,
            seed=seed,
            time_limit=time_limit,
            tolerance=tolerance,
            max_rows=max_rows,
            progress=progress,
        )
    if csv_path is not None:
        from tse_onnx.files.write import write_text
        from tse_onnx.streaming.schema import stream_csv

        write_text(csv_path, stream_csv(network=found.dataflow))
    if plot_path is not None:
        from tse_onnx.report.stream_plot import draw

        draw(plot_path, [(found.dataflow.model, found.timeline())])
    if form == "json":
        from tse_onnx.streaming.schema import stream_json

        print_json(stream_json(found.dataflow, found.certificate))
    else:
        from tse_onnx.report.page import page
        from tse_onnx.report.stream import print_certificate, print_dataflow

        paper = page()
        print_dataflow(paper, found.dataflow, top)
        if found.certificate is not None:
            print_certificate(paper, found.certificate)
    if found.certificate is not None:
        found.certificate.require()


def _stages() -> contextlib.AbstractContextManager[Progress | None]:
    """Progress on standard error, where that is a terminal without a log."""
    if logging.getLogger("tse_onnx").isEnabledFor(logging.INFO):
        return contextlib.nullcontext()
    from tse_onnx.cli.progress import stages_bar

    return stages_bar()
