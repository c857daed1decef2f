"""`tse-onnx report`: what the blocks and the whole network buffer, before and after, without writing a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.display import HTML, Display, display_options, quiet_option
from tse_onnx.cli.help import Command
from tse_onnx.cli.options import (
    given_model,
    input_shape_option,
    kinds_option,
    model_argument,
    say_note,
    target_option,
)
from tse_onnx.cli.quality_gates import gates_options, require_dataflow
from tse_onnx.cli.streaming_options import NETWORK_FILES, axes_options, machine_options, require_plot
from tse_onnx.cli.tiling import tiling_options
from tse_onnx.errors import ModelError

if TYPE_CHECKING:
    from tse_onnx.conversion.quality_gates import QualityGates
    from tse_onnx.decision.inputs import InputShapes
    from tse_onnx.decision.plan import Plan
    from tse_onnx.decision.selection import Selection
    from tse_onnx.report.stream_plot import Axes
    from tse_onnx.streaming.network.machine import Machine


@click.command(cls=Command)
@model_argument
@tiling_options
@input_shape_option
@kinds_option
@target_option
@click.option(
    "--dataflow/--no-dataflow", default=True, show_default=True,
    help="Add what the whole network holds while rows stream through it.",
)  # fmt: skip
@machine_options
@gates_options
@axes_options
@display_options(quiet_option, **NETWORK_FILES, html=HTML)
def report(
    model: Path,
    plan: Plan,
    selection: Selection,
    input_shapes: InputShapes,
    kinds: frozenset[str],
    target: str | None,
    dataflow: bool,
    machine: Machine,
    gates: QualityGates,
    axes: Axes | None,
    display: Display,
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
      tse-onnx report model.onnx --plan plan.toml --max-buffer 1.2MiB
    """
    require_plot(axes, display)
    require_dataflow(gates, dataflow)
    from dataclasses import replace

    from tse_onnx.conversion.convert import draft
    from tse_onnx.files.source import open_model
    from tse_onnx.report.convert import ReportView

    source = open_model(given_model(model))
    drafted = draft(source, plan=plan, selection=selection, input_shapes=input_shapes, kinds=kinds, target=target)
    made = drafted.streamed(machine) if dataflow or display.csv or display.plot else drafted.report
    if made.trouble and (display.csv or display.plot):
        raise ModelError(made.trouble)  # there is nothing to write or to draw
    made = replace(made, gates=gates)
    view = ReportView(made, "No model was written: this is what a conversion would do.", network=True, axes=axes)
    if all(judgement.passed for judgement in made.judgements):
        display.write(view, source.model, drafted.converted() if display.html else None)
    display.show(view)
    say_note(made.target)
    made.require()
