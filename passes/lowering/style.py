"""How a form is written in ONNX: one function for each class of forms, and the choice among equivalent ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.graph.scope import Scope


@dataclass(frozen=True)
class Style:
    """Which of several equivalent forms is written: the first of `SPREADS` and of `MEANS` that can be, unless
    `upsample` and `means` name one that can be as well. With `folding` a frozen gate goes into the weights of a
    convolution beside it, unless that convolution or the scale is `shared`, in that another block's edit reads what it
    makes, copies it, or bears its record there."""

    upsample: str = ""
    means: str = ""
    folding: bool = True
    shared: frozenset[int] = frozenset()


@singledispatch
def lowering(form: object, block: Convertible, scope: Scope, taken: set[str], style: Style) -> Edit:
    """The edit that gives `block` a form. Each class of forms registers its own."""
    raise NotImplementedError(f"nothing lowers {form!r}")
