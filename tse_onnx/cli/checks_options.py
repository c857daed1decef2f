"""Options that say how a conversion is checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli.groups import group
from tse_onnx.cli.options import preprocess_option, seed_option, threads_option, time_limit_option
from tse_onnx.cli.streaming_options import tolerance_option

if TYPE_CHECKING:
    from tse_onnx.verification.checks import Checks

_SAMPLES = (
    click.option(
        "--data",
        type=click.Path(path_type=Path, exists=True),
        help="Verify on these: an .npz (arrays by input name), an .npy, or a folder of images. Seeded noise otherwise.",
    ),
    preprocess_option,
    seed_option,
    threads_option,
)
samples_options = group(_SAMPLES, lambda **samples: {"samples": samples})
"""Give a command the options of what models run on; it receives what the library's calls name the same."""

_OPTIONS = (
    click.option("--verify/--no-verify", default=True, show_default=True, help="Check the result with onnxruntime."),
    *_SAMPLES,
    click.option(
        "--max-drift",
        type=click.FloatRange(min=0),
        metavar="X",
        help="Fail where an output of the model changes by more than X.",
    ),
    time_limit_option,
    click.option(
        "--certify", is_flag=True, help="Run the result row by row in the room that the dataflow model predicts."
    ),
    tolerance_option,
)


def _checks(**said: Any) -> Mapping[str, Checks]:
    from tse_onnx.verification.checks import Checks

    return {"checks": Checks(**said)}


checks_options = group(_OPTIONS, _checks)
"""Give a command the options of what is checked; it receives them as `Checks`."""
