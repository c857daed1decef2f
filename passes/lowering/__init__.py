"""Lower a block to ONNX: what takes the place of which node, for each form that a choice comes to."""

from __future__ import annotations

from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.choice import Form
from tse_onnx.passes.blocks.tiling import OpenStrips
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.lowering import freeze, previous, recompute, tiles  # noqa: F401 - each registers what it lowers
from tse_onnx.passes.lowering.spread import SPREADS, Spread
from tse_onnx.passes.lowering.squeeze import MEANS, Means
from tse_onnx.passes.lowering.style import Style, lowering
from tse_onnx.passes.lowering.tiles import pairs
from tse_onnx.passes.lowering.way import Case, Needs, Way

__all__ = ["MEANS", "SPREADS", "Case", "Means", "Needs", "Spread", "Style", "Way", "lower", "pairs"]

_DEFAULT = Style()


def lower(block: Convertible, form: Form | OpenStrips, scope: Scope, taken: set[str], style: Style = _DEFAULT) -> Edit:
    """The edit that gives `block`, which stands in `scope`, a form. New names are added to `taken`, those in use."""
    return lowering(form, block, scope, taken, style)
