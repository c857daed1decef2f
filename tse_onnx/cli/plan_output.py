"""Where a command puts the plan that it made."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tse_onnx.decision.analysis import InputShapes
    from tse_onnx.decision.plan import Plan
    from tse_onnx.files.source import Source


def put_plan(
    output: Path | None, plan: Plan, source: Source, input_shapes: InputShapes | None, kinds: Collection[str]
) -> str:
    """Write a plan with a line for each block of the model, `-` being standard output; a sentence that says so."""
    if output is None:
        return "No plan was written: -o plan.toml writes it."
    from tse_onnx.conversion.convert import draft
    from tse_onnx.decision.plan_file import plan_text
    from tse_onnx.files.write import write_bytes

    made = draft(source, plan=plan, input_shapes=input_shapes, kinds=kinds).report
    text = plan_text(plan, (block.decision for block in made.buffering.blocks)).encode()
    if str(output) == "-":
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    else:
        write_bytes(output, text)
    return f"The plan was written to {'standard output' if str(output) == '-' else output}: convert --plan takes it."
