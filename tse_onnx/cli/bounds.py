"""Options that fail a job where a model is too far from the original."""

from __future__ import annotations

import click

from tse_onnx.cli.groups import group

_BOUNDS = (
    click.option(
        "--min-agreement",
        type=click.FloatRange(0, 1),
        metavar="X",
        help="Fail where a model agrees with the original on less than this fraction of the samples, as 0.95.",
    ),
    click.option(
        "--max-kl",
        type=click.FloatRange(min=0),
        metavar="X",
        help="Fail where the mean divergence is more than X nats.",
    ),
    click.option(
        "--max-loss",
        type=click.FloatRange(max=100),
        metavar="X",
        help="Fail where a model loses more than X points of top-1 accuracy. Needs labels.",
    ),
    click.option(
        "--min-sqnr",
        type=float,
        metavar="X",
        help="Fail where the signal-to-noise ratio of an output is below X decibels.",
    ),
)


bound_options = group(_BOUNDS, lambda **bounds: {"bounds": bounds})
"""What a command is held to; it receives what `Evaluation.require` takes."""
