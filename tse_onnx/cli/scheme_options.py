"""Options that say how a network is quantised."""

from __future__ import annotations

import click

calibration_option = click.option(
    "--calibration", type=click.Choice(["percentile", "minmax", "entropy"]), default="percentile", show_default=True,
    help="How the range of a value is taken from data: what 99.99 % of its numbers lie in, all that was seen, or what "
    "loses the least information.",
)  # fmt: skip
operators_option = click.option(
    "--operators", type=click.Choice(["convolutions", "all"]), default="convolutions", show_default=True,
    help="What is quantised: convolutions, by their inputs and weights, or every operator that onnxruntime knows, with "
    "its outputs.",
)  # fmt: skip
