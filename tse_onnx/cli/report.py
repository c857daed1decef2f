"""`tse-onnx report`: what the blocks and the whole network buffer, before and after, without writing a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.options import (
    format_option,
    given_model,
    input_shape_option,
    kinds_option,
    model_argument,
    parse_kinds,
    parse_shapes,
    print_json,
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
)
from tse_onnx.cli.tiling import tiling_options
from tse_onnx.errors import ModelError
from tse_onnx.passes.reasons import printable

if TYPE_CHECKING:
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection


@click.command()
@model_argument
@tiling_options
@input_shape_option
@kinds_option
@click.option(
    "--dataflow/--no-dataflow", default=True, show_default=True,
    help="Add what the whole network holds while rows stream through it.",
)  # fmt: skip
@grain_option
@storage_option
@power_of_two_option
@bits_option
@back_to_back_option
@latency_option
@csv_option
@plot_option
@format_option
def report(
    model: Path,
    plan: Plan,
    selection: Selection,
    input_shapes: tuple[str, ...],
    kinds: str,
    dataflow: bool,
    grain: str,
    storage: str,
    power_of_two: bool,
    bits: int | None,
    back_to_back: bool,
    latency: tuple[str, ...],
    csv_path: Path | None,
    plot_path: Path | None,
    form: str,
) -> None:
    """Show what the squeeze-and-excite blocks of MODEL buffer, and what they would with tiles; then what the whole
    network holds, before and after: line buffers, skip connections, everything.

    MODEL is an ONNX file, or - for standard input. No model is written.

    \b
    Examples:
      tse-onnx report model.onnx --rows 7
      tse-onnx report model.onnx --rows 3 --input-shape images:1,3,384,384
      tse-onnx report model.onnx --squeeze running --rows 3
      tse-onnx report model.onnx --bits 8 --csv tensors.csv --plot occupancy.svg
      tse-onnx report model.onnx --no-dataflow --format json | jq .totals
    """
    from tse_onnx.conversion.convert import draft
    from tse_onnx.conversion.schema import report_json
    from tse_onnx.files.source import open_model

    machine = machine_of(grain, storage, power_of_two, bits, back_to_back, latency)
    source = open_model(given_model(model))
    shapes = parse_shapes(input_shapes)
    chosen = parse_kinds(kinds)
    drafted = draft(source, plan=plan, selection=selection, input_shapes=shapes, kinds=chosen)
    made = drafted.report
    comparison, trouble = None, ""
    if dataflow or csv_path is not None or plot_path is not None:
        from tse_onnx.streaming.compare import compare

        try:
            types = drafted.made.analysis.main.types
            comparison = compare(source, drafted.converted(), input_shapes=shapes, machine=machine, types=types)
        except ModelError as error:
            # The blocks' own figures need less than the network's. Asked for a file of these, say why there is none.
            if csv_path is not None or plot_path is not None:
                raise
            trouble = str(error)
    if comparison is not None and csv_path is not None:
        from tse_onnx.files.write import write_text
        from tse_onnx.streaming.schema import stream_csv

        write_text(csv_path, stream_csv(before=comparison.before, after=comparison.after))
    if comparison is not None and plot_path is not None:
        from tse_onnx.report.stream_plot import draw

        before, after = comparison.timelines()
        title = Path(made.model).stem
        draw(plot_path, [(f"{title}: squeeze-and-excite", before), ("with " + _planned(made.plan), after)])
    if form == "json":
        print_json(report_json(made, comparison))
        return
    from tse_onnx.report.convert import print_report
    from tse_onnx.report.page import page
    from tse_onnx.report.stream import print_change

    paper = page()
    print_report(paper, made, "No model was written: this is what a conversion would do.")
    if comparison is not None:
        print_change(paper, comparison.before, comparison.after)
    elif trouble:
        click.echo(f"No figures of the whole network: {printable(trouble)}")


def _planned(plan: Plan) -> str:
    if any(choice != plan.default for choice in plan.choices.values()) or plan.default is None:
        return "tiles as planned"
    return str(plan.default)
