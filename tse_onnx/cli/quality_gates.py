"""Options that fail a job where a conversion is not worth enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli import values
from tse_onnx.cli.groups import group

if TYPE_CHECKING:
    from tse_onnx.conversion.quality_gates import QualityGates

_GATES = (
    click.option(
        "--max-buffer", callback=values.size, metavar="SIZE",
        help="Fail where the scales of the blocks hold back more than this after the conversion, as 512KiB.",
    ),
    click.option(
        "--max-memory", callback=values.size, metavar="SIZE",
        help="Fail where the whole network holds more than this at the least, on the machine that is named.",
    ),
    click.option(
        "--min-saved", callback=values.percent, metavar="PCT",
        help="Fail where less than PCT per cent of what the whole network holds is saved, or with --no-dataflow of "
        "what the scales hold back.",
    ),
)  # fmt: skip


def _gates(**bounds: Any) -> Mapping[str, QualityGates]:
    from tse_onnx.conversion.quality_gates import QualityGates

    return {"gates": QualityGates(**bounds)}


gates_options = group(_GATES, _gates)
"""Give a command the bounds on its verdict; it receives them as `QualityGates`."""


def require_dataflow(gates: QualityGates, dataflow: bool | None) -> None:
    """Refuse a bound on what is not counted."""
    if gates.max_memory is not None and dataflow is False:
        raise click.UsageError("--max-memory bounds what the whole network holds, which --no-dataflow does not count")
