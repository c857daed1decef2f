"""What is counted, and how: published tables differ in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tse_onnx.errors import UsageError
from tse_onnx.files.toml import did_you_mean
from tse_onnx.passes.reasons import quoted


@dataclass(frozen=True)
class Convention:
    """How layers are counted.

    * `weighted`: only layers that multiply by weights are listed.
    * `bias`: each of these has a bias, whether or not the model states one, and adding it counts as a
    multiply-accumulate
      for every element of the output.
    * `activation_bytes`: bytes of an activation's element; None takes its own type.
    """

    name: str
    title: str
    weighted: bool = False
    bias: bool = False
    activation_bytes: int | None = None


CONVENTIONS: Mapping[str, Convention] = {
    each.name: each
    for each in (
        Convention("onnx", "every layer as the model states it; a bias costs nothing"),
        Convention(
            "squeezenext",
            "convolutions and products alone, each with a bias that counts; activations in single precision",
            weighted=True,
            bias=True,
            activation_bytes=4,
        ),
    )
}


def convention_of(value: str | Convention) -> Convention:
    """The convention that a name means. Raises `UsageError` where there is none."""
    if isinstance(value, Convention):
        return value
    if value in CONVENTIONS:
        return CONVENTIONS[value]
    hint = did_you_mean(str(value), CONVENTIONS)
    raise UsageError(
        f"a convention is {' or '.join(CONVENTIONS)}, not {quoted(str(value))}" + (f"; {hint}" if hint else "")
    )
