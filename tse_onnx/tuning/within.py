"""What of a menu is within the limits of a target: each choice for each block, in some form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from tse_onnx.conversion.fitting import fitted, fitting_of
from tse_onnx.conversion.plan_for import unfit_of
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.targets.target import Target
from tse_onnx.tuning.network import Network

Outside = tuple[tuple[Choice, str], ...]
"""Choices of which no form is within the limits, each with the reason."""


def outside_of(
    network: Network, offered: Mapping[str, Sequence[Choice | None]], target: Target
) -> Mapping[str, Outside]:
    """The choices for each block, by name, that `target` takes in no form.

    What one block is written as does not depend on the others, so as many are tried at once as there are blocks.
    """
    found: dict[str, list[tuple[Choice, str]]] = {name: [] for name in offered}
    fitting = fitting_of(target)
    for tried in zip_longest(*offered.values()):
        choices = {name: choice for name, choice in zip(offered, tried, strict=True) if choice is not None}
        made, _ = fitted(network.prepared(choices), fitting)
        for name, why in unfit_of(made.decisions).items():
            found[name].append((choices[name], why))
    return {name: tuple(outside) for name, outside in found.items()}
