"""How a form is written in ONNX: one function for each class of forms, and the choice among equivalent ways."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import singledispatch

from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.graph.scope import Scope


class Upsample(Enum):
    """How gates are spread.

    `RESIZE` is a nearest Resize by integer scales, cropped where the last tile is cut short: Resize to `sizes` would
    shift the tiles wherever the tile does not divide the map, so it is never used. `GATHER` picks the gate of each row
    by a constant index. `EXPAND` repeats each gate by broadcasting.
    """

    RESIZE = "resize"
    GATHER = "gather"
    EXPAND = "expand"


class Means(Enum):
    """How the means of a running squeeze are computed from the means of the rows.

    `MATMUL` multiplies them by a constant lower trapezoid; `CUMSUM` adds them up, picks the sums that matter and
    divides.
    """

    MATMUL = "matmul"
    CUMSUM = "cumsum"


@dataclass(frozen=True)
class Style:
    """Which of several equivalent forms is written: `upsample` spreads gates, `means` computes those of a running
    squeeze; with `folding` a frozen gate goes into the weights of a convolution beside it, unless that convolution or
    the scale is `shared`, in that another block's edit reads what it makes, or copies it."""

    upsample: Upsample = Upsample.RESIZE
    means: Means = Means.MATMUL
    folding: bool = True
    shared: frozenset[int] = frozenset()


@singledispatch
def lowering(form: object, block: Convertible, scope: Scope, taken: set[str], style: Style) -> Edit:
    """The edit that gives `block` a form. Each class of forms registers its own."""
    raise NotImplementedError(f"nothing lowers {form!r}")
