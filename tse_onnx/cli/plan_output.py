"""Where a command puts the plan that it made."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tse_onnx.cli.output import OutputPath, is_stdout, pour, words

if TYPE_CHECKING:
    from tse_onnx.conversion.report import Report
    from tse_onnx.decision.inputs import InputShapes
    from tse_onnx.decision.plan import Plan
    from tse_onnx.files.source import Source

plan_output_option = click.option(
    "-o", "--output", type=OutputPath(allow_dash=True), metavar="FILE",
    help="Write the plan, for convert --plan; - is standard output (the report then goes to standard error).",
)  # fmt: skip


def put_plan(output: Path, report: Report) -> str:
    """Write the plan of a report with a line for each block, `-` being standard output; a sentence that says so."""
    from tse_onnx.decision.plan_file import plan_text

    # TOML is UTF-8, whatever the terminal's encoding.
    text = plan_text(report.plan, (block.decision for block in report.buffering.blocks)).encode()
    if is_stdout(output):
        pour(text)
    else:
        from tse_onnx.files.write import write_bytes

        write_bytes(output, text)
    return f"The plan was written to {words(output)}: convert --plan takes it."


def put_found_plan(
    output: Path | None, plan: Plan, source: Source, input_shapes: InputShapes | None, kinds: Collection[str]
) -> str:
    """The same for a plan that was found for a model, where an output is named."""
    if output is None:
        return "No plan was written: -o plan.toml writes it."
    from tse_onnx.conversion.convert import draft

    return put_plan(output, draft(source, plan=plan, input_shapes=input_shapes, kinds=kinds).report)
